"""Suspended legs tried again: those that can be priced are, and nothing else moves."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATED_LEG, SUSPENSE, USAGE_DAILY, XDR
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.day import rate_day
from billing_assets.rating.retry import Retried, retry_day
from billing_assets.reference.load import Reference
from tests.support.records import frame, record
from tests.support.references import agreement, partner, reference

TEN = date(2026, 3, 10)
ALL = pl.lit(True)


def prices(*codes: tuple[int, str]) -> Reference:
    """P01 sells at some prices a minute."""
    deck = [{"code": code, "rate": rate} for code, rate in codes]
    return reference(agreement(rates=deck), partners=[partner("P01")])


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A day at 0.60 a minute to 44; a number and a trunk wait."""
    made = Lake(str(tmp_path / "lake"))
    records = (
        record(1, seconds=60),
        record(2, seconds=60, b="331234567890"),
        record(3, seconds=60, in_trunk="sw/NEW"),
    )
    made.replace_slice(XDR, frame(*records), {"day": TEN})
    rate_day(made, compile_plan(prices((44, "0.60")), TEN, buckets=4))
    return made


def amounts(lake: Lake) -> list[tuple[int, int]]:
    return lake.scan(RATED_LEG).sort("record_id").select("record_id", "amount_e10").collect().rows()


def reasons(lake: Lake) -> list[tuple[int, str]]:
    return lake.scan(SUSPENSE).sort("record_id").select("record_id", "reason").collect().rows()


def test_a_loaded_rate_prices_what_waited_and_leaves_the_rest_as_it_was(lake: Lake) -> None:
    before = lake.scan(RATED_LEG).filter(pl.col("record_id") == 1).collect()
    plan = compile_plan(prices((44, "0.90"), (33, "0.30")), TEN, buckets=4)
    assert retry_day(lake, plan, pl.col("reason") == "NO_RATE") == Retried(TEN, 1, 1, 0, 0)
    assert amounts(lake) == [(1, 6 * 10**9), (2, 3 * 10**9)]
    assert lake.scan(RATED_LEG).filter(pl.col("record_id") == 1).collect().equals(before)
    assert reasons(lake) == [(3, "UNKNOWN_TRUNK")]
    usage = lake.scan(USAGE_DAILY).select(pl.col("records", "billed_units").sum()).collect()
    assert usage.row(0) == (2, 120)


def test_what_still_has_no_price_waits_with_its_reason_of_now(lake: Lake) -> None:
    blocked = [{"code": 44, "rate": "0.60"}, {"code": 33, "status": "blocked"}]
    data = reference(agreement(rates=blocked), partners=[partner("P01")])
    done = retry_day(lake, compile_plan(data, TEN, buckets=4), ALL)
    assert (done.tried, done.rated, done.waiting) == (2, 0, 2)
    assert reasons(lake) == [(2, "BLOCKED_CODE"), (3, "UNKNOWN_TRUNK")]
    assert amounts(lake) == [(1, 6 * 10**9)]


def test_a_retry_that_died_before_suspense_was_written_rates_no_leg_twice(lake: Lake) -> None:
    waiting = lake.scan(SUSPENSE).collect()
    plan = compile_plan(prices((44, "0.60"), (33, "0.30")), TEN, buckets=4)
    retry_day(lake, plan, ALL)
    lake.replace_slice(SUSPENSE, waiting, {"day": TEN, "stage": "rating"})
    retry_day(lake, plan, ALL)
    assert amounts(lake) == [(1, 6 * 10**9), (2, 3 * 10**9)]
    assert reasons(lake) == [(3, "UNKNOWN_TRUNK")]


def test_nothing_that_waits_is_nothing_done(lake: Lake) -> None:
    version = lake.version(RATED_LEG)
    plan = compile_plan(prices((44, "0.60")), TEN, buckets=4)
    assert retry_day(lake, plan, pl.col("reason") == "NO_AGREEMENT").tried == 0
    assert lake.version(RATED_LEG) == version


def test_records_that_came_into_the_day_are_priced_with_both_legs(lake: Lake) -> None:
    late = frame(record(9, seconds=120), record(10, seconds=60, b="331234567890"))
    xdr = pl.concat([lake.scan(XDR).collect(), late])
    lake.replace_slice(XDR, xdr, {"day": TEN})
    plan = compile_plan(prices((44, "0.90")), TEN, buckets=4)
    assert retry_day(lake, plan, pl.lit(False), fresh=[9, 10]) == Retried(TEN, 2, 1, 1, 0)
    assert amounts(lake) == [(1, 6 * 10**9), (9, 18 * 10**9)]
    assert reasons(lake) == [(2, "NO_RATE"), (3, "UNKNOWN_TRUNK"), (10, "NO_RATE")]
