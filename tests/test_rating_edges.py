"""Edges at which prices change: kernel and plain implementation agree, and some by hand.

Each test lays many calls around its edges, one second and one microsecond to either side.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from billing_assets.core.money import from_e10
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.kernel import Kernel
from billing_assets.rating.split import priced_legs
from billing_assets.rating.usage import daily_usage
from billing_assets.reference.load import Reference
from billing_assets.reference.models import Leg
from tests.support.equality import assert_alike
from tests.support.records import frame, record
from tests.support.references import agreement, partner, reference

Row = dict[str, object]

STEPS = {"44": "1/1", "33": "60/60", "49": "30/6", "34": "60/1", "39": "7/13", "47": "6/6"}
"""Increments by code: one deck has them all."""

NEAR = [timedelta(microseconds=us) for us in (-1_000_000, -500_000, -1, 0, 1, 500_000, 1_000_000)]
"""Distances from an edge."""


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def rates(bands: Sequence[str], **more: object) -> list[Row]:
    """A price for each code and band, no two alike, and a price of its own for first blocks."""
    return [
        {
            "code": code,
            "increments": steps,
            "band": band,
            "rate": f"0.0{row + 1}0{column + 1}7",
            "first_rate": f"0.{row + 1}{column + 1}03",
            **more,
        }
        for row, (code, steps) in enumerate(STEPS.items())
        for column, band in enumerate(bands)
    ]


def calls_around(edges: Iterable[datetime], **fields: object) -> list[Row]:
    """Calls of every code whose increments begin just before, at and just after each edge."""
    made: list[Row] = []
    for edge in edges:
        for code, steps in STEPS.items():
            first, following = (int(part) for part in steps.split("/"))
            for done in {0, first, first + following, first + 3 * following}:
                for near in NEAR:
                    for seconds in {1, first, first + 1, first + 4 * following + 1}:
                        made.append(
                            record(
                                len(made) + 1,
                                at=edge - timedelta(seconds=done) + near,
                                seconds=seconds,
                                b=f"{code}7700900123",
                                **fields,
                            )
                        )
    return made


def on_day(records: Sequence[Row], day: date) -> list[Row]:
    """The records of one UTC day: a plan prices those."""
    return [row for row in records if row["day"] == day]


def amounts(data: Reference, day: date, records: Sequence[Row]) -> list[Decimal]:
    """The kernel's amounts of some records, once both implementations agree."""
    found = assert_alike(data, day, records)
    return [
        from_e10(found[int(str(row["record_id"])), "customer"]["amount_e10"]) for row in records
    ]


TEN = date(2026, 3, 10)
PEAK = {
    "windows": [{"band": "peak", "from": "08:00", "to": "20:00"}],
    "otherwise": "off",
}


def test_every_increment_takes_the_price_that_holds_when_it_begins() -> None:
    data = reference(agreement(crossing="split", bands=PEAK, rates=rates(["peak", "off"])))
    edges = [utc("2026-03-10T08:00:00"), utc("2026-03-10T20:00:00")]
    assert_alike(data, TEN, calls_around(edges))


@pytest.mark.parametrize("steps", ["1/1", "60/60", "30/6", "60/1", "7/13"])
def test_a_split_call_costs_the_sum_of_its_increments_worked_out_by_hand(steps: str) -> None:
    first, following = (int(part) for part in steps.split("/"))
    deck = [
        {"code": 44, "increments": steps, "band": "peak", "rate": "0.60", "first_rate": "6.00"},
        {"code": 44, "increments": steps, "band": "off", "rate": "0.06", "first_rate": "0.18"},
    ]
    data = reference(
        agreement(crossing="split", bands=PEAK, rates=deck, rounding={"record": {"decimals": 10}})
    )
    edge = utc("2026-03-10T20:00:00")
    calls = [
        record(n + 1, at=edge - timedelta(seconds=first) + near, seconds=first + 5 * following)
        for n, near in enumerate(NEAR)
    ] + [
        record(
            n + 10,
            at=edge - timedelta(seconds=first + 2 * following) + near,
            seconds=first + 5 * following,
        )
        for n, near in enumerate(NEAR)
    ]

    def by_hand(call: Row) -> Fraction:
        begin = call["answer_time"]
        assert isinstance(begin, datetime)
        cost = Fraction(first, 60) * (6 if begin < edge else Fraction(18, 100))
        for k in range(5):
            peak = begin + timedelta(seconds=first + k * following) < edge
            cost += Fraction(following, 60) * (Fraction(60, 100) if peak else Fraction(6, 100))
        return cost

    assert [Fraction(amount) for amount in amounts(data, TEN, calls)] == [
        by_hand(call) for call in calls
    ]


def test_a_call_passes_through_several_short_bands() -> None:
    windows = [
        {"band": "a", "from": "08:00", "to": "08:01"},
        {"band": "b", "from": "08:01", "to": "08:01:30"},
        {"band": "c", "from": "08:01:30", "to": "08:01:31"},
        {"band": "a", "from": "08:01:31", "to": "08:03"},
    ]
    data = reference(
        agreement(
            crossing="split",
            bands={"windows": windows, "otherwise": "off"},
            rates=rates(["a", "b", "c", "off"]),
        )
    )
    starts = [utc("2026-03-10T07:59:30") + timedelta(seconds=7.25 * n) for n in range(30)]
    calls = [
        record(30 * c + n + 1, at=start, seconds=45 + 11 * n, b=f"{code}7700900123")
        for c, code in enumerate(STEPS)
        for n, start in enumerate(starts)
    ]
    found = assert_alike(data, TEN, calls)
    assert {row["pricing"] for row in found.values()} == {"priced", "split"}


