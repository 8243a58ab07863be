"""Puts the definitions together; nothing is opened, parsed or read but code and the manifest."""

from collections.abc import Mapping

import dagster as dg

from billing_assets.core.settings import Settings
from billing_assets.orchestration.assets.billing import (
    accrual,
    billing_cycle,
    deal_position,
    delivered_documents,
    issued_invoices,
)
from billing_assets.orchestration.assets.controls import controlled_days
from billing_assets.orchestration.assets.intake import mediation_files, xdr
from billing_assets.orchestration.assets.rating import rated_usage, rerate_dry_run
from billing_assets.orchestration.assets.reference import day_terms, reference_data
from billing_assets.orchestration.checks import CHECKS
from billing_assets.orchestration.dbt import mart_assets
from billing_assets.orchestration.jobs import (
    BILLING_SCHEDULES,
    bill_month_job,
    deliver_month_job,
    inbox_files,
    take_in_job,
)
from billing_assets.orchestration.resources import installation_resource


def build_defs(
    settings: Settings | None = None,
    resource_overrides: Mapping[str, object] | None = None,
) -> dg.Definitions:
    """Fresh definitions; tests give their own settings or resources instead of patching."""
    return dg.Definitions(
        assets=[
            reference_data,
            day_terms,
            mediation_files,
            xdr,
            rated_usage,
            rerate_dry_run,
            controlled_days,
            *mart_assets(),
            billing_cycle,
            deal_position,
            accrual,
            issued_invoices,
            delivered_documents,
        ],
        asset_checks=CHECKS,
        jobs=[take_in_job, bill_month_job, deliver_month_job],
        schedules=BILLING_SCHEDULES,
        sensors=[inbox_files],
        resources={
            "installation": installation_resource(settings),
            **(resource_overrides or {}),
        },
        executor=dg.in_process_executor,
    )
