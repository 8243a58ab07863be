"""Jobs, schedules and sensors: what runs by the clock and by events. All are off by default."""

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import dagster as dg

from billing_assets.charging.cycles import newly_closed
from billing_assets.core.settings import Settings
from billing_assets.orchestration.resources import Home
from billing_assets.reference.models import Cadence

take_in_job = dg.define_asset_job(
    "take_in",
    selection=["reference_data", "mediation_files"],
    description="Load the reference folder and take in new mediation files.",
)

bill_month_job = dg.define_asset_job(
    "bill_month",
    selection=["charge", "validation", "invoice_draft"],
    description="Charge, validate and draft the cycles that end in a month, in one run.",
)

deliver_month_job = dg.define_asset_job(
    "deliver_month",
    selection=["delivery"],
    description="Deliver a month's issued documents that have not arrived yet.",
)

LATE_RECORDS = timedelta(hours=24)
"""How long a closed cycle waits for late records before it is run by the clock."""

START_TAG = "dagster/asset_partition_range_start"
END_TAG = "dagster/asset_partition_range_end"
REASON_TAG = "icb/reason"
"""The run tag that says why usage is rated again."""


def month_tags(month: str, partners: list[str]) -> dict[str, str]:
    """Run tags that select a month's cycles of some partners (sorted, one range)."""
    keys = [str(dg.MultiPartitionKey({"month": month, "partner": p})) for p in partners]
    return {START_TAG: keys[0], END_TAG: keys[-1]}


def neighbours(everyone: Sequence[str], wanted: Collection[str]) -> list[list[str]]:
    """Group wanted partners that stand next to each other: each group is one range."""
    groups: list[list[str]] = []
    previous = False
    for partner in everyone:
        if partner in wanted:
            if previous:
                groups[-1].append(partner)
            else:
                groups.append([partner])
        previous = partner in wanted
    return groups


def _billing_schedule(cadence: Cadence, cron: str, about: str) -> dg.ScheduleDefinition:
    """A schedule that bills the cycle that each partner of a cadence closed last."""
    name = f"{cadence.value.replace('-', '_')}_billing"

    @dg.schedule(
        name=name,
        job=bill_month_job,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=about,
    )
    def billing(
        context: dg.ScheduleEvaluationContext, installation: Home
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        partners = installation.reference.partners
        ran = {cycle.id for cycle in installation.registry.cycles.list() if cycle.runs}
        closed: dict[str, dict[str, str]] = {}
        for partner in partners.values():
            if partner.cadence is cadence:
                cycle = newly_closed(partner, context.scheduled_execution_time - LATE_RECORDS)
                if cycle.cycle not in ran:
                    closed.setdefault(cycle.month, {})[partner.partner] = cycle.cycle
        if not closed:
            yield dg.SkipReason(f"no {cadence.value} cycle is over that was not run yet")
        for month, cycles in sorted(closed.items()):
            for group in neighbours(sorted(partners), cycles):
                ids = [cycles[partner] for partner in group]
                yield dg.RunRequest(
                    run_key=f"{name}-{ids[0]}-{ids[-1]}",
                    tags=month_tags(month, group),
                    run_config={"ops": {"billing_cycle": {"config": {"cycles": ids}}}},
                )

    return billing


BILLING_SCHEDULES = [
    _billing_schedule(
        Cadence.MONTHLY,
        "0 6 2 * *",
        "On the 2nd of a month, when late records are in: the monthly cycles of the month before.",
    ),
    _billing_schedule(
        Cadence.SEMI_MONTHLY,
        "0 6 2,17 * *",
        "On the 2nd and the 17th: the semi-monthly cycles that ended two days before.",
    ),
    _billing_schedule(
        Cadence.WEEKLY,
        "0 6 * * *",
        "Every morning, because weeks begin as partners agreed: each week that is over for a day.",
    ),
]
"""Each bills the last cycles that are over and were never run; people run them again."""


@dg.sensor(
    job=take_in_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
)
def inbox_files(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """New mediation files, counters of switches or a changed reference folder are taken in."""
    settings = Settings()
    stamp = json.dumps(
        [_stamps(f) for f in (settings.inbox, settings.counters, settings.reference)]
    )
    if stamp == context.cursor:
        yield dg.SkipReason("nothing new")
        return
    context.update_cursor(stamp)
    yield dg.RunRequest()


def _stamps(folder: Path) -> list[tuple[str, int, int]]:
    """The files below a folder, hidden ones left out, with the size and time of each: a file that
    is sent again under the same name is another one."""
    found = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a run may take it meanwhile
            if path.is_file() and not path.name.startswith("."):
                about = path.stat()
                found.append((str(path.relative_to(folder)), about.st_size, about.st_mtime_ns))
    return sorted(found)