def test_one_price_in_all_bands_that_a_call_meets_remains_its_single_rate() -> None:
    deck = [
        {"code": 44, "rate": "0.01"},
        {"code": 447, "rate": "0.02", "band": "peak"},
        {"code": 447, "rate": "0.03", "band": "off"},
    ]
    surcharges = [{"surcharge": "s", "codes": [4420], "per_unit": "0.5", "per_call": "0.1"}]
    data = reference(agreement(crossing="split", bands=PEAK, rates=deck, surcharges=surcharges))
    edge = utc("2026-03-10T20:00:00") - timedelta(seconds=30)
    found = assert_alike(
        data,
        TEN,
        [record(1, at=edge, b="4411234567"), record(2, at=edge, b="4471234567"),
         record(3, at=edge, b="4420123456")],
    )  # fmt: skip
    assert [row["pricing"] for row in found.values()] == ["priced", "split", "priced"]
    assert [row["rate_e10"] for row in found.values()] == [10**8, None, 51 * 10**8]


CHANGES = [
    ("Europe/Lisbon", "2026-03-29T01:00:00"),
    ("Europe/Madrid", "2026-03-29T01:00:00"),
    ("Europe/Madrid", "2026-10-25T01:00:00"),
    ("America/New_York", "2026-03-08T07:00:00"),
    ("America/New_York", "2026-11-01T06:00:00"),
    ("Australia/Lord_Howe", "2026-04-04T15:00:00"),
    ("Africa/Cairo", "2026-04-23T22:00:00"),
]
"""Zones and the UTC instants at which their clocks change; one by half an hour, one at midnight."""


@pytest.mark.parametrize(("zone", "change"), CHANGES)
@pytest.mark.parametrize("crossing", ["start", "split"])
def test_bands_follow_local_clocks_through_a_change_of_them(
    zone: str, change: str, crossing: str
) -> None:
    instant = utc(change)
    assert (instant - timedelta(seconds=1)).astimezone(ZoneInfo(zone)).utcoffset() != (
        instant.astimezone(ZoneInfo(zone)).utcoffset()
    )
    bands = {
        "windows": [
            {"band": "night", "from": "23:30", "to": "01:30"},
            {"band": "late", "from": "01:30", "to": "02:15"},
            {"band": "early", "from": "02:15", "to": "03:00"},
        ],
        "otherwise": "day",
    }
    deck = [
        {"code": code, "increments": steps, "band": band, "rate": f"0.0{n + 1}{m + 1}"}
        for n, (code, steps) in enumerate(STEPS.items())
        for m, band in enumerate(("night", "late", "early", "day"))
    ]
    data = reference(agreement(zone=zone, crossing=crossing, bands=bands, rates=deck))
    edges = [instant + timedelta(minutes=m) for m in (-120, -90, -45, 0, 15, 30, 60)]
    records = [
        record(n + 1, at=edge + near - timedelta(seconds=30), seconds=95, b=f"{code}7700900123")
        for n, (edge, near, code) in enumerate(
            (edge, near, code) for edge in edges for near in NEAR for code in STEPS
        )
    ]
    day = instant.date()
    found = assert_alike(data, day, on_day(records, day))
    assert {row["local_day"] for row in found.values()} <= {
        (instant + timedelta(hours=h)).astimezone(ZoneInfo(zone)).date() for h in (-3, 0, 2)
    }


@pytest.mark.parametrize("crossing", ["start", "split"])
def test_weekends_on_friday_and_saturday_and_holidays_pick_their_bands(crossing: str) -> None:
    calendars = {"sa": {"weekend": ["fri", "sat"], "holidays": ["2026-03-10", "2026-03-12"]}}
    bands = {
        "calendar": "sa",
        "windows": [
            {"band": "weekday", "days": ["weekday"], "from": "06:00", "to": "06:00"},
            {"band": "weekend", "days": ["weekend"], "from": "06:00", "to": "06:00"},
            {"band": "holiday", "days": ["holiday"], "from": "06:00", "to": "06:00"},
        ],
    }
    data = reference(
        agreement(
            zone="Asia/Riyadh",
            crossing=crossing,
            bands=bands,
            rates=rates(["weekday", "weekend", "holiday"]),
        ),
        calendars=calendars,
    )
    for day in (date(2026, 3, n) for n in (10, 11, 12, 13, 14, 15)):
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        edges = [midnight + timedelta(hours=3), midnight + timedelta(hours=21)]
        records = [
            record(n + 1, at=edge + near - timedelta(seconds=40), seconds=90, b=f"{code}7700900123")
            for n, (edge, near, code) in enumerate(
                (edge, near, code) for edge in edges for near in NEAR for code in STEPS
            )
        ]
        found = assert_alike(data, day, records)
        # local 06:00 is 03:00 UTC: what begins later is of this local day's kind
        noon = midnight + timedelta(hours=12)
        late = [row["band"] for row in found.values() if row["event_time"] > noon]
        kind = "holiday" if day.day in (10, 12) else "weekend" if day.day in (13, 14) else "weekday"
        assert set(late) == {kind}


