"""What days without files are worth, by the usual of the same weekday (catalogue 3.6).

The usual is the median by money of the same weekdays of the eight weeks before, each source and
agreement for itself: one odd day does not change it. A missing day is taken to have the legs of
that day, so that tiers and commitments count them too; calls over midnight that a neighbour's file
brought are not taken off. All of it is an estimate, and replaced by the records once files come.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl

from billing_assets.core.ids import ROW_BITS
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATED_LEG
from billing_assets.reference.load import InForce
from billing_assets.registry.registry import Registry
from billing_assets.registry.schema import FileState

_WEEKS = 8
_LOOK_BACK = timedelta(weeks=2 * _WEEKS + 1)
"""Days of files that are looked at: the missing ones, and those that they are compared with."""

_LEAST_DAYS = 2
"""Fewer days to compare with are no profile."""


@dataclass(frozen=True)
class MissingDay:
    """One UTC day of which a source has no file, for one agreement of a partner.

    `usual` is the day it is taken to be like: the median of the `like` days by money.
    """

    source: str
    day: date
    partner: str
    agreement: str
    usual: date
    like: tuple[date, ...]

    @property
    def words(self) -> str:
        """How the estimate is made, in a sentence."""
        days = ", ".join(map(str, self.like))
        return f"{self.source} has no file of {self.day}: as on {self.usual}, the median of {days}"


def covered_days(counts: Mapping[date, int]) -> set[date]:
    """The UTC days that a file is of, from its records by day.

    Those between its first and last, and these unless they hold next to nothing: a few calls
    over midnight make no file of the next day.

    >>> sorted(d.day for d in covered_days({date(2026, 3, 10): 900, date(2026, 3, 11): 4}))
    [10]
    """
    days = {day: count for day, count in counts.items() if count}
    first, last = min(days, default=date.max), max(days, default=date.min)
    least = max(days.values(), default=0) / 10
    whole = {first + timedelta(days=n) for n in range(1, (last - first).days)} if days else set()
    return whole | {day for day in (first, last) if days.get(day, 0) > least}


def days_without_files(covered: Mapping[str, Collection[date]], day: date) -> dict[str, list[date]]:
    """The days of each source, up to a day, of which it has no file.

    `covered` are the days that files are of, by source; a source begins with its first one, and
    nothing older than eight weeks is looked at.
    """
    since = day - timedelta(weeks=_WEEKS)
    found: dict[str, list[date]] = {}
    for source, days in covered.items():
        first = max(min(days, default=day), since)
        span = (first + timedelta(days=n) for n in range((day - first).days + 1))
        if gaps := [one for one in span if one not in days]:
            found[source] = gaps
    return found


def missing_days(
    at: date, lake: Lake, registry: Registry
) -> tuple[list[MissingDay], dict[str, set[int]], list[str]]:
    """Days without files, the file keys of each source, and what is not known."""
    entries = {s: registry.files.of_source(s) for s in registry.files.sources()}
    keys = {
        source: {one.file_key for one in files if one.state is FileState.LANDED}
        for source, files in entries.items()
    }
    by_file: dict[int, dict[date, int]] = {}
    for count in registry.files.counts(at - _LOOK_BACK, at + timedelta(days=1)):
        by_file.setdefault(count.file_key, {})[count.day] = count.landed
    covered = {
        source: set[date]().union(*(covered_days(by_file.get(key, {})) for key in files))
        for source, files in keys.items()
    }
    covered = {source: days for source, days in covered.items() if days}
    found, unknown = _compared(lake, days_without_files(covered, at), covered, keys)
    return found, keys, unknown


def _compared(
    lake: Lake,
    missing: Mapping[str, Collection[date]],
    covered: Mapping[str, Collection[date]],
    keys: Mapping[str, Collection[int]],
) -> tuple[list[MissingDay], list[str]]:
    """The estimates of missing days, and what must be known: days that nothing compares with.

    `keys` are the file keys of each source.
    """
    found: list[MissingDay] = []
    unknown: list[str] = []
    known: dict[tuple[str, date], pl.DataFrame] = {}
    for source, days in sorted(missing.items()):
        for day in sorted(days):
            weeks = (day - timedelta(weeks=n) for n in range(1, _WEEKS + 1))
            like = sorted(one for one in weeks if one in covered[source])
            if len(like) < _LEAST_DAYS:
                unknown.append(
                    f"{source} has no file of {day} and too few of the same weekday before: "
                    "not estimated"
                )
                continue
            for one in like:
                if (source, one) not in known:
                    known[source, one] = _worth(lake, keys[source], one)
            found += _usual(source, day, {one: known[source, one] for one in like})
    return found, unknown


def estimated_legs(
    lake: Lake,
    missing: Sequence[MissingDay],
    keys: Mapping[str, Collection[int]],
    agreements: Sequence[InForce],
    bucket: int,
) -> pl.LazyFrame | None:
    """The legs of a partner's missing days: those of the usual days, moved, for the versions in
    force then; None without any."""
    frames: list[pl.LazyFrame] = []
    moves = sorted({(one.source, one.usual, one.day) for one in missing})
    for source, usual, day in moves:
        mine = [o for o in missing if (o.source, o.usual, o.day) == (source, usual, day)]
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        versions = {
            one.terms.agreement: one.terms.key for one in agreements if one.start <= noon < one.end
        }
        named = {o.agreement: versions[o.agreement] for o in mine if o.agreement in versions}
        if not named:
            continue
        base = pl.col("agreement").cast(pl.String).str.split("@").list.first()
        moved = pl.lit(day - usual)
        frames.append(
            lake.scan(RATED_LEG, part={"day": usual, "bucket": bucket})
            .filter(
                pl.col("partner") == mine[0].partner, base.is_in(list(named)), _of(keys[source])
            )
            .with_columns(
                pl.col("day", "local_day", "event_time") + moved,
                base.replace_strict(named, return_dtype=pl.String).alias("agreement"),
                pl.lit(1, pl.Int64).alias("records"),
            )
        )
    return pl.concat(frames) if frames else None


def _of(keys: Collection[int]) -> pl.Expr:
    """The condition on records that they come from some files."""
    return (pl.col("record_id") // (1 << ROW_BITS)).is_in(list(keys))


def _worth(lake: Lake, keys: Collection[int], day: date) -> pl.DataFrame:
    """Money and units of a source's legs of a day, by partner and agreement of any version."""
    words = pl.col("partner", "agreement").cast(pl.String)
    return (
        lake.scan(RATED_LEG, part={"day": day})
        .filter(_of(keys))
        .with_columns(words.str.split("@").list.first())
        .group_by("partner", "agreement")
        .agg(pl.col("amount_e10", "billed_units").cast(pl.Int128).sum())
        .collect(engine="streaming")
    )


def _usual(source: str, day: date, days: Mapping[date, pl.DataFrame]) -> list[MissingDay]:
    """The usual day of each agreement; none where that has no traffic."""
    worth: dict[tuple[str, str], dict[date, tuple[int, int]]] = {}
    for one, frame in days.items():
        for partner, agreement, amount, units in frame.iter_rows():
            worth.setdefault((partner, agreement), {})[one] = (amount, units)
    found = []
    for (partner, agreement), by_day in sorted(worth.items()):
        # a day without a leg of the agreement counts as nothing
        ranked = sorted(days, key=lambda one: (by_day.get(one, (0, 0)), one))
        usual = ranked[(len(ranked) - 1) // 2]
        if any(by_day.get(usual, (0, 0))):
            found.append(MissingDay(source, day, partner, agreement, usual, tuple(days)))
    return found
