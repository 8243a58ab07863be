"""The short-call surcharge: counting the short calls of a cycle, and what they cost (J07)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import polars as pl

from billing_assets.core.periods import Period
from billing_assets.reference.models import Agreement, ShortCalls


@dataclass(frozen=True)
class ShortCallCount:
    """Answered calls of an agreement in a period, and how many of them were short."""

    calls: int
    short: int

    @property
    def share(self) -> Fraction:
        """Short calls as a fraction of all, 0 when there are none."""
        return Fraction(self.short, self.calls) if self.calls else Fraction(0)


def count_short_calls(
    legs: pl.LazyFrame,
    agreements: Iterable[Agreement],
    period: Period,
    *,
    records: pl.Expr | None = None,
) -> Mapping[str, ShortCallCount]:
    """Count by agreement key the answered legs whose local day lies in a period.

    `legs` has the columns of `rated_leg`; `records` tells how many equal records a row stands
    for (by default one). Agreements without short-call terms are left out.
    """
    limits = {a.key: a.short_calls.seconds * 1000 for a in agreements if a.short_calls}
    if not limits:
        return {}
    weight = pl.lit(1, pl.Int64) if records is None else records
    agreement = pl.col("agreement").cast(pl.String)
    counted = (
        legs.filter(
            agreement.is_in(list(limits)),
            pl.col("answered"),
            pl.col("local_day").is_between(period.start, period.last_day),
        )
        .select(
            agreement,
            weight.alias("calls"),
            (pl.col("duration_ms") <= agreement.replace_strict(limits)).alias("short"),
        )
        .group_by("agreement")
        .agg(pl.col("calls").sum(), pl.col("calls").filter("short").sum().alias("short"))
        .collect(engine="streaming")
    )
    return {key: ShortCallCount(calls, short) for key, calls, short in counted.iter_rows()}


def short_call_fee(count: ShortCallCount, terms: ShortCalls) -> tuple[int, Decimal]:
    """How many calls are surcharged, and the amount; (0, 0) up to the threshold.

    The excess is counted in whole calls above the allowed share.
    """
    if count.share <= Fraction(terms.threshold):
        return 0, Decimal(0)
    allowed = int(Fraction(terms.threshold) * count.calls)
    charged = count.short if terms.scope == "all" else count.short - allowed
    return charged, terms.fee * charged