def test_deck_rows_that_begin_and_end_inside_a_day_change_prices_to_the_second() -> None:
    deck = [
        row | {"from": begin, "rate": f"0.{n + 1}{str(row['rate'])[2:]}"}
        for n, begin in enumerate(["2026-01-01", "2026-03-10T09:30:00", "2026-03-10T09:30:01"])
        for row in rates([""])
    ] + [{"code": "447", "rate": "9", "from": "2026-03-10T09:00", "to": "2026-03-10T09:45:10"}]
    edges = [utc(f"2026-03-10T{clock}") for clock in ("09:00:00", "09:30:00", "09:45:10")]
    for crossing in ("start", "split"):
        data = reference(agreement(crossing=crossing, rates=deck))
        assert_alike(data, TEN, calls_around(edges))


def test_a_longer_code_withdrawn_inside_a_call_gives_way_to_the_shorter_one() -> None:
    deck = [
        {"code": 44, "rate": "0.06"},
        {"code": 447, "rate": "0.60", "to": "2026-03-10T12:00:00"},
    ]
    data = reference(agreement(crossing="split", rates=deck))
    assert amounts(
        data,
        TEN,
        [record(1, at="2026-03-10T11:59:30", seconds=60), record(2, at="2026-03-10T12:00:00")],
    ) == [Decimal("0.33"), Decimal("0.06")]


def test_a_code_blocked_inside_a_split_call_suspends_the_whole_call() -> None:
    deck = [
        {"code": 447, "rate": "0.60"},
        {"code": 447, "status": "blocked", "from": "2026-03-10T12:00:00"},
    ]
    data = reference(agreement(crossing="split", rates=deck))
    found = assert_alike(
        data,
        TEN,
        [record(1, at="2026-03-10T11:59:30", seconds=60), record(2, at="2026-03-10T11:59:00"),
         record(3, at="2026-03-10T12:00:00")],
    )  # fmt: skip
    assert [row["reason"] for row in found.values()] == ["BLOCKED_CODE", None, "BLOCKED_CODE"]


STAMPS = [("setup", "answer"), ("answer", "setup"), ("setup", "end"), ("end", "answer")]


@pytest.mark.parametrize(("before", "after"), STAMPS)
def test_the_agreement_in_force_at_setup_says_which_stamp_counts(before: str, after: str) -> None:
    first = agreement("A", event_time=before, rates=rates([""]))
    second = agreement(
        "A", version=2, event_time=after, rates=rates([""], setup_fee="1"),
        **{"from": "2026-03-10T12:00:00"},
    )  # fmt: skip
    # a call is set up five seconds before it is answered: edges for both stamps
    edges = [utc("2026-03-10T12:00:00"), utc("2026-03-10T12:00:05")]
    found = assert_alike(reference(first, second), TEN, calls_around(edges))
    assert {row["agreement"] for row in found.values()} == {"A@1", "A@2"}
    assert not any(row["reason"] for row in found.values())


@pytest.mark.parametrize("stamp", ["setup", "answer", "end"])
@pytest.mark.parametrize("crossing", ["start", "split"])
def test_a_stamp_before_midnight_takes_the_terms_of_the_day_before(
    stamp: str, crossing: str
) -> None:
    if crossing == "split" and stamp == "end":
        pytest.skip("splits count from the begin")
    begin = "answer" if stamp == "end" else stamp
    deck = [row | {"from": f, "rate": r} for f, r in (("2026-01-01", "1"), ("2026-03-10", "2"))
            for row in rates([""])]  # fmt: skip
    data = reference(
        agreement(event_time=stamp, crossing=crossing, duration={"from": begin}, rates=deck)
    )
    edges = [utc("2026-03-10T00:00:03"), utc("2026-03-10T00:00:05")]
    records = on_day(calls_around(edges), TEN)
    found = assert_alike(data, TEN, records)
    assert {row["local_day"] for row in found.values()} >= {TEN}


def two_partners(first_to: str, second_from: str) -> list[Row]:
    """Two partners that share trunk sw/T one after the other, and have their own besides."""
    return [
        partner(name, [{"account": f"{name}-A", "trunks": [
            {"trunk": f"sw/{name}"}, {"trunk": "sw/T", **validity}]}])
        for name, validity in (("P01", {"to": first_to}), ("P02", {"from": second_from}))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first_to", "second_from"),
    [
        ("2026-03-10T12:00:00", "2026-03-10T12:00:00"),
        ("2026-03-10T12:00:00", "2026-03-10T12:00:02"),
    ],
)
@pytest.mark.parametrize(("before", "after"), [("answer", "answer"), *STAMPS])
def test_a_trunk_that_changes_hands_inside_the_day_prices_by_its_owner_of_the_moment(
    first_to: str, second_from: str, before: str, after: str
) -> None:
    data = reference(
        agreement("A", event_time=before, rates=rates([""])),
        agreement("B", event_time=after, partner="P02", accounts=["P02-A"], rates=rates([""])),
        partners=two_partners(first_to, second_from),
    )
    edges = [utc(f"2026-03-10T12:00:{second:02d}") for second in (0, 2, 5, 7)]
    found = assert_alike(data, TEN, calls_around(edges, in_trunk="sw/T"))
    assert {"A@1", "B@1"} <= {row["agreement"] for row in found.values()}


