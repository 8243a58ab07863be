"""The kernel and the plain implementation price every record alike."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing_assets.reference.load import Reference
from tests.support.equality import assert_alike
from tests.support.records import record
from tests.support.references import agreement, partner, reference

ZONES = ["UTC", "Europe/Lisbon", "America/New_York", "Asia/Kolkata", "Asia/Riyadh"]
DAYS = [date(2026, 3, 8), date(2026, 3, 10), date(2026, 3, 29), date(2026, 3, 31)]
prices = st.decimals(0, 3, places=4).map(str) | st.decimals(0, 1, places=10).map(lambda d: f"{d:f}")
codes = st.sampled_from(
    [
        "44",
        "447",
        "4477",
        "44770",
        "447700900",
        "44770090012",
        "1",
        "1212",
        "1415",
        "351",
        "882",
        "8821345",
        "26801",
    ]
)
clocks = st.sampled_from(["00:00", "08:00", "18:30", "20:00", "23:59:59"])


@st.composite
def decks(draw: st.DrawFn, origins: list[str], bands: list[str]) -> list[dict[str, object]]:
    rows: dict[tuple[str, ...], dict[str, object]] = {}
    for _ in range(draw(st.integers(1, 8))):
        code, origin = draw(codes), draw(st.sampled_from(["", *origins]))
        band = draw(st.sampled_from(["", *bands]))
        begin = draw(
            st.sampled_from(
                ["2026-01-01", "2026-03-10", "2026-03-10T12:00:00", "2026-03-29T01:30:00"]
            )
        )
        row: dict[str, object] = {
            "code": code,
            "rate": draw(prices),
            "origin": origin,
            "band": band,
            "from": begin,
            "status": draw(st.sampled_from(["open"] * 6 + ["blocked", "bill_and_keep"])),
        }
        if draw(st.booleans()):
            row["increments"] = draw(st.sampled_from(["1/1", "60/60", "60/1", "30/6", "6/6"]))
        if draw(st.integers(0, 3)) == 0:
            row["first_rate"] = draw(prices)
            row["setup_fee"] = draw(prices)
        if draw(st.integers(0, 3)) == 0:
            row["minimum"], row["cap"] = "0.02", draw(st.sampled_from(["0.05", "0.5"]))
        if draw(st.integers(0, 4)) == 0:
            row["to"] = "2026-03-30"
        rows[code, origin, band, begin] = row
    return list(rows.values())


@st.composite
def agreements(draw: st.DrawFn, name: str, leg: str) -> dict[str, object]:
    terms: dict[str, object] = {"leg": leg, "zone": draw(st.sampled_from(ZONES))}
    bands: list[str] = []
    origins: list[str] = []
    if draw(st.booleans()):
        bands = ["peak", "off"]
        start, end = draw(clocks), draw(clocks)
        days = draw(
            st.sampled_from([["weekday"], ["weekend", "holiday"], ["tue", "sun"], ["every"]])
        )
        calendars = ["gulf", "west", *([] if "holiday" in days else [None])]
        terms["bands"] = {
            "calendar": draw(st.sampled_from(calendars)),
            "windows": [{"band": "peak", "days": days, "from": start, "to": end}],
            "otherwise": "off",
        }
        terms["crossing"] = draw(st.sampled_from(["start", "split"]))
    choice = draw(st.integers(0, 3))
    if choice == 0:
        origins = ["EEA", "BAD", "OTHER"]
        terms["origins"] = {
            "classes": [
                {"origin": "EEA", "codes": ["351", "49"]},
                {
                    "origin": "BAD",
                    "kinds": ["invalid", "missing"],
                    "surcharge": draw(prices),
                    "surcharge_per_call": draw(prices),
                },
            ],
        }
    elif choice == 1:
        origins = ["INTER", "INTRA", "INDETERMINATE"]
        terms["jurisdiction"] = {"states": {"NY": ["1212"], "CA": ["1415", "1213"]}}
    if draw(st.integers(0, 3)) == 0:
        terms["surcharges"] = [
            {"surcharge": "s1", "codes": ["447"], "per_unit": draw(prices)},
            {"surcharge": "s2", "codes": ["447700"], "per_call": draw(prices)},
        ]
    terms["increments"] = draw(st.sampled_from(["1/1", "60/60", "30/6"]))
    begin = draw(st.sampled_from(["answer", "answer", "setup"]))
    split = terms.get("crossing") == "split"
    terms["event_time"] = begin if split else draw(st.sampled_from(["answer", "setup", "end"]))
    terms["duration"] = {
        "from": begin,
        "rounding": draw(st.sampled_from(["up", "half_up", "floor", "floor_stamps"])),
    }
    if draw(st.integers(0, 3)) == 0:
        terms["grace"] = {"seconds": 10, "mode": draw(st.sampled_from(["threshold", "deduction"]))}
    terms["refuse_after_days"] = draw(st.sampled_from([None, None, 0, 1, 40]))
    terms["minimum_duration"] = draw(st.sampled_from([0, 0, 12]))
    terms["charge_zero_duration"] = draw(st.sampled_from([False, False, True]))
    terms["attempt_fee"] = draw(st.sampled_from(["0", "0", "0.001"]))
    terms["reverse"] = draw(st.sampled_from([False, False, True]))
    terms["match"] = draw(st.sampled_from(["dialled", "dialled", "routing_number"]))
    terms["rounding"] = {
        "record": {
            "decimals": draw(st.sampled_from([None, 0, 2, 4, 6, 10])),
            "method": draw(st.sampled_from(["half_up", "half_even", "up", "down"])),
        }
    }
    terms["rates"] = draw(decks(origins, bands))
    return agreement(name, **terms)


@st.composite
def calls(draw: st.DrawFn, day: date) -> list[dict[str, object]]:
    made = []
    edges = [0, 1800, 3600, 5400, 7200, 8 * 3600, 12 * 3600, 18 * 3600 + 1800, 20 * 3600, 86399]
    for number in range(1, draw(st.integers(1, 12)) + 1):
        second = draw(st.sampled_from(edges)) + draw(st.integers(-90, 90))
        at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(
            seconds=max(0, min(86399, second)), milliseconds=draw(st.integers(0, 999))
        )
        seconds = draw(st.integers(0, 300) | st.sampled_from([60, 3600, 90000])) + draw(
            st.sampled_from([0, 0, 0.001, 0.5, 0.999])
        )
        tail = draw(st.sampled_from(["", "0", "900123", "900120001"]))
        b = (draw(codes) + tail)[:15]
        a, kind = draw(
            st.sampled_from(
                [
                    ("351912345678", "number"),
                    ("12125550100", "number"),
                    ("14155550100", "number"),
                    ("21012345678", "number"),
                    (None, "missing"),
                    (None, "anonymous"),
                    ("123", "invalid"),
                ]
            )
        )
        made.append(
            record(
                number,
                at=at,
                seconds=seconds,
                b=b,
                a=a,
                a_kind=kind,
                answered=draw(st.sampled_from([True] * 5 + [False])),
                out_trunk=draw(st.sampled_from([None, "sw/P02", "sw/OWN", "sw/NONE"])),
                routing_number=draw(st.sampled_from([None, 447700900999, 12])),
                arrived_time=draw(st.sampled_from([None, at, at + timedelta(hours=30)])),
            )
        )
    return made


@st.composite
def cases(draw: st.DrawFn) -> tuple[Reference, date, list[dict[str, object]]]:
    """A day with both legs' agreements, sometimes a second version from some hour on, and calls."""
    day = draw(st.sampled_from(DAYS))
    customer = [draw(agreements("A", "customer"))]
    if draw(st.integers(0, 2)) == 0:
        begin = f"{day}T{draw(st.sampled_from(['00:30', '08:00', '12:00', '20:00:01']))}"
        customer.append({**draw(agreements("A", "customer")), "version": 2, "from": begin})
    supplier = {**draw(agreements("B", "supplier")), "partner": "P02", "accounts": ["P02-A"]}
    data = reference(
        *customer,
        supplier,
        partners=[partner("P01"), partner("P02")],
        calendars={
            "gulf": {"weekend": ["fri", "sat"], "holidays": [str(DAYS[1])]},
            "west": {"holidays": [str(DAYS[2]), str(DAYS[3])]},
        },
    )
    return data, day, draw(calls(day))


EFFORT = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@EFFORT
@given(cases())
def test_kernel_and_plain_implementation_agree_on_random_agreements(
    case: tuple[Reference, date, list[dict[str, object]]],
) -> None:
    assert_alike(*case)


@pytest.mark.slow
@settings(EFFORT, max_examples=1000)
@given(cases())
def test_they_agree_on_many_more(
    case: tuple[Reference, date, list[dict[str, object]]],
) -> None:
    assert_alike(*case)
