"""Rating a UTC day of the lake: both legs of every record, suspense, and the day's balance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import polars as pl

from billing_assets.core.errors import BillingError
from billing_assets.lake.store import Lake, NewSlice
from billing_assets.lake.tables import RATED_LEG, SUSPENSE, USAGE_DAILY, XDR
from billing_assets.rating.kernel import Kernel
from billing_assets.rating.labels import added, bucket_of_group, ungrouped
from billing_assets.rating.outcomes import BY_PARTS
from billing_assets.rating.plan import RatingPlan
from billing_assets.rating.split import split_legs
from billing_assets.rating.usage import as_usage, average_prices, daily_usage, usage_sums
from billing_assets.reference.models import Leg


@dataclass(frozen=True)
class DayRated:
    """What rating a day did: legs by outcome, and money by currency."""

    day: date
    plan: str
    records: int
    legs: int
    rated: int
    suspended: int
    amounts: Mapping[str, Decimal]


def rate_day(lake: Lake, plan: RatingPlan, *, rerate_request: int | None = None) -> DayRated:
    """Price a day's records into `rated_leg`, what cannot be priced into `suspense`.

    The day's slices of both tables and of `usage_daily` are replaced, after one pass over the
    records. Raises `BillingError` when the balance is not zero: every leg of every record is
    rated or suspended, none twice.
    """
    blocks = lake.blocks(XDR, {"day": plan.day}, BLOCK)
    kernels = [Kernel(plan, leg, rerate_request) for leg in Leg]
    with lake.replacing(RATED_LEG, {"day": plan.day}) as rated:
        unpriced, sums = _rate(rated, kernels, blocks[0])
        for block in blocks[1:]:
            further, more = _rate(rated, kernels, block)
            unpriced, sums = pl.concat([unpriced, further]), [added([*sums, *more])]
        counted = pl.concat(sums).filter(pl.col("group").is_not_null())
        records, legs = _balanced(plan, pl.concat(blocks), counted, unpriced)
    with lake.replacing(USAGE_DAILY, {"day": plan.day}) as usage:
        totals = _written_usage(usage, plan, counted)
    suspended = suspended_legs(unpriced, average_prices(totals))
    lake.replace_slice(SUSPENSE, suspended, {"day": plan.day, "stage": "rating"})
    amounts = totals.group_by("currency").agg(pl.col("amount").sum()).sort("currency")
    return DayRated(
        day=plan.day,
        plan=plan.version,
        records=records,
        legs=legs,
        rated=int(totals["records"].sum()),
        suspended=suspended.height,
        amounts=dict(amounts.iter_rows()),
    )


BLOCK = 16_000_000
"""Records of a pass: the streaming sums of one hold the more memory the more rows they add up."""


def _rate(
    rated: NewSlice, kernels: Sequence[Kernel], records: pl.LazyFrame
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Write the priced legs of some records; gives those without a price, and sums by group."""
    legs = pl.concat([kernel.legs(records) for kernel in kernels])
    small = all(kernel.counts_little for kernel in kernels)
    aside, sums = _written(rated, legs, small)
    by_parts = pl.col("reason") == BY_PARTS
    crossing = aside.filter(by_parts)
    if crossing.is_empty():
        return aside, sums
    parts = pl.concat([split_legs(kernel, crossing) for kernel in kernels if kernel.splits])
    failed, more = _written(rated, parts.lazy(), small)
    return pl.concat([aside.filter(~by_parts), failed]), sums + more


