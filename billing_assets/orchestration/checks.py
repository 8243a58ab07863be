"""Asset checks that no dbt test makes: balances across stores, and the lake against itself.

Checks are unpartitioned; in a run they look at that run's partitions.
"""

from collections.abc import Iterable
from datetime import date

import dagster as dg
import polars as pl

from billing_assets.controls.balance import imbalances, judged_days
from billing_assets.controls.sample import disagreements
from billing_assets.lake.tables import RATED_LEG, USAGE_DAILY
from billing_assets.orchestration.partitions import USAGE_DAYS
from billing_assets.orchestration.resources import Home
from billing_assets.orchestration.tables import markdown


@dg.asset_check(
    asset="usage_daily",
    blocking=True,
    description="Aggregates add up to the rated legs of their day, to the last unit.",
)
def usage_adds_up(
    context: dg.AssetCheckExecutionContext, installation: Home
) -> dg.AssetCheckResult:
    """Compare legs and aggregates by day and currency for the days of the run."""
    days = _days(context)
    keys = ["day", "currency"]
    legs = (
        installation.lake.scan(RATED_LEG, part={"day": days})
        .group_by(keys)
        .agg(
            pl.len().cast(pl.Int64).alias("legs"),
            pl.col("amount_e10").cast(pl.Int128).sum().alias("legs_e10"),
        )
    )
    usage = (
        installation.lake.scan(USAGE_DAILY, part={"day": days})
        .group_by(keys)
        .agg(
            pl.col("records").sum().alias("rolled_up"),
            (pl.col("amount").sum() * 10**10).cast(pl.Int128).alias("rolled_up_e10"),
        )
    )
    wrong = (
        legs.join(usage, on=keys, how="full", coalesce=True)
        .filter(
            ~(
                pl.col("legs").eq_missing(pl.col("rolled_up"))
                & pl.col("legs_e10").eq_missing(pl.col("rolled_up_e10"))
            )
        )
        .collect(engine="streaming")
    )
    return dg.AssetCheckResult(
        passed=wrong.is_empty(),
        metadata={"days": len(days), "differences": wrong.height},
    )


@dg.asset_check(
    asset="record_fate",
    blocking=True,
    description="Every row of every file has one fate, with its duration: the balance is zero.",
)
def record_balance_is_zero(
    context: dg.AssetCheckExecutionContext, installation: Home
) -> dg.AssetCheckResult:
    """Compare the file log with the fates of the run's days whose neighbours are made too.

    The others are judged when the last of them is made, and before any cycle is billed.
    """
    days = judged_days(installation.lake, installation.registry, _days(context))
    wrong = imbalances(installation.lake, installation.registry, days)
    return dg.AssetCheckResult(
        passed=not wrong,
        metadata={
            "days": len(days),
            "files out of balance": len(wrong),
            "worst": markdown(pl.DataFrame([vars(one) for one in wrong[:20]])),
        },
    )


@dg.asset_check(
    asset="rated_leg",
    blocking=True,
    description="A sample of each day costs the same by the plain implementation, exactly.",
)
def sample_is_priced_alike(
    context: dg.AssetCheckExecutionContext, installation: Home
) -> dg.AssetCheckResult:
    """Price a sample of the run's days again, independently of plan and kernel."""
    size_of_sample = installation.reference.controls.thresholds.sample_records
    records, wrong = 0, []
    for day in _days(context):
        size, found = disagreements(
            installation.lake, installation.registry, installation.blobs, day, size_of_sample
        )
        records += size
        wrong += found
    rows = [(str(w.record_id), w.leg, str(w.rated), str(w.plain)) for w in wrong[:20]]
    return dg.AssetCheckResult(
        passed=not wrong,
        metadata={
            "records": records,
            "legs that differ": len(wrong),
            "worst": markdown(
                pl.DataFrame(
                    rows,
                    schema=dict.fromkeys(("record", "leg", "rated", "plain"), pl.String),
                    orient="row",
                )
            ),
        },
    )


def _days(context: dg.AssetCheckExecutionContext) -> list[date]:
    """The UTC days of the run; every rated day when it has none."""
    keys: Iterable[str] = (
        context.partition_keys
        if context.has_partition_key_range or context.has_partition_key
        else USAGE_DAYS.get_partition_keys()
    )
    return [date.fromisoformat(key) for key in keys]


CHECKS = [usage_adds_up, sample_is_priced_alike, record_balance_is_zero]
