"""Rated usage by UTC day: both legs of every record, suspense, daily aggregates.

The same asset rates days for the first time and again: with a scope in its config it prices the
legs of the scope anew and leaves all others as they are.
"""

from collections.abc import Iterator, Mapping
from datetime import date

import dagster as dg
import polars as pl
from pydantic import Field

from billing_assets.core.errors import BillingError
from billing_assets.core.ids import canonical_json, sha256_of
from billing_assets.orchestration.groups import Group
from billing_assets.orchestration.jobs import REASON_TAG
from billing_assets.orchestration.partitions import USAGE_DAYS
from billing_assets.orchestration.resources import Home, now
from billing_assets.orchestration.tables import markdown
from billing_assets.rating.change import DayRerated
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.day import DayRated, rate_day
from billing_assets.rating.requests import (
    change_rows,
    check_scope,
    dry_run,
    fields_of,
    run_request,
    scope_of,
)
from billing_assets.rating.scope import RatingScope

OUTPUTS = {
    "rated_leg": "Priced legs: what partners owe us (customer) and what we owe (supplier).",
    "suspense": "Records and legs that wait for a trunk, an agreement or a rate, with the reason.",
    "usage_daily": "Rated legs added up by day, agreement, destination, rate, band and origin.",
}


class ScopeConfig(dg.Config):
    """Which legs of the chosen days; an empty list means all."""

    partners: list[str] = Field(default=[], description="partners of the scope; empty: all")
    legs: list[str] = Field(default=[], description="customer, supplier; empty: both")
    services: list[str] = Field(default=[], description="voice, sms, data, event; empty: all")
    destinations: list[str] = Field(default=[], description="destinations by name; empty: all")
    codes: list[str] = Field(default=[], description="digits that matched codes begin with")
    agreements: list[str] = Field(default=[], description="agreement ids; empty: all")

    def scope(self, days: list[date]) -> RatingScope:
        """The scope on some days; raises `BillingError` when it cannot be."""
        fields = {name: getattr(self, name) for name in ScopeConfig.model_fields}
        return scope_of({"first": min(days).isoformat(), "last": max(days).isoformat(), **fields})


class RatingConfig(ScopeConfig):
    """What to rate again, and why; without a reason or a request whole days are rated.

    The reason may also stand in the run's tag `icb/reason`.
    """

    reason: str = Field(default="", description="why prices change; makes a re-rate request")
    request: int = Field(default=0, description="an approved re-rate request to carry out")


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            name,
            deps=["xdr", "day_terms"],
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
    context: dg.AssetExecutionContext, config: RatingConfig, installation: Home
) -> Iterator[dg.MaterializeResult]:
    """Compile each day's rating plan and price both legs of its records, or of a scope of them."""
    days = [date.fromisoformat(key) for key in context.partition_keys]
    reason = config.reason or context.run.tags.get(REASON_TAG, "")
    if config.request or reason:
        metadata, digest = _rerate(context, config, reason, installation, days)
    else:
        metadata, digest = _rate(context, installation, days)
    for name in OUTPUTS:
        yield dg.MaterializeResult(
            name, metadata=metadata, data_version=dg.DataVersion(digest[:32])
        )


@dg.asset(
    partitions_def=USAGE_DAYS,
    deps=["rated_leg", "day_terms"],
    group_name=Group.RATING.value,
    kinds={"polars"},
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def rerate_dry_run(
    context: dg.AssetExecutionContext, config: ScopeConfig, installation: Home
) -> dg.MaterializeResult:
    """What rating a scope again would change, by day, partner and destination; writes nothing."""
    days = [date.fromisoformat(key) for key in context.partition_keys]
    scope, reference, lake = config.scope(days), installation.reference, installation.lake
    check_scope(scope, reference, lake, now().date())
    rows = dry_run(scope, lake, reference, buckets=installation.settings.buckets)
    return dg.MaterializeResult(
        metadata={
            "scope": scope.describe(),
            "legs that would change": sum(int(str(row["records"])) for row in rows),
            "changes": markdown(pl.DataFrame(rows)),
        }
    )


def _rate(
    context: dg.AssetExecutionContext, installation: Home, days: list[date]
) -> tuple[Mapping[str, dg.MetadataValue | str | int], str]:
    """Rate whole days; their figures and a digest of them."""
    reference = installation.reference
    rated: list[DayRated] = []
    for day in days:
        plan = compile_plan(reference, day, buckets=installation.settings.buckets)
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
            f"{day}: {outcome.legs:,} legs, {outcome.rated:,} rated, "
            f"{outcome.suspended:,} in suspense"
        )
        rated.append(outcome)
    table = pl.DataFrame(
        [(r.day, r.records, r.legs, r.rated, r.suspended) for r in rated],
        schema=["day", "records", "legs", "rated", "suspended"],
        orient="row",
    )
    metadata = {
        "records": int(table["records"].sum()),
        "legs rated": int(table["rated"].sum()),
        "legs in suspense": int(table["suspended"].sum()),
        "days": markdown(table),
        "money": markdown(_money(rated)),
    }
    return metadata, sha256_of(canonical_json([[str(v) for v in vars(r).values()] for r in rated]))


def _rerate(
    context: dg.AssetExecutionContext,
    config: RatingConfig,
    reason: str,
    installation: Home,
    days: list[date],
) -> tuple[Mapping[str, dg.MetadataValue | str | int], str]:
    """Carry out a re-rate request on some days: the one of the config, or one made from it."""
    reference, registry = installation.reference, installation.registry
    who = installation.settings.user
    number = config.request
    made_here = not number
    if made_here:
        scope = config.scope(days)
        check_scope(scope, reference, installation.lake, now().date())
        number = registry.rerates.make(fields_of(scope), reason, now=now(), who=who).number

    def told(outcome: DayRerated) -> None:
        context.log.info(f"{outcome.day}: {outcome.changed:,} of {outcome.candidates:,} changed")

    done = run_request(
        number,
        installation.lake,
        registry,
        reference,
        buckets=installation.settings.buckets,
        days=days,
        now=now,
        who=who,
        reference_as=installation.reference_as,
        progress=told,
    )
    # a request that stands already may have its legs on days of another run
    if made_here and not any(outcome.candidates for outcome in done):
        raise BillingError(
            f"re-rate request {number} matches no leg on these days",
            hint="look at its scope: `icb rerate show`",
        )
    changes = pl.DataFrame([row for one in done for row in change_rows(one.changes)])
    metadata = {
        "re-rate request": number,
        "reason": registry.rerates.get(number).reason,
        "legs in the scope": sum(one.candidates for one in done),
        "legs changed": sum(one.changed for one in done),
        "changes": markdown(changes),
    }
    facts = [[str(one.day), one.plan, one.candidates, one.changed] for one in done]
    return metadata, sha256_of(canonical_json([number, *facts]))


def _money(rated: list[DayRated]) -> pl.DataFrame:
    """Rated amounts of all days by currency."""
    rows = [(currency, amount) for r in rated for currency, amount in r.amounts.items()]
    frame = pl.DataFrame(
        rows, schema={"currency": pl.String, "amount": pl.Decimal(38, 10)}, orient="row"
    )
    return frame.group_by("currency").agg(pl.col("amount").sum()).sort("currency")