def test_a_split_call_keeps_its_agreement_s_bands_when_its_trunk_changes_hands() -> None:
    data = reference(
        agreement("A", crossing="split", bands=PEAK, rates=rates(["peak", "off"])),
        agreement("B", crossing="split", bands=PEAK, rates=rates(["peak", "off"]),
                  partner="P02", accounts=["P02-A"]),
        partners=two_partners("2026-03-10T19:59:30", "2026-03-10T19:59:30"),
    )  # fmt: skip
    edges = [utc("2026-03-10T19:59:30"), utc("2026-03-10T20:00:00")]
    found = assert_alike(data, TEN, calls_around(edges, in_trunk="sw/T"))
    by_a = [row for row in found.values() if row["agreement"] == "A@1"]
    assert any(row["pricing"] == "split" for row in by_a)


@pytest.mark.parametrize("crossing", ["start", "split"])
def test_a_call_stays_with_the_version_of_its_start(crossing: str) -> None:
    terms = {"crossing": crossing, "bands": PEAK}
    data = reference(
        agreement("A", **terms, rates=rates(["peak", "off"])),
        agreement("A", version=2, **terms, rates=rates(["peak", "off"], setup_fee="1"),
                  **{"from": "2026-03-10T19:59:40"}),
    )  # fmt: skip
    edges = [utc("2026-03-10T19:59:40"), utc("2026-03-10T20:00:00")]
    found = assert_alike(data, TEN, calls_around(edges))
    assert {row["agreement"] for row in found.values()} == {"A@1", "A@2"}


def test_a_split_call_past_the_days_that_a_plan_knows_is_suspended() -> None:
    data = reference(agreement(crossing="split", bands=PEAK, rates=rates(["peak", "off"])))
    hour = 3600
    found = assert_alike(
        data,
        TEN,
        [record(1, at="2026-03-10T20:00:00", seconds=52 * hour, b="337700900123"),
         record(2, at="2026-03-10T20:00:00", seconds=52 * hour + 1, b="337700900123")],
    )  # fmt: skip
    assert [row["reason"] for row in found.values()] == [None, "OUT_OF_RANGE"]


def test_origins_with_rates_of_their_own_replace_and_surcharges_add_in_every_band() -> None:
    origins = {
        "classes": [
            {"origin": "HIDDEN", "kinds": ["anonymous"]},
            {"origin": "EEA", "codes": [351, 49]},
            {
                "origin": "NON_EEA",
                "codes": [1, 44],
                "surcharge": "0.15",
                "surcharge_per_call": "0.02",
            },
            {"origin": "BAD", "kinds": ["invalid", "missing"], "surcharge": "0.25"},
        ]
    }
    deck = [
        *rates(["peak", "off"]),
        {"code": "44", "origin": "NON_EEA", "rate": "0.77"},
        {"code": "44", "origin": "NON_EEA", "band": "off", "rate": "0.55"},
        {"code": "4477", "origin": "EEA", "rate": "0.33"},
        {"code": "447", "band": "off", "rate": "0.22"},
        {"code": "33", "origin": "HIDDEN", "status": "blocked"},
    ]
    surcharges = [
        {"surcharge": "mobile", "codes": [447, 337], "per_unit": "0.001", "per_call": "0.1"},
        {"surcharge": "longer", "codes": [4477], "per_unit": "0.002"},
    ]
    callers = [("351912345678", "number"), ("12125550100", "number"), ("447700900000", "number"),
               ("21012345678", "number"), ("123", "invalid"), (None, "missing"),
               (None, "anonymous"), (None, "alpha")]  # fmt: skip
    called = [
        "447700900123",
        "441234567890",
        "447012345678",
        "337700900123",
        "4970012345",
        "3912345",
    ]
    for crossing in ("start", "split"):
        data = reference(
            agreement(
                origins=origins, crossing=crossing, bands=PEAK, rates=deck, surcharges=surcharges
            )
        )
        edges = [utc("2026-03-10T12:00:00"), utc("2026-03-10T19:59:30"), utc("2026-03-10T22:00:00")]
        records = [
            record(n + 1, at=at, a=a, a_kind=kind, b=b, seconds=75)
            for n, (at, (a, kind), b) in enumerate(
                (at, caller, b) for at in edges for caller in callers for b in called
            )
        ]
        found = assert_alike(data, TEN, records)
        assert {row["origin"] for row in found.values()} == {
            "EEA", "NON_EEA", "BAD", "HIDDEN", "OTHER",
        }  # fmt: skip


def test_one_deck_line_of_a_longer_code_decides_even_where_only_another_origin_fits() -> None:
    origins = {"classes": [{"origin": "EEA", "codes": [351]}]}
    deck = [{"code": 44, "rate": "0.01"}, {"code": 447, "origin": "EEA", "rate": "0.02"}]
    data = reference(agreement(origins=origins, rates=deck))
    found = assert_alike(data, TEN, [record(1), record(2, a="12125550100")])
    assert [row["reason"] for row in found.values()] == [None, "NO_RATE"]


