"""What a change of the reference data does to rated usage, before anybody rates it again.

The legs that a change can touch (its days, its trunks) are priced under both versions by the
same kernel that rates whole days, and compared record by record. Nothing is written. A proposal
to rate again takes its days, partners and destinations from here (design: selective re-rating).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

import polars as pl

from billing_assets.core.money import decimal_of_e10
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import MONEY, SUSPENSE, USAGE_DAILY, XDR
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.kernel import Kernel
from billing_assets.rating.split import priced_legs
from billing_assets.rating.staleness import touches
from billing_assets.reference.differences import Affected, Differences, differences
from billing_assets.reference.load import Reference
from billing_assets.reference.models import Leg

_GRAIN = (
    "day",
    "local_day",
    "partner",
    "leg",
    "service",
    "account",
    "agreement",
    "destination",
    "currency",
)

IMPACT = pl.Schema(
    {
        "day": pl.Date,
        "local_day": pl.Date,
        **dict.fromkeys(_GRAIN[2:], pl.String),
        "records_before": pl.Int64,
        "records_after": pl.Int64,
        "suspended_before": pl.Int64,
        "suspended_after": pl.Int64,
        "amount_before": MONEY,
        "amount_after": MONEY,
    }
)
"""Columns of `Impact.usage`: changed records alone, each under what it was and what it becomes."""


@dataclass(frozen=True)
class Impact:
    """What changes between two versions.

    `usage` has the columns of `IMPACT`; a record that moves to another destination, agreement or
    currency stands in two rows, so that sums are exact. `records` counts legs that change.
    `days` are the UTC days that were looked at, `changed_days` those with a changed leg.
    """

    differences: Differences
    days: tuple[date, ...]
    records: int
    usage: pl.DataFrame

    @property
    def changed_days(self) -> list[date]:
        """UTC days that a re-rating must touch."""
        return self.usage["day"].unique().sort().to_list()

    @property
    def partners(self) -> list[str]:
        """Partners whose money or suspense changes."""
        return self.usage["partner"].unique().sort().to_list()

    def by(self, *columns: str) -> pl.DataFrame:
        """Sums by some of the columns and the currency, with the difference in money."""
        keys = list(dict.fromkeys([*columns, "currency"]))
        sums = [name for name in IMPACT if name not in _GRAIN]
        return (
            self.usage.group_by(keys)
            .agg(pl.col(sums).sum())
            .with_columns((pl.col("amount_after") - pl.col("amount_before")).alias("difference"))
            .sort(keys)
        )

    def total(self) -> dict[str, Decimal]:
        """Difference in money by currency, positive where the amount of the legs grows."""
        return dict(self.by("currency").select("currency", "difference").iter_rows())


def impact_of(
    lake: Lake,
    before: Reference,
    after: Reference,
    *,
    first: date = date.min,
    last: date = date.max,
    partners: Collection[str] | None = None,
) -> Impact:
    """Price the legs that differ between two references under both, and compare.

    `first` to `last` (UTC days) and `partners` narrow what is looked at: all usage by default.
    Memory is that of one day of the affected partners.
    """
    changes = differences(before, after)
    affected = [a for a in changes.affected if not partners or a.partner in partners]
    days = [day for day in _usage_days(lake) if first <= day <= last]
    scopes = list(_by_day(affected, days))
    touched = {a.partner for a in affected}
    old, new = _narrowed(before, touched), _narrowed(after, touched)
    parts: list[pl.DataFrame] = [pl.DataFrame(schema=IMPACT)]
    records = 0
    for day, of_day in scopes:
        plans = [compile_plan(one, day, buckets=1) for one in (old, new)]
        for leg in Leg:
            trunks = sorted({t for a in of_day if a.leg is leg for t in a.trunks})
            if not trunks:
                continue
            side = "in_trunk" if leg is Leg.CUSTOMER else "out_trunk"
            usage = lake.scan(XDR, part={"day": day}).filter(pl.col(side).is_in(trunks))
            legs = [_outcome(priced_legs(Kernel(plan, leg), usage)) for plan in plans]
            changed = _changed(legs[0], legs[1])
            records += changed["record_id"].n_unique()
            parts.append(_summed(changed))
    usage = pl.concat(parts)
    if partners:
        usage = usage.filter(pl.col("partner").is_in(sorted(partners)))
    return Impact(changes, tuple(day for day, _ in scopes), records, usage.sort(_GRAIN))


def _narrowed(reference: Reference, partners: Collection[str]) -> Reference:
    """The same reference with the agreements of some partners alone: less to compile."""
    kept = tuple(a for a in reference.agreements if a.terms.partner in partners)
    return replace(reference, agreements=kept)


def _usage_days(lake: Lake) -> list[date]:
    days = [lake.scan(table).select("day").unique() for table in (USAGE_DAILY, SUSPENSE)]
    return pl.concat(days).unique().sort("day").collect()["day"].to_list()


def _by_day(
    affected: Sequence[Affected], days: Sequence[date]
) -> Iterator[tuple[date, list[Affected]]]:
    """Days of usage with what is affected on them."""
    for day in days:
        of_day = [one for one in affected if touches(one, day)]
        if of_day:
            yield day, of_day


_COMPARED = ("reason", "local_day", "partner", "account", "agreement", "destination", "band",
             "origin", "pricing", "rate_e10", "fees_e10", "amount_e10", "currency")  # fmt: skip


def _outcome(legs: pl.LazyFrame) -> pl.LazyFrame:
    """What came of each leg, in the columns that a document or a report could show."""
    words = ("reason", "partner", "account", "agreement", "destination", "band", "origin",
             "pricing", "currency", "leg", "service")  # fmt: skip
    return legs.select(
        "day", "record_id", *_COMPARED, "leg", "service"
    ).with_columns(pl.col(words).cast(pl.String))  # fmt: skip


def _changed(before: pl.LazyFrame, after: pl.LazyFrame) -> pl.DataFrame:
    """Both outcomes of each leg of which anything differs, `_after` telling them apart."""
    joined = before.join(after, on="record_id", how="full", suffix="_new")
    differs = pl.any_horizontal(
        pl.col(name).ne_missing(pl.col(f"{name}_new")) for name in _COMPARED
    )
    changed = joined.filter(differs).collect(engine="streaming")
    columns = ["day", "leg", "service", *_COMPARED]
    old = changed.filter(pl.col("record_id").is_not_null()).select("record_id", *columns)
    new = changed.filter(pl.col("record_id_new").is_not_null()).select(
        pl.col("record_id_new").alias("record_id"),
        *(pl.col(f"{name}_new").alias(name) for name in columns),
    )
    return pl.concat(
        [old.with_columns(pl.lit(False).alias("_after")),
         new.with_columns(pl.lit(True).alias("_after"))]
    )  # fmt: skip


def _summed(changed: pl.DataFrame) -> pl.DataFrame:
    """Changed legs added up by the grain of `IMPACT`."""
    priced = pl.col("reason").is_null()

    def count(state: pl.Expr) -> pl.Expr:
        return state.sum().cast(pl.Int64)

    def money(state: pl.Expr) -> pl.Expr:
        amount = pl.when(priced & state).then("amount_e10").otherwise(0)
        return decimal_of_e10(amount.cast(pl.Int128).sum())

    after = pl.col("_after")
    return (
        changed.with_columns(
            pl.col("destination", "currency", "partner", "account", "agreement").fill_null("")
        )
        .group_by(_GRAIN)
        .agg(
            count(priced & ~after).alias("records_before"),
            count(priced & after).alias("records_after"),
            count(~priced & ~after).alias("suspended_before"),
            count(~priced & after).alias("suspended_after"),
            money(~after).alias("amount_before"),
            money(after).alias("amount_after"),
        )
        .select(IMPACT.names())
        .cast(IMPACT)
    )
