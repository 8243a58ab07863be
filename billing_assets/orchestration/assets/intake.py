"""Mediation files taken in, and the records of each UTC day made of them."""

from datetime import date

import dagster as dg
import polars as pl

from billing_assets.controls.completeness import compare_day
from billing_assets.core.ids import canonical_json, sha256_of
from billing_assets.intake.counters import take_counters
from billing_assets.intake.landing import Intake, make_day
from billing_assets.intake.sequence import ranges, sequence_report
from billing_assets.lake.tables import XDR
from billing_assets.orchestration.groups import Group
from billing_assets.orchestration.partitions import USAGE_DAYS
from billing_assets.orchestration.resources import Home, now
from billing_assets.orchestration.tables import markdown, problem_table


@dg.asset(deps=["reference_data"], group_name=Group.INTAKE.value, kinds={"polars", "deltalake"})
def mediation_files(context: dg.AssetExecutionContext, installation: Home) -> dg.MaterializeResult:
    """New files of the inbox, archived, parsed by their source's preset, landed row by row.

    A refused file is kept in quarantine with its reason; a refused row is kept in `rejected`.
    """
    sources = installation.reference.sources
    intake = Intake(
        lake=installation.lake,
        registry=installation.registry,
        blobs=installation.blobs,
        quarantine=installation.settings.quarantine,
        now=now(),
        who=installation.settings.user,
    )
    report = intake.take_in(installation.settings.inbox, sources)
    for problem in [*report.quarantined, *report.warnings]:
        context.log.warning(str(problem))
    counters = take_counters(
        installation.settings.counters,
        installation.lake,
        installation.blobs,
        installation.settings.quarantine,
        installation.reference.partners,
    )
    for problem in counters.problems:
        context.log.warning(str(problem))
    for day in sorted(counters.days & set(installation.lake.days(XDR))):
        compare_day(installation.lake, installation.reference, day)
    continuity = pl.DataFrame(
        [
            (r.source, r.files, ranges(r.missing), ranges(r.duplicate))
            for r in sequence_report(installation.registry, list(sources.values()))
        ],
        schema=["source", "files", "missing numbers", "numbers seen twice"],
        orient="row",
    )
    return dg.MaterializeResult(
        metadata={
            "files landed": len(report.landed),
            "files redelivered": len(report.redelivered),
            "files refused": len(report.quarantined),
            "records received": report.received,
            "records rejected": report.rejected,
            "records filtered": report.filtered,
            "continuity": markdown(continuity),
            "files of counters": len(counters.taken),
            "refused files": problem_table([*report.quarantined, *counters.problems]),
            "refused rows, files left": problem_table(report.problems),
            "to look at": problem_table(report.warnings),
        }
    )


@dg.asset(
    deps=["mediation_files"],
    partitions_def=USAGE_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name=Group.INTAKE.value,
    kinds={"polars", "deltalake"},
)
def xdr(context: dg.AssetExecutionContext, installation: Home) -> dg.MaterializeResult:
    """Accepted usage records of a day: duplicates set aside, partial records merged."""
    rows = []
    for key in context.partition_keys:
        day = make_day(installation.lake, date.fromisoformat(key), now())
        rows.append(
            (key, day.xdr.height, day.duplicate.height, day.partial.height, day.suspense.height)
        )
    days = pl.DataFrame(
        rows, schema=["day", "records", "duplicates", "parts of calls", "in suspense"], orient="row"
    )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(sha256_of(canonical_json(days.rows()))[:32]),
        metadata={"dagster/row_count": int(days["records"].sum()), "days": markdown(days)},
    )