def test_messages_data_and_events_are_priced_alike() -> None:
    data = reference(
        agreement("V", rates=rates([""])),
        agreement("S", service="sms", match="serving_network", charge_on="delivery",
                  delivered=["DELIVRD", "ACCEPTD"], reverse=True,
                  rates=[{"code": 26801, "rate": "0.031"},
                         {"code": 268, "rate": "0.04", "cap": "0.1"},
                         {"code": 26806, "status": "bill_and_keep"},
                         {"code": 26807, "status": "blocked"}]),
        agreement("D", service="data", unit="kb", unit_base=1000, increments="1000/500",
                  match="serving_network",
                  rates=[{"code": 2, "rate": "0.0045", "first_rate": "0.5"}]),
        agreement("E", service="event", match="event_type", attempt_fee="0.001",
                  rates=[{"code": "lookup", "rate": "0.005"}, {"code": "dip.lnp", "rate": "0.002",
                          "minimum": "0.02"}]),
    )  # fmt: skip
    networks = [26801, 26803, 26806, 26807, 310260, None]
    cases: list[Row] = [
        {"service": "sms", "serving_network": network, "status": status, "quantity": quantity}
        for network in networks
        for status in ("DELIVRD", "ACCEPTD", "UNDELIV", None)
        for quantity in (None, 1, 2, 5)
    ]
    cases += [
        {"service": "data", "serving_network": network, "quantity": quantity}
        for network in networks
        for quantity in (0, 1, 999, 1000, 1001, 1500, 1501, 10**9, 10**15, None)
    ]
    cases += [
        {"service": "event", "event_type": kind, "quantity": quantity}
        for kind in ("lookup", "dip.lnp", "other", None)
        for quantity in (None, 0, 1, 7)
    ]
    records = [
        record(
            n + 1,
            seconds=0,
            b=None if case["service"] in ("data", "event") else "447700900123",
            **case,
        )
        for n, case in enumerate(cases)
    ] + [record(1000, seconds=30)]
    found = assert_alike(data, TEN, records)
    assert {row["reason"] for row in found.values()} == {
        None, "OUT_OF_RANGE",
        "NO_RATE", "BLOCKED_CODE", "INVALID_NUMBER",
    }  # fmt: skip
    assert {row["pricing"] for row in found.values() if not row["reason"]} == {
        "priced", "not_chargeable", "bill_and_keep",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("service", "match", "code"),
    [("voice", "dialled", 44), ("sms", "serving_network", 26801),
     ("data", "serving_network", 26801), ("event", "event_type", "lookup"),
     ("event", "dialled", 44)],
)  # fmt: skip
def test_a_side_with_one_service_alone_prices_it_and_has_no_agreement_for_others(
    service: str, match: str, code: object
) -> None:
    data = reference(agreement(service=service, match=match, rates=[{"code": code, "rate": "1"}]))
    records = [
        record(n + 1, service=name, serving_network=26801, event_type="lookup", quantity=7,
               status="DELIVRD")
        for n, name in enumerate(("voice", "sms", "data", "event"))
    ]  # fmt: skip
    found = assert_alike(data, TEN, records)
    assert [row["reason"] for row in found.values()] == [
        None if name == service else "NO_AGREEMENT" for name in ("voice", "sms", "data", "event")
    ]


@pytest.mark.parametrize("unit", ["message", "segment"])
@pytest.mark.parametrize("charge_on", ["submit", "delivery"])
def test_messages_are_counted_and_charged_as_the_agreement_says(unit: str, charge_on: str) -> None:
    data = reference(
        agreement(
            service="sms", unit=unit, charge_on=charge_on, rates=[{"code": 44, "rate": "0.01"}]
        )
    )
    found = assert_alike(
        data,
        TEN,
        [record(n + 1, service="sms", seconds=0, status=status, quantity=quantity)
         for n, (status, quantity) in enumerate(
             (s, q) for s in ("DELIVRD", "UNDELIV") for q in (1, 3))],
    )  # fmt: skip
    segments = 3 if unit == "segment" else 1
    late = 1 if charge_on == "submit" else 0
    assert [row["amount_e10"] // 10**8 for row in found.values()] == [
        1, segments, late, segments * late,
    ]  # fmt: skip


def test_costs_beyond_what_the_lake_holds_are_suspended_in_both() -> None:
    dear = [{"code": 2, "rate": "10000000"}]
    data = reference(
        agreement(
            "D", service="data", unit="kb", unit_base=1000, match="serving_network", rates=dear
        )
    )
    found = assert_alike(
        data,
        TEN,
        [record(n + 1, service="data", seconds=0, serving_network=26801, quantity=quantity)
         for n, quantity in enumerate((1, 79_999, 80_000, 10**17))],
    )  # fmt: skip
    assert [row["reason"] for row in found.values()] == [
        None,
        None,
        "OUT_OF_RANGE",
        "OUT_OF_RANGE",
    ]


def test_a_later_part_too_dear_to_hold_suspends_a_split_call() -> None:
    deck = [
        {"code": 44, "band": "peak", "rate": "0.01"},
        {"code": 44, "band": "off", "rate": "10000000"},
    ]
    data = reference(agreement(crossing="split", bands=PEAK, rates=deck))
    found = assert_alike(
        data,
        TEN,
        [record(1, at="2026-03-10T19:00:00", seconds=3600 + 60 * 70),
         record(2, at="2026-03-10T19:00:00", seconds=3600 + 60 * 90)],
    )  # fmt: skip
    assert [row["reason"] for row in found.values()] == [None, "OUT_OF_RANGE"]