def _written_usage(new: NewSlice, plan: RatingPlan, sums: pl.DataFrame) -> pl.DataFrame:
    """Write rows of `usage_daily` from sums by group, some buckets at a time, which keeps memory
    flat; gives what they add up to. Raises `BillingError` unless that is all of the sums."""
    pieces = max(1, -(-sums.height // USAGE_ROWS))
    totals = []
    for number in range(pieces):
        mine = bucket_of_group(plan) % pieces == number
        usage = as_usage(ungrouped(plan, sums.filter(mine)))
        new.write(usage.lazy())
        totals.append(
            usage.group_by(
                "partner", "leg", "service", "currency", (pl.col("quantity") > 0).alias("counted")
            ).agg(pl.col("records", "quantity", "amount").sum())
        )
    written = pl.concat(totals)
    if written["records"].sum() != sums["records"].sum():
        raise BillingError(
            f"usage of {plan.day} is not its rated legs: {sums['records'].sum()} legs, "
            f"{written['records'].sum()} in its rows",
            hint="the day's usage stays as it was; please report this as a defect",
        )
    return written


USAGE_ROWS = 250_000
"""About how many rows of `usage_daily` are named, sorted and written at once."""


def _written(
    rated: NewSlice, legs: pl.LazyFrame, small: bool
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Write legs; gives those with a reason, which are not written, and sums of the others, which
    are `small` or not as `usage_sums` means it."""
    sums = usage_sums(legs, keys=["group"], small=small)
    return rated.write(legs.drop("group"), aside="reason", results=[sums])


def _balanced(
    plan: RatingPlan, records: pl.LazyFrame, counted: pl.DataFrame, unpriced: pl.DataFrame
) -> tuple[int, int]:
    """How many records and legs a day has; raises `BillingError` unless all its legs are in the
    sums by group or wait."""
    expected = _expected_legs(plan, records)
    rated = int(counted["records"].sum())
    if rated + unpriced.height != expected["legs"]:
        raise BillingError(
            f"balance of {plan.day} is not zero: {expected['legs']} legs, {rated} rated, "
            f"{unpriced.height} in suspense",
            hint="the day stays as it was; please report this as a defect",
        )
    return expected["records"], expected["legs"]


def _expected_legs(plan: RatingPlan, records: pl.LazyFrame) -> dict[str, int]:
    """How many legs the records of a day must give: one for each side that is not our own."""
    own = [trunk for trunk, is_own in zip(plan.trunks, plan.own, strict=True) if is_own]
    sides = [pl.col(name).is_not_null() & ~pl.col(name).is_in(own) for name in _TRUNKS]
    counts = records.select(
        pl.len().alias("records"),
        pl.sum_horizontal(side.sum().cast(pl.Int64) for side in sides).alias("legs"),
    ).collect(engine="streaming")
    return counts.row(0, named=True)


_TRUNKS = ("in_trunk", "out_trunk")


def suspended_legs(unpriced: pl.DataFrame, averages: pl.DataFrame) -> pl.DataFrame:
    """Legs with a `reason` (columns of `rated_leg`) as rows of `suspense`.

    The money at risk is estimated by the partner's `average_prices` of the day.
    """
    waiting = unpriced.select(
        "day",
        pl.lit("rating").alias("stage"),
        "record_id",
        pl.col("leg").cast(pl.String),
        pl.col("reason").cast(pl.String),
        pl.col("service").cast(pl.String).alias("service"),
        pl.col("partner").cast(pl.String).replace("", None),
        "duration_ms",
        "quantity",
        pl.col("currency").cast(pl.String).replace("", None),
        "code",
    )
    sound = pl.col("quantity") <= _MOST_ESTIMATED
    estimate = pl.col("total_e10") * pl.when(sound).then("quantity") // pl.col("priced_quantity")
    return (
        waiting.join(averages, on=["partner", "leg", "service"], how="left", validate="m:1")
        .with_columns(
            estimate.cast(pl.Int64, strict=False).alias("at_risk_e10"),
            _detail().alias("detail"),
        )
        .select(SUSPENSE.schema.names())
        .cast(SUSPENSE.schema)
    )


_MOST_ESTIMATED = 10**12
"""A larger quantity is a fault of its record: it has no estimate, and must not stop the day."""

_DETAILS = {
    "UNKNOWN_TRUNK": "the trunk belongs to no account at that time: map it to one",
    "NO_AGREEMENT": "the account has no agreement for the service at that time",
    "TOO_LATE": "its file came later than the agreement takes records (refuse_after_days)",
    "INVALID_NUMBER": "the record has no number or event type that the agreement can match",
    "NO_RATE": "no code of the agreement's deck matches the number: load a rate",
    "BLOCKED_CODE": "the longest code is blocked in the agreement's deck",
    "OUT_OF_RANGE": "duration or amount is beyond what a record can hold",
}


def _detail() -> pl.Expr:
    """What a reason means, with the code that is blocked."""
    known = pl.col("reason").replace_strict(_DETAILS, default=None)
    blocked = pl.format("code {} is blocked in the agreement's deck", "code")
    named = (pl.col("reason") == "BLOCKED_CODE") & pl.col("code").is_not_null()
    return pl.when(named).then(blocked).otherwise(known)


def roll_up(lake: Lake, day: date) -> pl.DataFrame:
    """Aggregate a day's rated legs into `usage_daily`, replace its slice, and return it."""
    usage = daily_usage(lake.scan(RATED_LEG, part={"day": day}))
    lake.replace_slice(USAGE_DAILY, usage, {"day": day})
    return usage
