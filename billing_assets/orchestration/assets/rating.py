"""Rated usage by UTC day: both legs of every record, suspense, daily aggregates."""

from collections.abc import Iterator
from datetime import date

import dagster as dg
import polars as pl

from billing_assets.core.ids import canonical_json, sha256_of
from billing_assets.orchestration.groups import Group
from billing_assets.orchestration.partitions import USAGE_DAYS
from billing_assets.orchestration.resources import Home, now
from billing_assets.orchestration.tables import markdown
from billing_assets.rating.day import DayRated, rate_day
from billing_assets.rating.plan import compile_plan

OUTPUTS = {
    "rated_leg": "Priced legs: what partners owe us (customer) and what we owe (supplier).",
    "suspense": "Records and legs that wait for a trunk, an agreement or a rate, with the reason.",
    "usage_daily": "Rated legs added up by day, agreement, destination, rate, band and origin.",
}


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            name,
            deps=["xdr", "reference_data"],
            description=about,
            group_name=Group.RATING.value,
            kinds={"polars", "deltalake"},
        )
        for name, about in OUTPUTS.items()
    ],
    partitions_def=USAGE_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def rated_usage(
    context: dg.AssetExecutionContext, installation: Home
) -> Iterator[dg.MaterializeResult]:
    """Compile each day's rating plan and price both legs of its records."""
    reference = installation.reference
    rated: list[DayRated] = []
    for key in context.partition_keys:
        plan = compile_plan(
            reference, date.fromisoformat(key), buckets=installation.settings.buckets
        )
        outcome = rate_day(installation.lake, plan)
        installation.registry.versions.record_plan(
            plan.version,
            plan.day,
            reference.version,
            plan.summary(),
            now=now(),
            who=installation.settings.user,
        )
        context.log.info(
            f"{key}: {outcome.legs:,} legs, {outcome.rated:,} rated, "
            f"{outcome.suspended:,} in suspense"
        )
        rated.append(outcome)
    days = pl.DataFrame(
        [(r.day, r.records, r.legs, r.rated, r.suspended) for r in rated],
        schema=["day", "records", "legs", "rated", "suspended"],
        orient="row",
    )
    metadata = {
        "records": int(days["records"].sum()),
        "legs rated": int(days["rated"].sum()),
        "legs in suspense": int(days["suspended"].sum()),
        "days": markdown(days),
        "money": markdown(_money(rated)),
    }
    digest = sha256_of(canonical_json([[str(v) for v in vars(r).values()] for r in rated]))
    for name in OUTPUTS:
        yield dg.MaterializeResult(
            name, metadata=metadata, data_version=dg.DataVersion(digest[:32])
        )


def _money(rated: list[DayRated]) -> pl.DataFrame:
    """Rated amounts of all days by currency."""
    rows = [(currency, amount) for r in rated for currency, amount in r.amounts.items()]
    frame = pl.DataFrame(
        rows, schema={"currency": pl.String, "amount": pl.Decimal(38, 10)}, orient="row"
    )
    return frame.group_by("currency").agg(pl.col("amount").sum()).sort("currency")