@pytest.mark.parametrize("number", [12, 447700900999, 10**14, 10**15 - 1, 10**15, 10**17, 0, -5])
def test_a_routing_number_that_is_none_is_an_invalid_number_and_stops_nothing(number: int) -> None:
    data = reference(
        agreement(
            match="routing_number", rates=[{"code": 44, "rate": "1"}, {"code": 1, "rate": "2"}]
        )
    )
    found = assert_alike(data, TEN, [record(1, routing_number=number), record(2)])
    assert found[2, "customer"]["reason"] is None
    expected = (
        None
        if number in (12, 447700900999, 10**14)
        else "NO_RATE"
        if number == 10**15 - 1
        else "INVALID_NUMBER"
    )
    assert found[1, "customer"]["reason"] == expected


def test_an_event_outside_the_days_of_its_plan_is_out_of_range() -> None:
    data = reference(agreement(event_time="setup", rates=[{"code": 44, "rate": "1"}]))
    early = utc("2026-03-08T23:59:59")
    found = assert_alike(
        data,
        TEN,
        [record(1, setup_time=early), record(2, setup_time=early + timedelta(seconds=1)),
         record(3, in_trunk="sw/NOBODY", setup_time=early)],
    )  # fmt: skip
    assert [row["reason"] for row in found.values()] == ["OUT_OF_RANGE", None, "UNKNOWN_TRUNK"]


@pytest.mark.parametrize("leg", list(Leg))
def test_trunks_serve_the_direction_that_they_are_mapped_for(leg: Leg) -> None:
    trunks = [{"trunk": "sw/IN", "direction": "in"}, {"trunk": "sw/OUT", "direction": "out"}]
    data = reference(
        agreement(leg=leg.value, rates=[{"code": 44, "rate": "1"}]),
        partners=[partner("P01", [{"account": "P01-A", "trunks": trunks}])],
    )
    records = [
        record(n + 1, in_trunk=a, out_trunk=b)
        for n, (a, b) in enumerate(
            [("sw/IN", "sw/OUT"), ("sw/OUT", "sw/IN"), ("sw/OWN", "sw/OUT"), ("sw/IN", "sw/OWN")]
        )
    ]
    assert_alike(data, TEN, records)


@pytest.mark.parametrize("rounding", ["up", "half_up", "floor", "floor_stamps"])
@pytest.mark.parametrize("begin", ["setup", "answer"])
@pytest.mark.parametrize("grace", [None, "threshold", "deduction"])
def test_milliseconds_become_seconds_as_the_agreement_says(
    rounding: str, begin: str, grace: str | None
) -> None:
    terms = {"grace": {"seconds": 2, "mode": grace}} if grace else {}
    data = reference(
        agreement(duration={"from": begin, "rounding": rounding}, **terms,
                  rates=[{"code": 44, "rate": "0.6"},
                         {"code": 33, "rate": "0.6", "setup_fee": "0.5", "increments": "5/2"}]),
        agreement("S", partner="P02", accounts=["P02-A"], minimum_duration=4, attempt_fee="0.001",
                  charge_zero_duration=True, duration={"from": begin, "rounding": rounding},
                  **terms, rates=[{"code": 44, "rate": "0.6", "increments": "3/1"},
                                  {"code": 33, "rate": "0.6", "minimum": "0.3"}]),
        partners=[partner("P01"), partner("P02")],
    )  # fmt: skip
    lasted = (0, 1, 499, 500, 1000, 1001, 1500, 2000, 2001, 2500)
    begins = [utc("2026-03-10T12:00:00") + timedelta(milliseconds=ms) for ms in (0, 999)]
    cases = [
        (at, milliseconds / 1000, answered, trunk, code)
        for at in begins
        for milliseconds, answered in [*((ms, True) for ms in lasted), (0, False)]
        for trunk in ("sw/P01", "sw/P02")
        for code in ("44", "33")
    ]
    records = [
        record(n + 1, at=at, seconds=seconds, answered=answered, in_trunk=trunk,
               b=f"{code}7700900123", setup_time=at - timedelta(milliseconds=700))
        for n, (at, seconds, answered, trunk, code) in enumerate(cases)
    ]  # fmt: skip
    assert_alike(data, TEN, records)


@pytest.mark.parametrize("method", ["half_up", "half_even", "up", "down"])
@pytest.mark.parametrize("decimals", [None, 0, 4, 6, 10])
def test_amounts_round_once_at_ties_and_just_off_them(method: str, decimals: int | None) -> None:
    prices = ["0.00003", "0.0001", "0.00009", "0.0000000001", "0.03", "0.05", "0.3", "90", "30"]
    deck = [{"code": 440 + n, "rate": price} for n, price in enumerate(prices)] + [
        {"code": 4410, "rate": "0.30", "minimum": "0.0050000001"},
        {"code": 4411, "rate": "0.10", "minimum": "0.0016666667"},
        {"code": 4412, "rate": "0.10", "cap": "0.0033333333"},
        {"code": 4413, "rate": "0.30", "cap": "0.0100000000"},
        {"code": 4414, "rate": "0.10", "first_rate": "0.20", "increments": "7/7"},
    ]
    for reverse in (False, True):
        data = reference(
            agreement(
                reverse=reverse,
                rounding={"record": {"decimals": decimals, "method": method}},
                rates=deck,
            )
        )
        assert_alike(
            data,
            TEN,
            [
                record(len(deck) * seconds + n, seconds=seconds, b=f"{row['code']}55501234")
                for seconds in (1, 2, 3, 5, 6, 10, 30, 60, 61, 100)
                for n, row in enumerate(deck)
            ],
        )


