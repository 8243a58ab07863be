"""What controls keep of each UTC day, and the balance that must be zero before cycles run."""

from collections.abc import Iterator
from datetime import date

import dagster as dg
import polars as pl

from billing_assets.controls.day import control_day
from billing_assets.core.ids import canonical_json, sha256_of
from billing_assets.orchestration.groups import Group
from billing_assets.orchestration.partitions import USAGE_DAYS
from billing_assets.orchestration.resources import Home
from billing_assets.orchestration.tables import markdown

OUTPUTS = {
    "record_fate": "What became of each record, added up by file, switch and fate.",
    "traffic_hourly": "Attempts, answers, causes, seconds and money of legs by hour.",
    "completeness_daily": "Answered calls that switches counted and that came as records.",
    "margin_daily": "Customer leg less supplier leg of each record, by partners and destination.",
}


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            name,
            deps=["mediation_files", "xdr", "rated_leg", "suspense", "reference_data"],
            description=about,
            group_name=Group.CONTROLS.value,
            kinds={"polars", "deltalake"},
        )
        for name, about in OUTPUTS.items()
    ],
    partitions_def=USAGE_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def controlled_days(
    context: dg.AssetExecutionContext, installation: Home
) -> Iterator[dg.MaterializeResult]:
    """Add up each day's records for the controls."""
    reference = installation.reference
    rows, digests = [], []
    for key in context.partition_keys:
        frames = control_day(installation.lake, reference, date.fromisoformat(key))
        rows.append({"day": key, **{name: frame.height for name, frame in frames.items()}})
        digests.append({name: str(frame.hash_rows().sum()) for name, frame in frames.items()})
    digest = sha256_of(canonical_json([rows, digests]))
    for name in OUTPUTS:
        yield dg.MaterializeResult(
            name,
            metadata={"days": markdown(pl.DataFrame(rows))},
            data_version=dg.DataVersion(digest[:32]),
        )
