"""Rolling legs up into `usage_daily`: what they have in common, their number, units and money."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from billing_assets.core.money import decimal_of_e10
from billing_assets.lake.order import places_in_order, sort_keys
from billing_assets.lake.tables import USAGE_DAILY

_MEASURES = ("records", "answered", "duration_ms", "quantity", "billed_units", "fees", "amount")
_COUNTED = ("answered", "duration_ms", "quantity", "billed_units")
_KEYS = tuple(name for name in USAGE_DAILY.schema if name not in _MEASURES)
_OF_AGREEMENT = ("bucket", "leg", "service", "currency")
_FIRST = ("partner", "destination")
_ORDER = (*_FIRST, *(name for name in _KEYS if name not in (*_FIRST, *_OF_AGREEMENT)))


def daily_usage(legs: pl.LazyFrame, records: pl.Expr | None = None) -> pl.DataFrame:
    """Rows of `usage_daily` from priced legs in the columns of `rated_leg`.

    `records` tells how many equal records a leg stands for (by default one).
    """
    sums = usage_sums(legs, records).collect(engine="streaming")
    return as_usage(sums).cast(USAGE_DAILY.schema)


def usage_sums(
    legs: pl.LazyFrame,
    records: pl.Expr | None = None,
    keys: Sequence[str] = _KEYS,
    *,
    small: bool = False,
) -> pl.LazyFrame:
    """Sums of legs (columns of `rated_leg`) by keys, by default those of `usage_daily`.

    Sums are exact: amounts are added as 128-bit integers of 10^-10, and so is what legs count
    unless it is so `small` that no sum passes int64.
    """

    def total(column: pl.Expr) -> pl.Expr:
        return (column if records is None else column * records).sum()

    counted = pl.Int64 if small else pl.Int128
    return legs.group_by(keys).agg(
        (pl.len().cast(pl.Int64) if records is None else records.sum()).alias("records"),
        *(total(pl.col(name).cast(counted)) for name in _COUNTED),
        total(pl.col("fees_e10").cast(pl.Int128)).alias("fees"),
        total(pl.col("amount_e10").cast(pl.Int128)).alias("amount"),
    )


def as_usage(sums: pl.DataFrame) -> pl.DataFrame:
    """`usage_sums` as rows of `usage_daily`, in one order of all that tells rows apart.

    Rows that say the same are added up. Words stay of the type that they have.
    """
    return (
        sums.with_columns(pl.col("destination").fill_null(""), pl.col(_COUNTED).cast(pl.Int64))
        .pipe(_in_order)
        .with_columns(decimal_of_e10(pl.col("fees")), decimal_of_e10(pl.col("amount")))
        .select(USAGE_DAILY.schema.names())
        .cast({name: of for name, of in USAGE_DAILY.schema.items() if of != pl.String})
    )


def _in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows sorted by all that tells them apart, and added up where that is equal."""
    keys = sort_keys(rows, _ORDER)
    order = places_in_order(keys)
    first = np.ones(rows.height, bool)
    sorted_keys = (key[order].to_numpy() for key in keys.iter_columns())
    first[1:] = np.logical_or.reduce([np.diff(one) != 0 for one in sorted_keys])
    ordered = rows[order]
    return ordered if first.all() else _added_up(ordered, first)


def _added_up(ordered: pl.DataFrame, first: np.ndarray) -> pl.DataFrame:
    """Rows of which some say the same as the one before them, added up; `first` are the others."""
    lines = np.cumsum(first) - 1
    several = np.bincount(lines) > 1
    sums = (
        ordered.filter(several[lines])
        .group_by(pl.Series("line", lines[several[lines]]), maintain_order=True)
        .agg(pl.col(_MEASURES).sum())
    )
    return ordered.filter(first).with_columns(
        ordered[name].filter(first).scatter(sums["line"], sums[name]) for name in _MEASURES
    )


def average_prices(usage: pl.DataFrame) -> pl.DataFrame:
    """Money (10^-10 units) and quantity by partner, leg and service, of rows of `usage_daily`."""
    return (
        usage.filter(pl.col("quantity") > 0)
        .group_by("partner", "leg", "service")
        .agg(
            (pl.col("amount").sum() * 10**10).cast(pl.Int128).alias("total_e10"),
            pl.col("quantity").sum().alias("priced_quantity"),
        )
        .cast({"partner": pl.String, "leg": pl.String, "service": pl.String})
    )