def test_jurisdictions_are_told_by_the_longest_code_of_a_state_on_both_sides() -> None:
    states = {"NY": [1212, 1718], "CA": [1415, 1213], "TX": [1212555]}
    deck = [
        {"code": 1, "origin": word, "rate": f"0.0{n + 1}", "increments": "6/6"}
        for n, word in enumerate(("INTER", "INTRA", "INDETERMINATE"))
    ]
    data = reference(agreement(jurisdiction={"states": states}, rates=deck))
    numbers = [
        "12125550100",
        "12126660100",
        "14155550100",
        "12135550100",
        "13055550100",
        "17185550100",
    ]
    callers: list[str | None] = [*numbers, "351912345678", None]
    records = [
        record(n + 1, a=a, b=b) for n, (a, b) in enumerate((a, b) for a in callers for b in numbers)
    ]
    found = assert_alike(data, TEN, records)
    words = [row["origin"] for row in found.values()]
    # from New York to Texas, New York, California, California, nowhere known, New York
    assert words[6:12] == ["INTER", "INTRA", "INTER", "INTER", "INDETERMINATE", "INTRA"]
    assert set(words[-12:]) == {"INDETERMINATE"}


def test_codes_of_every_length_find_numbers_of_every_length() -> None:
    digits = "447700900123456"
    deck = [{"code": digits[:n], "rate": f"0.{n:02d}"} for n in range(1, 16) if n != 8]
    other = [{"code": "4" * n, "rate": f"1.{n:02d}"} for n in (3, 7, 8, 9, 10, 13)]
    data = reference(agreement(rates=deck + other))
    numbers = [digits[:n] + tail for n in range(1, 16) for tail in ("", "0", "99", "3456789")]
    numbers += ["4" * n + tail for n in range(1, 15) for tail in ("", "0", "5")]
    fitting = [number for number in numbers if len(number) <= 15]
    found = assert_alike(data, TEN, [record(n + 1, b=b) for n, b in enumerate(fitting)])
    codes = {str(row["code"]) for row in deck + other}
    longest = [max((c for c in codes if number.startswith(c)), key=len) for number in fitting]
    assert [str(row["code"]) for row in found.values()] == longest


def test_a_call_may_last_thirty_days_and_no_longer() -> None:
    data = reference(agreement(rates=[{"code": 44, "rate": "0.01"}]))
    month = 30 * 86400
    found = assert_alike(data, TEN, [record(1, seconds=month), record(2, seconds=month + 1)])
    assert [row["reason"] for row in found.values()] == [None, "OUT_OF_RANGE"]


def test_an_event_in_the_first_and_last_second_that_a_plan_knows_is_priced() -> None:
    data = reference(agreement(event_time="end", rates=[{"code": 44, "rate": "1"}]))
    last = utc("2026-03-12T23:59:59.999999")
    found = assert_alike(
        data,
        TEN,
        [record(1, end_time=last), record(2, end_time=last + timedelta(microseconds=1)),
         record(3, answered=False, end_time=last + timedelta(days=5))],
    )  # fmt: skip
    assert [row["reason"] for row in found.values()] == [None, "OUT_OF_RANGE", None]


def test_a_bill_and_keep_part_of_a_split_call_is_free() -> None:
    deck = [
        {"code": 44, "band": "peak", "rate": "0.60", "first_rate": "6"},
        {"code": 44, "band": "off", "status": "bill_and_keep", "rate": "0.50", "first_rate": "5"},
    ]
    data = reference(agreement(crossing="split", bands=PEAK, rates=deck))
    edges = [utc("2026-03-10T08:00:00"), utc("2026-03-10T20:00:00")]
    calls = [
        record(n + 1, at=edge - timedelta(seconds=10), seconds=30) for n, edge in enumerate(edges)
    ]
    assert amounts(data, TEN, calls) == [Decimal("0.20"), Decimal("0.19")]


# the largest units, amounts and quantities


LARGEST = [
    ("3000000/1", "18500", 60),
    ("86400000/1", "1000", 60),
    ("86400000/1", "18000", 60),
    ("50000000/1", "5000", 60),
    ("86400000/1", "600", 60),
    ("1/86400000", "10000000", 2),
]


@pytest.mark.parametrize(("steps", "rate", "seconds"), LARGEST)
def test_an_amount_beyond_all_bounds_has_no_price_whatever_the_increments(
    steps: str, rate: str, seconds: int
) -> None:
    data = reference(agreement(increments=steps, rates=[{"code": 44, "rate": rate}]))
    found = assert_alike(data, TEN, [record(1, seconds=seconds)])
    assert found[1, "customer"]["reason"] == "OUT_OF_RANGE"


def test_the_largest_amount_below_the_bound_is_exact() -> None:
    deck = [{"code": 44, "increments": "86400000/1", "rate": "555"}]
    [amount] = amounts(reference(agreement(rates=deck)), TEN, [record(1)])
    assert amount == Decimal(86_400_000) / 60 * 555


