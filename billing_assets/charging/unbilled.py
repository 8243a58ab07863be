"""What a cycle bills: its own days, and what earlier days have gained or lost since they were
billed (late records, re-rated legs)."""

from collections.abc import Collection

import polars as pl

from billing_assets.charging.cycles import Cycle
from billing_assets.lake.tables import USAGE_DAILY

_MEASURES = ("records", "answered", "duration_ms", "quantity", "billed_units", "fees", "amount")


def unbilled_usage(
    cycle: Cycle, usage: pl.DataFrame, billed: pl.DataFrame, open_months: Collection[str]
) -> pl.DataFrame:
    """Rows of `usage_daily` that a cycle must bill.

    `usage` is the partner's usage as it is now, up to the period's end; `billed` the same table
    at the version pinned by the partner's last final cycle, up to the end of that cycle (empty
    if there is none). Days of `open_months` ('YYYY-MM': earlier cycles that are not final) are
    left to those cycles.
    """
    day = pl.col("local_day")
    own = usage.filter((day >= cycle.period.start) & (day < cycle.period.end))
    keys = [c for c in USAGE_DAILY.schema.names() if c not in _MEASURES]
    taken_back = billed.with_columns(-pl.col(name) for name in _MEASURES)
    earlier = (
        pl.concat([usage, taken_back])
        .filter((day < cycle.period.start) & ~day.dt.strftime("%Y-%m").is_in(list(open_months)))
        .group_by(keys)
        .agg(pl.col(_MEASURES).sum())
        .filter(pl.any_horizontal(pl.col(name) != 0 for name in _MEASURES))
        .select(usage.columns)
    )
    return pl.concat([own, earlier])
