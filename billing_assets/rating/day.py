"""Rating a UTC day of the lake: both legs of every record, suspense, and the day's balance."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import polars as pl

from billing_assets.core.errors import BillingError
from billing_assets.core.money import decimal_of_e10
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATED_LEG, SUSPENSE, USAGE_DAILY, XDR
from billing_assets.rating.kernel import Kernel
from billing_assets.rating.plan import RatingPlan
from billing_assets.rating.split import priced_legs
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

    Both tables' slices of the day are replaced. Raises `BillingError` when the balance is not
    zero: every leg of every record is rated or suspended, none twice.
    """
    records = lake.scan(XDR, part={"day": plan.day})
    legs = _all_legs(plan, records, rerate_request)
    lake.replace_slice(
        RATED_LEG,
        legs.filter(pl.col("reason").is_null()).drop("reason"),
        {"day": plan.day},
    )
    usage = roll_up(lake, plan.day)
    suspended = _suspense(legs, usage)
    lake.replace_slice(SUSPENSE, suspended, {"day": plan.day, "stage": "rating"})
    expected = _expected_legs(plan, records)
    outcome = DayRated(
        day=plan.day,
        plan=plan.version,
        records=expected["records"],
        legs=expected["legs"],
        rated=int(usage["records"].sum()),
        suspended=suspended.height,
        amounts=dict(
            usage.group_by("currency").agg(pl.col("amount").sum()).sort("currency").iter_rows()
        ),
    )
    if outcome.rated + outcome.suspended != outcome.legs:
        raise BillingError(
            f"balance of {plan.day} is not zero: {outcome.legs} legs, {outcome.rated} rated, "
            f"{outcome.suspended} in suspense",
            hint="nothing downstream may use this day; please report this as a defect",
        )
    return outcome


def _all_legs(plan: RatingPlan, records: pl.LazyFrame, rerate_request: int | None) -> pl.LazyFrame:
    """Customer and supplier legs of some records."""
    return pl.concat([priced_legs(Kernel(plan, leg, rerate_request), records) for leg in Leg])


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


def _suspense(legs: pl.LazyFrame, usage: pl.DataFrame) -> pl.DataFrame:
    """Legs without a price, with the money at risk by the partner's average of the day."""
    waiting = (
        legs.filter(pl.col("reason").is_not_null())
        .select(
            "day",
            pl.lit("rating").alias("stage"),
            "record_id",
            pl.col("leg").cast(pl.String),
            "reason",
            pl.col("service").cast(pl.String).alias("service"),
            pl.col("partner").cast(pl.String).replace("", None),
            "duration_ms",
            "quantity",
            pl.col("currency").cast(pl.String).replace("", None),
        )
        .collect(engine="streaming")
    )
    averages = (
        usage.filter(pl.col("quantity") > 0)
        .group_by("partner", "leg", "service")
        .agg(pl.col("amount").sum(), pl.col("quantity").sum().alias("priced_quantity"))
        .with_columns(
            (pl.col("amount") * 10**10).cast(pl.Int128).alias("total_e10"),
        )
        .drop("amount")
    )
    sound = pl.col("quantity") <= _MOST_ESTIMATED
    estimate = pl.col("total_e10") * pl.when(sound).then("quantity") // pl.col("priced_quantity")
    return (
        waiting.join(averages, on=["partner", "leg", "service"], how="left")
        .with_columns(
            estimate.cast(pl.Int64, strict=False).alias("at_risk_e10"),
            pl.col("reason").replace_strict(_DETAILS, default=None).alias("detail"),
        )
        .select(SUSPENSE.schema.names())
        .cast(SUSPENSE.schema)
    )


_MOST_ESTIMATED = 10**12
"""A larger quantity is a fault of its record: it has no estimate, and must not stop the day."""

_DETAILS = {
    "UNKNOWN_TRUNK": "the trunk belongs to no account at that time: map it to one",
    "NO_AGREEMENT": "the account has no agreement for the service at that time",
    "INVALID_NUMBER": "the record has no number that the agreement can match",
    "NO_RATE": "no code of the agreement's deck matches the number: load a rate",
    "BLOCKED_CODE": "the longest code is blocked in the agreement's deck",
    "OUT_OF_RANGE": "duration or amount is beyond what a record can hold",
}

_KEYS = (
    "day",
    "bucket",
    "local_day",
    "leg",
    "service",
    "partner",
    "account",
    "agreement",
    "destination",
    "rate_e10",
    "band",
    "origin",
    "pricing",
    "currency",
)


def roll_up(lake: Lake, day: date) -> pl.DataFrame:
    """Aggregate a day's rated legs into `usage_daily`, replace its slice, and return it."""
    usage = daily_usage(lake.scan(RATED_LEG, part={"day": day}))
    lake.replace_slice(USAGE_DAILY, usage, {"day": day})
    return usage


def daily_usage(legs: pl.LazyFrame, records: pl.Expr | None = None) -> pl.DataFrame:
    """Rows of `usage_daily` from priced legs in the columns of `rated_leg`.

    Sums are exact: amounts are added as 128-bit integers of 10^-10. `records` tells how many
    equal records a leg stands for (by default one).
    """

    def total(column: pl.Expr) -> pl.Expr:
        return (column if records is None else column * records).sum()

    return (
        legs.group_by(_KEYS)
        .agg(
            (pl.len().cast(pl.Int64) if records is None else records.sum()).alias("records"),
            total(pl.col("answered").cast(pl.Int64)).alias("answered"),
            total(pl.col("duration_ms")),
            total(pl.col("quantity")),
            total(pl.col("billed_units")),
            decimal_of_e10(total(pl.col("fees_e10").cast(pl.Int128))).alias("fees"),
            decimal_of_e10(total(pl.col("amount_e10").cast(pl.Int128))).alias("amount"),
        )
        .with_columns(pl.col("destination").fill_null(""))
        .select(USAGE_DAILY.schema.names())
        .sort(_KEYS)
        .collect(engine="streaming")
    )