@pytest.mark.parametrize("bytes_", [10**15, 10**15 + 1])
@pytest.mark.parametrize("answered", [True, False])
def test_more_bytes_than_a_record_can_hold_are_suspended(bytes_: int, answered: bool) -> None:
    terms = agreement(service="data", unit="mb", unit_base=1000, rates=[{"code": 44, "rate": 0}])
    session = record(1, service="data", quantity=bytes_, answered=answered)
    found = assert_alike(reference(terms), TEN, [session])
    assert (found[1, "customer"]["reason"] == "OUT_OF_RANGE") is (bytes_ > 10**15)


def test_quantities_of_many_records_add_up_exactly() -> None:
    terms = agreement(service="data", unit="mb", unit_base=1000, rates=[{"code": 44, "rate": 0}])
    sessions = frame(*(record(n, service="data", quantity=10**15) for n in range(1, 4)))
    kernel = Kernel(compile_plan(reference(terms), TEN, buckets=1), Leg.CUSTOMER)
    [row] = daily_usage(priced_legs(kernel, sessions.lazy()), pl.col("answered") * 3000).to_dicts()
    assert (row["records"], row["quantity"], row["billed_units"]) == (9000, 9 * 10**18, 9 * 10**18)
    assert not kernel.counts_little


# what is free, and what bounds a charged call


def test_a_split_call_is_free_only_if_all_its_parts_are() -> None:
    bands = {"windows": [{"band": "free", "from": "20:00", "to": "22:00"}], "otherwise": "pay"}
    data = reference(
        agreement(
            crossing="split",
            bands=bands,
            setup_fee="0.05",
            minimum="0.50",
            surcharges=[{"surcharge": "s", "codes": [44], "per_call": "0.01"}],
            rates=[
                {"code": 44, "band": "pay", "rate": "0.60"},
                {"code": 44, "band": "free", "status": "bill_and_keep"},
            ],
        )
    )
    starts = ["2026-03-10T19:59:30", "2026-03-10T21:59:30", "2026-03-10T21:00:00"]
    calls = [
        record(n, at=at, seconds=s)
        for n, (at, s) in enumerate(zip(starts * 2, [60] * 3 + [90, 120, 60], strict=True))
    ]
    found = assert_alike(data, TEN, calls)
    legs = [found[n, "customer"] for n in range(6)]
    told = [(leg["fees_e10"], leg["pricing"]) for leg in legs]
    six_hundredths = 6 * 10**8
    assert told[:3] == [
        (six_hundredths, "split"),
        (six_hundredths, "split"),
        (0, "bill_and_keep"),
    ]
    assert [from_e10(leg["amount_e10"]) for leg in legs] == [
        Decimal(text) for text in ("0.50", "0.50", "0", "0.50", "0.96", "0")
    ]


def test_the_cap_bounds_what_a_charged_record_costs_and_no_attempt() -> None:
    terms = agreement(attempt_fee="1.00", cap="0.50", rates=[{"code": 44, "rate": "0.01"}])
    tried = record(1, answered=False)
    assert amounts(reference(terms), TEN, [tried, record(2)]) == [Decimal("1"), Decimal("0.5")]


def test_an_agreement_of_fees_alone_waits_for_its_rates() -> None:
    found = assert_alike(reference(agreement(rates=[])), TEN, [record(1)])
    assert found[1, "customer"]["reason"] == "NO_RATE"


# rates that hold for a while


def test_a_rate_for_a_while_gives_way_to_the_one_before_it_again() -> None:
    deck = [
        {"code": 4, "rate": "0.5"},
        {"code": 44, "rate": "0.01", "to": "2026-03-11"},
        {"code": 44, "rate": "0.02", "from": "2026-03-10T06:00:00", "to": "2026-03-10T12:00:00"},
        {"code": 44, "rate": "0.03", "from": "2026-03-10T08:00:00", "to": "2026-03-10T10:00:00"},
        {"code": 44, "rate": "0.04", "from": "2026-03-10T11:00:00", "to": "2026-03-10T14:00:00"},
    ]
    prices = {
        "05:59:59": "0.01", "06:00:00": "0.02", "07:59:59": "0.02", "08:00:00": "0.03",
        "09:59:59": "0.03", "10:00:00": "0.02", "10:59:59": "0.02", "11:00:00": "0.04",
        "12:00:00": "0.04", "13:59:59": "0.04", "14:00:00": "0.01", "23:59:59": "0.01",
    }  # fmt: skip
    calls = [record(n, at=f"2026-03-10T{clock}") for n, clock in enumerate(prices)]
    after = record(len(calls), at="2026-03-11T00:00:00")
    data = reference(agreement(rates=deck))
    assert amounts(data, TEN, calls) == [Decimal(price) for price in prices.values()]
    assert amounts(data, date(2026, 3, 11), [after]) == [Decimal("0.5")]


def test_a_blocked_code_opens_again_and_a_withdrawn_one_stays_away() -> None:
    deck = [
        {"code": 44, "rate": "0.01"},
        {
            "code": 44,
            "status": "blocked",
            "from": "2026-03-10T06:00:00",
            "to": "2026-03-10T12:00:00",
        },
    ]
    found = assert_alike(
        reference(agreement(rates=deck)),
        TEN,
        [record(n, at=f"2026-03-10T{clock}") for n, clock in enumerate(["11:59:59", "12:00:00"])],
    )
    assert [found[n, "customer"]["reason"] for n in (0, 1)] == ["BLOCKED_CODE", None]
