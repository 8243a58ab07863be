"""The balance of files and days: what came in, less everything that it became, is zero.

`received = rejected + filtered + landed` by the file log, and `landed = duplicate + merged +
suspense + rated + own` by the lake, for records and for durations (catalogue 1.5, P02).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta

import polars as pl

from billing_assets.intake.resolve import REACH_DAYS, around
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import LANDED, RECORD_FATE
from billing_assets.registry.registry import Registry

FATES = ("duplicate", "merged", "incomplete", "suspense", "rated", "own")
_REACH = timedelta(days=31)


@dataclass(frozen=True)
class Imbalance:
    """A file's day that does not add up: records of the log and of the lake, and what is left."""

    day: date
    file_key: int
    received: int
    landed: int
    difference: int
    difference_ms: int


def imbalances(lake: Lake, registry: Registry, days: Sequence[date]) -> list[Imbalance]:
    """Files and days of some landed days whose balance is not zero, worst first.

    A file that landed on a day whose fates were never made stands out with all its records.
    """
    wanted = sorted(days)
    if not wanted:
        return []
    counts = registry.files.counts(wanted[0], wanted[-1] + timedelta(days=1))
    logged = pl.DataFrame(
        [asdict(count) for count in counts],
        schema={
            "file_key": pl.Int64,
            "day": pl.Date,
            "received": pl.Int64,
            "landed": pl.Int64,
            "rejected": pl.Int64,
            "filtered": pl.Int64,
        },
    )
    reach = _between(wanted[0] - _REACH, wanted[-1] + _REACH)
    fates = (
        lake.scan(RECORD_FATE, part={"day": reach})
        .filter(pl.col("landed_day").is_between(wanted[0], wanted[-1]))
        .group_by("landed_day", "file_key")
        .agg(
            _total("records", ("landed",)).alias("in_lake"),
            _total("records", FATES).alias("accounted"),
            (_total("duration_ms", ("landed",)) - _total("duration_ms", FATES)).alias(
                "difference_ms"
            ),
        )
        .rename({"landed_day": "day"})
        .collect(engine="streaming")
    )
    both = logged.join(fates, on=["day", "file_key"], how="full", coalesce=True).with_columns(
        pl.col(pl.Int64).fill_null(0)
    )
    missing = (pl.col("received") - pl.col("rejected") - pl.col("filtered")) - pl.col("accounted")
    wrong = both.with_columns(missing.alias("difference")).filter(
        pl.col("day").is_in(wanted)
        & (
            (pl.col("difference") != 0)
            | (pl.col("landed") != pl.col("in_lake"))
            | (pl.col("difference_ms") != 0)
        )
    )
    return [
        Imbalance(**row)
        for row in wrong.sort(pl.col("difference").abs(), descending=True)
        .select("day", "file_key", "received", "landed", "difference", "difference_ms")
        .iter_rows(named=True)
    ]


def unmade_days(lake: Lake, registry: Registry, days: Sequence[date]) -> list[date]:
    """Those of some days that must be made anew: records came since, a file was taken back or
    read again, or a run ended early.

    A part of a call is made on the day of its first part, so the days around it count too.
    """
    wrong = {one.day for one in imbalances(lake, registry, days)}
    if not wrong:
        return []
    parts = lake.scan(LANDED, part={"day": sorted(wrong)}).filter(pl.col("part").is_not_null())
    near = {
        one for day in parts.select(pl.col("day").unique()).collect()["day"] for one in around(day)
    }
    return sorted(wrong | (near & set(days)))


def judged_days(lake: Lake, registry: Registry, days: Sequence[date]) -> list[date]:
    """Those of some days that can be judged: every landed day within reach has its fates.

    A part of a call is accounted for on the day of its first part, which may be made later.
    """
    if not days:
        return []
    first, last = min(days) - timedelta(REACH_DAYS), max(days) + timedelta(REACH_DAYS)
    counts = registry.files.counts(first, last + timedelta(1))
    landed = {count.day for count in counts if count.landed}
    made = set(
        lake.scan(RECORD_FATE, part={"day": _between(first, last)})
        .select(pl.col("day").unique())
        .collect()["day"]
    )
    waiting = landed - made
    return [day for day in days if not any(abs((day - one).days) <= REACH_DAYS for one in waiting)]


def _total(column: str, fates: Sequence[str]) -> pl.Expr:
    return pl.col(column).filter(pl.col("fate").is_in(list(fates))).sum()


def _between(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
