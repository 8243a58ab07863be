"""Rating a day of the lake: every leg is priced or waits with its reason; the rest goes on."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from billing_assets.core.errors import BillingError
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATED_LEG, SUSPENSE, USAGE_DAILY, XDR
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.day import DayRated, rate_day
from billing_assets.rating.usage import daily_usage
from billing_assets.reference.load import Reference
from tests.support.records import frame, record
from tests.support.references import agreement, partner, reference

TEN = date(2026, 3, 10)


def rated(folder: Path, data: Reference, *records: dict[str, object]) -> tuple[Lake, DayRated]:
    lake = Lake(str(folder / "lake"))
    lake.replace_slice(XDR, frame(*records).lazy(), {"day": TEN})
    return lake, rate_day(lake, compile_plan(data, TEN, buckets=4))


def rows(lake: Lake, table, *columns: str) -> list[tuple]:
    return lake.scan(table).sort("record_id").select(columns).collect().rows()


@pytest.fixture
def voice() -> Reference:
    """P01 sells at 0.60 a minute; P02 has no agreement."""
    deck = [{"code": 44, "rate": "0.60"}, {"code": 4470, "status": "blocked"}]
    data = [agreement(rates=deck), agreement("R", match="routing_number", rates=deck,
                                             partner="P03", accounts=["P03-A"])]  # fmt: skip
    return reference(*data, partners=[partner("P01"), partner("P02"), partner("P03")])


def test_what_has_no_price_waits_with_its_reason_and_is_never_priced_zero(
    tmp_path: Path, voice: Reference
) -> None:
    lake, outcome = rated(
        tmp_path,
        voice,
        record(1, seconds=60),
        record(2, b="331234567890"),
        record(3, in_trunk="sw/NEW"),
        record(4, b="447012345678"),
        record(5, in_trunk="sw/P03", b=None),
        record(6, in_trunk="sw/P02"),
        record(7, seconds=31 * 86400),
    )
    assert rows(lake, SUSPENSE, "record_id", "reason") == [
        (2, "NO_RATE"),
        (3, "UNKNOWN_TRUNK"),
        (4, "BLOCKED_CODE"),
        (5, "INVALID_NUMBER"),
        (6, "NO_AGREEMENT"),
        (7, "OUT_OF_RANGE"),
    ]
    assert rows(lake, RATED_LEG, "record_id", "amount_e10") == [(1, 6 * 10**9)]
    assert (outcome.records, outcome.legs, outcome.rated, outcome.suspended) == (7, 7, 1, 6)
    details = dict(rows(lake, SUSPENSE, "record_id", "detail"))
    assert all(details.values())
    assert details[4] == "code 4470 is blocked in the agreement's deck"


def test_an_unknown_trunk_waits_whatever_the_terms_of_the_others(tmp_path: Path) -> None:
    deck = [{"code": 44, "rate": "0.60"}]
    terms = [
        {"increments": "60/60", "setup_fee": "0.10", "cap": "9", "minimum_duration": 30},
        {"increments": "1/1", "minimum": "0.01", "attempt_fee": "0.02"},
    ]
    names = ["P01", "P03"]
    data = reference(
        *(
            agreement(name, partner=name, accounts=[f"{name}-A"], rates=deck, **some)
            for name, some in zip(names, terms, strict=True)
        ),
        agreement("S", service="sms", rates=deck),
        partners=[partner(name) for name in (*names, "P02")],
    )
    lake, outcome = rated(
        tmp_path,
        data,
        *(record(n, in_trunk=f"sw/{name}") for n, name in enumerate([*names, "P02", "NEW"], 1)),
        record(5, in_trunk="sw/NEW", answered=False),
    )
    assert rows(lake, SUSPENSE, "record_id", "reason") == [
        (3, "NO_AGREEMENT"),
        (4, "UNKNOWN_TRUNK"),
        (5, "UNKNOWN_TRUNK"),
    ]
    assert (outcome.rated, outcome.suspended) == (2, 3)


def test_money_at_risk_is_the_partner_s_average_of_the_day(
    tmp_path: Path, voice: Reference
) -> None:
    lake, _ = rated(
        tmp_path,
        voice,
        record(1, seconds=60),
        record(2, seconds=30),
        record(3, seconds=120, b="331234567890"),
        record(4, seconds=120, in_trunk="sw/NEW"),
        record(5, seconds=120, in_trunk="sw/P03", b="331234567890"),
    )
    # 0.90 for 90 seconds: 0.01 a second; P03 has no priced usage, the new trunk no partner
    assert rows(lake, SUSPENSE, "record_id", "partner", "at_risk_e10", "currency") == [
        (3, "P01", 120 * 10**8, "EUR"),
        (4, None, None, None),
        (5, "P03", None, "EUR"),
    ]


def test_an_unanswered_call_needs_no_rate_and_an_answered_one_at_zero_has_a_price(
    tmp_path: Path,
) -> None:
    data = reference(agreement(rates=[{"code": 44, "rate": "0"}]))
    lake, outcome = rated(
        tmp_path, data, record(1), record(2, b="331234567890", answered=False), record(3, seconds=0)
    )
    assert outcome.suspended == 0
    assert rows(lake, RATED_LEG, "record_id", "pricing", "amount_e10", "rate_e10") == [
        (1, "priced", 0, 0),
        (2, "not_chargeable", 0, None),
        (3, "not_chargeable", 0, 0),
    ]


def test_a_record_of_a_mad_quantity_waits_and_does_not_stop_the_day(tmp_path: Path) -> None:
    deck = [{"code": 2, "rate": "100"}, {"code": 9, "rate": "10000000"}]
    data = reference(agreement(service="data", match="serving_network", rates=deck))
    usage = [(26801, 2**20), (99901, 9 * 10**17), (31001, 9 * 10**17), (31001, 10**9)]
    lake, outcome = rated(
        tmp_path,
        data,
        *(
            record(n + 1, service="data", seconds=0, serving_network=network, quantity=quantity)
            for n, (network, quantity) in enumerate(usage)
        ),
    )
    assert outcome.rated == 1
    # 100 for 2^20 bytes
    at_risk = 100 * 10**10 * 10**9 // 2**20
    assert rows(lake, SUSPENSE, "record_id", "reason", "at_risk_e10") == [
        (2, "OUT_OF_RANGE", None),
        (3, "NO_RATE", None),
        (4, "NO_RATE", at_risk),
    ]


def test_both_legs_of_a_transit_record_are_rated_and_our_own_side_is_none(tmp_path: Path) -> None:
    data = reference(
        agreement("SELL", rates=[{"code": 44, "rate": "0.60"}]),
        agreement("BUY", leg="supplier", partner="P02", accounts=["P02-A"],
                  rates=[{"code": 44, "rate": "0.30"}]),
        partners=[partner("P01"), partner("P02")],
    )  # fmt: skip
    lake, outcome = rated(
        tmp_path,
        data,
        record(1, out_trunk="sw/P02"),
        record(2, in_trunk="sw/OWN", out_trunk="sw/P02"),
        record(3, in_trunk="sw/P01", out_trunk="sw/OWN"),
    )
    assert (outcome.records, outcome.legs, outcome.rated) == (3, 4, 4)
    assert outcome.amounts == {"EUR": Decimal("1.8000000000")}
    assert sorted(rows(lake, RATED_LEG, "record_id", "leg", "amount_e10")) == [
        (1, "customer", 6 * 10**9),
        (1, "supplier", 3 * 10**9),
        (2, "supplier", 3 * 10**9),
        (3, "customer", 6 * 10**9),
    ]


def test_split_legs_that_find_no_price_wait_like_the_others(tmp_path: Path) -> None:
    deck = [{"code": 44, "rate": "0.60", "to": "2026-03-10T12:00:00"}]
    data = reference(agreement(crossing="split", rates=deck))
    lake, outcome = rated(
        tmp_path, data, record(1, at="2026-03-10T11:59:30"), record(2, at="2026-03-10T11:00:00")
    )
    assert (outcome.rated, outcome.suspended) == (1, 1)
    assert rows(lake, SUSPENSE, "record_id", "reason") == [(1, "NO_RATE")]


def test_rating_a_day_again_changes_nothing(tmp_path: Path, voice: Reference) -> None:
    records = [record(n, seconds=n, b=f"44{n:02d}7700900") for n in range(1, 30)]
    lake, first = rated(tmp_path, voice, *records)
    before = {t.name: lake.scan(t).collect() for t in (RATED_LEG, SUSPENSE, USAGE_DAILY)}
    second = rate_day(lake, compile_plan(voice, TEN, buckets=4))
    assert first == second
    for name, frame_before in before.items():
        table = {t.name: t for t in (RATED_LEG, SUSPENSE, USAGE_DAILY)}[name]
        assert lake.scan(table).collect().equals(frame_before)


def test_usage_of_a_day_adds_rounded_records_exactly(tmp_path: Path) -> None:
    data = reference(agreement(rates=[{"code": 44, "rate": "0.0035"}]))
    lake, _ = rated(tmp_path, data, *(record(n + 1, seconds=95) for n in range(300)))
    (usage,) = lake.scan(USAGE_DAILY).collect().rows(named=True)
    # 95/60 x 0.0035 = 0.00554166..., rounded to 0.005542 a record
    assert usage["amount"] == Decimal("1.6626000000")
    assert (usage["records"], usage["quantity"], usage["billed_units"]) == (300, 28500, 28500)


def test_rows_that_differ_by_fees_alone_are_one_line_of_usage(tmp_path: Path) -> None:
    alike = {"destination": "UK", "rate": "0.60"}
    deck = [{"code": 4470, "setup_fee": "0.10", **alike}, {"code": 4479, **alike}]
    lake, _ = rated(
        tmp_path,
        reference(agreement(rates=deck)),
        *(record(n, b=f"447{n % 2 * 9}12345678") for n in range(1, 6)),
    )
    (usage,) = lake.scan(USAGE_DAILY).collect().rows(named=True)
    # five minutes at 0.60, two of the calls to 4470
    assert (usage["records"], usage["rate_e10"]) == (5, 6 * 10**9)
    assert (usage["fees"], usage["amount"]) == (Decimal("0.2"), Decimal("3.2"))


def test_usage_that_is_written_in_pieces_is_the_usage_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"P{n:02d}" for n in range(1, 9)]
    deck = [{"code": code, "destination": str(code), "rate": f"0.{code}"} for code in (33, 44)]
    data = reference(
        *(agreement(n, partner=n, accounts=[f"{n}-A"], rates=deck) for n in names),
        partners=[partner(name) for name in names],
    )
    calls = (
        record(n, seconds=n, in_trunk=f"sw/{names[n % 8]}", b=f"{(33, 44)[n % 3 % 2]}123456789")
        for n in range(1, 60)
    )
    lake, outcome = rated(tmp_path, data, *calls)
    once = lake.scan(USAGE_DAILY).collect()
    assert once["bucket"].n_unique() > 1
    monkeypatch.setattr("billing_assets.rating.day.USAGE_ROWS", 1)
    assert rate_day(lake, compile_plan(data, TEN, buckets=4)) == outcome
    keys = ("bucket", "partner", "destination")
    assert lake.scan(USAGE_DAILY).collect().sort(keys).equals(once.sort(keys))


def test_a_plan_whose_groups_no_integer_tells_apart_is_refused_before_it_prices(
    tmp_path: Path, voice: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("billing_assets.rating.labels._DAYS", 2**62)
    with pytest.raises(BillingError, match="the plan of 2026-03-10 is too large"):
        rated(tmp_path, voice, record(1))
    assert Lake(str(tmp_path / "lake")).scan(RATED_LEG).collect().is_empty()


def test_legs_that_stand_for_many_records_weigh_as_many(tmp_path: Path) -> None:
    data = reference(agreement(rates=[{"code": 44, "rate": "0.0035"}], setup_fee="0.01"))
    lake, _ = rated(tmp_path, data, record(1, seconds=95), record(2, answered=False))
    legs = lake.scan(RATED_LEG)
    alike = daily_usage(pl.concat([legs] * 7)).drop("bucket")
    weighed = daily_usage(legs, pl.lit(7, pl.Int64)).drop("bucket")
    assert alike.equals(weighed)


def test_a_plan_is_a_value_equal_reference_data_give_an_equal_hash(voice: Reference) -> None:
    plan = compile_plan(voice, TEN, buckets=4)
    assert plan.version == compile_plan(voice, TEN, buckets=4).version
    dearer = reference(agreement(rates=[{"code": 44, "rate": "0.61"}]))
    cheaper = reference(agreement(rates=[{"code": 44, "rate": "0.60"}]))
    assert (
        compile_plan(dearer, TEN, buckets=4).version
        != compile_plan(cheaper, TEN, buckets=4).version
    )
    assert plan.summary()["agreements"] == ["A@1", "R@1"]


def test_a_day_in_several_passes_is_the_day_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deck = [{"code": 44, "rate": "0.60", "from": "2026-01-01"}]
    deck += [{"code": 44, "rate": "0.90", "from": "2026-03-10T12:00:00Z"}]
    data = reference(agreement(rates=deck, crossing="split"), partners=[partner("P01")])
    plan = compile_plan(data, TEN, buckets=4)
    times = ["00:10", "00:12", "00:12", "10:00", "12:00", "11:59", "12:00"]
    usage = [record(n, at=f"2026-03-10T{at}:30") for n, at in enumerate(times, start=1)]
    usage.append(record(8, b="331234567890"))
    lake = Lake(str(tmp_path / "lake"))
    with lake.replacing(XDR, {"day": TEN}) as new:
        for one in usage:
            new.write(frame(one))
    assert len(lake.blocks(XDR, {"day": TEN}, 3)) == 3
    tables = (RATED_LEG, USAGE_DAILY, SUSPENSE)
    outcome = rate_day(lake, plan)
    once = [lake.scan(table).collect() for table in tables]
    assert (outcome.rated, outcome.suspended) == (7, 1)
    assert set(once[0]["pricing"]) == {"priced", "split"}
    monkeypatch.setattr("billing_assets.rating.day.BLOCK", 3)
    assert rate_day(lake, plan) == outcome
    for table, before in zip(tables, once, strict=True):
        after = lake.scan(table).collect()
        assert after.sort(after.columns).equals(before.sort(before.columns)), table.name
