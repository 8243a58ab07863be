"""Reference data in force: partners, agreements, rate sheets, calendars, fixings."""

from collections.abc import Sequence

import dagster as dg
import polars as pl

from billing_assets.orchestration.groups import Group
from billing_assets.orchestration.partitions import PARTNERS, USAGE_DAYS
from billing_assets.orchestration.resources import Home, now
from billing_assets.orchestration.tables import markdown, problem_table
from billing_assets.orchestration.terms import announce_terms
from billing_assets.rating.staleness import StaleDay
from billing_assets.reference.load import read_folder
from billing_assets.reference.versions import take_reference


@dg.asset(group_name=Group.REFERENCE.value, kinds={"python"})
def reference_data(context: dg.AssetExecutionContext, installation: Home) -> dg.MaterializeResult:
    """Partners, agreements, decks, calendars and fixings of the reference folder, checked.

    A file with a problem is refused with its place and reason, and its last good version stays
    in force. What changed waits until another person approves it (`icb reference approve`). The
    data version is the content hash of what is in force; `day_terms` tells the days that an
    approved change touches. Each partner becomes a partition that can be billed.
    """
    taken = take_reference(
        read_folder(installation.settings.reference),
        lake=installation.lake,
        registry=installation.registry,
        blobs=installation.blobs,
        now=now(),
        who=installation.settings.user,
    )
    for problem in taken.problems:
        context.log.warning(str(problem))
    if not taken.in_force:
        context.log.warning(f"version {taken.number} is loaded and waits for approval")
    reference = taken.reference if taken.in_force else installation.reference
    context.instance.add_dynamic_partitions(PARTNERS.name or "", sorted(reference.partners))
    agreements = pl.DataFrame(
        [
            (a.terms.partner, a.terms.key, a.terms.leg, a.terms.service, a.deck.rows.height)
            for a in reference.agreements
        ],
        schema=["partner", "agreement", "leg", "service", "rates"],
        orient="row",
    )
    stale = announce_terms(context.instance, installation, reference)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(reference.version),
        metadata={
            "version loaded": taken.number,
            "waits for approval": not taken.in_force,
            "partners": len(reference.partners),
            "rates": int(agreements["rates"].sum()),
            "agreements": markdown(agreements),
            "refused": len(taken.problems),
            "problems": problem_table(taken.problems),
            "changes moved to the end of their notice": len(reference.breaches),
            "sheets to look at": len(reference.findings),
            "days rated on older terms": markdown(_table(stale)),
        },
    )


@dg.asset(
    deps=["reference_data"],
    partitions_def=USAGE_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name=Group.REFERENCE.value,
    kinds={"python"},
)
def day_terms(installation: Home) -> dg.MaterializeResult:
    """The reference data that a day is rated by.

    The data version of a day changes when a new version of the reference data can touch its
    usage, so that what was rated by older terms is stale on the days concerned and on no other.
    """
    return dg.MaterializeResult(data_version=dg.DataVersion(installation.reference.version))


def _table(days: Sequence[StaleDay]) -> pl.DataFrame:
    return pl.DataFrame(
        [(one.day, one.version, ", ".join(one.partners)) for one in days],
        schema={"day": pl.Date, "rated by version": pl.Int64, "changed since": pl.String},
        orient="row",
    )
