"""What days without files are worth, by the usual of the same weekday (catalogue 3.6).

The usual is the median of the source's own money on the same weekdays of the eight weeks before:
one odd day does not change it. All of it is an estimate, and replaced by the records once the
files come.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from statistics import median

import polars as pl

from billing_assets.core.ids import ROW_BITS
from billing_assets.core.money import Rounding, round_amount
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATED_LEG

_WEEKS = 8
_LEAST_DAYS = 2
"""Fewer days to compare with are no profile."""

_KEYS = ("partner", "agreement", "leg", "service", "currency")


@dataclass(frozen=True)
class MissingDay:
    """The estimate of one UTC day of one source for one agreement.

    `like` are the days compared; `exact` is the median of their money, `records` of their records.
    """

    source: str
    day: date
    partner: str
    agreement: str
    leg: str
    service: str
    currency: str
    records: int
    exact: Decimal
    like: tuple[date, ...]


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


def estimate_missing(
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
    money: dict[tuple[str, date], pl.DataFrame] = {}
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
                if (source, one) not in money:
                    money[source, one] = _money(lake, keys[source], one)
            came = _money(lake, keys[source], day)
            found += _usual(source, day, {one: money[source, one] for one in like}, came)
    return found, unknown


def _money(lake: Lake, keys: Collection[int], day: date) -> pl.DataFrame:
    """Records and money of a source's legs of a day, by agreement without its version."""
    of_source = (pl.col("record_id") // (1 << ROW_BITS)).is_in(list(keys))
    return (
        lake.scan(RATED_LEG, part={"day": day})
        .filter(of_source)
        .with_columns(
            pl.col(name).cast(pl.String).fill_null("") for name in _KEYS if name != "agreement"
        )
        .with_columns(pl.col("agreement").cast(pl.String).str.split("@").list.first())
        .group_by(_KEYS)
        .agg(pl.len().cast(pl.Int64).alias("records"), pl.col("amount_e10").sum())
        .collect(engine="streaming")
    )


def _usual(
    source: str, day: date, days: Mapping[date, pl.DataFrame], came: pl.DataFrame
) -> list[MissingDay]:
    """The usual of some days, less what came of the day all the same."""
    rated = {tuple(key): amount for *key, _, amount in came.iter_rows()}
    values: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for frame in days.values():
        for *key, records, amount in frame.select(*_KEYS, "records", "amount_e10").iter_rows():
            values.setdefault(tuple(key), []).append((records, amount))
    found = []
    for key, each in sorted(values.items()):
        # days without a leg of this agreement count as nothing
        filled = each + [(0, 0)] * (len(days) - len(each))
        usual = Fraction(median(Fraction(amount) for _, amount in filled))
        usual -= rated.get(key, 0)
        if usual > 0:
            partner, agreement, leg, service, currency = key
            found.append(
                MissingDay(
                    source, day, partner, agreement, leg, service, currency,
                    int(median(records for records, _ in filled)),
                    round_amount(usual / 10**10, 10, Rounding.HALF_UP),
                    tuple(days),
                )
            )  # fmt: skip
    return found
