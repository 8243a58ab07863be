"""The re-rating bench: one destination of one partner, against rating all days again."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import polars as pl

from billing_assets.demo.bench_rating import DAY, Size, build_reference, write_usage
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATED_LEG, USAGE_DAILY
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.day import rate_day
from billing_assets.rating.rerate import rerate_days
from billing_assets.rating.scope import RatingScope
from billing_assets.reference.load import Reference

BUCKETS = 64
"""Partner buckets a day: of hundreds of partners few share one, so little else is rewritten."""


@dataclass(frozen=True)
class Rerated:
    """Seconds and bytes written by rating all days again, and by re-rating the scope.

    `slices` were replaced by the re-rating; `legs` had another price.
    """

    all_seconds: float
    all_bytes: int
    seconds: float
    bytes: int
    slices: int
    all_slices: int
    legs: int


def bench_rerating(folder: Path, records: int, days: int, tell: Callable[[str], None]) -> Rerated:
    """Generate and rate some days, rate them all again, then change one destination's price."""
    lake = Lake(str(folder / "lake"))
    reference = build_reference(Size(records, most_codes=20_000))
    span = [DAY + timedelta(days=n) for n in range(days)]
    for number, day in enumerate(span):
        tell(f"generating {day}")
        write_usage(lake, reference, records, day, seed=number)
        rate_day(lake, compile_plan(reference, day, buckets=BUCKETS))
    before = _files(folder)
    begin = time.perf_counter()
    for day in span:
        tell(f"rating {day} again as a whole")
        rate_day(lake, compile_plan(reference, day, buckets=BUCKETS))
    all_seconds = time.perf_counter() - begin
    after = _files(folder)
    changed, scope = _change(reference, lake, RatingScope(span[0], span[-1]))
    begin = time.perf_counter()
    tell(f"re-rating {scope.describe()}")
    outcomes = list(rerate_days(lake, changed, scope, span, buckets=BUCKETS, request=1))
    seconds = time.perf_counter() - begin
    last = _files(folder)
    return Rerated(
        all_seconds=all_seconds,
        all_bytes=_new_bytes(before, after),
        seconds=seconds,
        bytes=_new_bytes(after, last),
        slices=sum(len(outcome.buckets) for outcome in outcomes),
        all_slices=days * BUCKETS,
        legs=sum(outcome.changed for outcome in outcomes),
    )


def _change(reference: Reference, lake: Lake, scope: RatingScope) -> tuple[Reference, RatingScope]:
    """A tenth more for the busiest destination of a partner of middling size."""
    customers = [a for a in reference.agreements if a.terms.leg == "customer"]
    chosen = customers[len(customers) // 2]
    usage = lake.scan(USAGE_DAILY).filter(pl.col("partner") == chosen.terms.partner)
    busiest = usage.group_by("destination").agg(pl.col("records").sum()).collect()
    name = busiest.sort("records", "destination")["destination"][-1]
    rows = chosen.deck.rows.with_columns(
        pl.when(pl.col("destination") == name)
        .then(pl.col("price_e10") * 11 // 10)
        .otherwise("price_e10")
        .alias("price_e10")
    )
    dearer = replace(chosen, deck=replace(chosen.deck, rows=rows))
    others = tuple(dearer if a is chosen else a for a in reference.agreements)
    narrowed = replace(scope, partners=(chosen.terms.partner,), destinations=(name,))
    return replace(reference, agreements=others), narrowed


def _files(folder: Path) -> dict[Path, int]:
    tables = (folder / "lake" / table.name for table in (RATED_LEG, USAGE_DAILY))
    return {path: path.stat().st_size for t in tables for path in t.rglob("*.parquet")}


def _new_bytes(before: dict[Path, int], after: dict[Path, int]) -> int:
    return sum(size for path, size in after.items() if path not in before)
