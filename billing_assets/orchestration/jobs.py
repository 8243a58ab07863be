"""Jobs, schedules and sensors: what runs by the clock and by events. All are off by default."""

import json
from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from billing_assets.core.settings import Settings
from billing_assets.orchestration.partitions import PARTNERS

take_in_job = dg.define_asset_job(
    "take_in",
    selection=["reference_data", "mediation_files"],
    description="Load the reference folder and take in new mediation files.",
)

bill_month_job = dg.define_asset_job(
    "bill_month",
    selection=["charge", "validation", "invoice_draft"],
    description="Charge, validate and draft the cycles of a month, all partners in one run.",
)

deliver_month_job = dg.define_asset_job(
    "deliver_month",
    selection=["delivery"],
    description="Deliver a month's issued documents that have not arrived yet.",
)

START_TAG = "dagster/asset_partition_range_start"
END_TAG = "dagster/asset_partition_range_end"


def month_tags(month: str, partners: list[str]) -> dict[str, str]:
    """Run tags that select a month's cycles of some partners (sorted, one range)."""
    keys = [str(dg.MultiPartitionKey({"month": month, "partner": p})) for p in partners]
    return {START_TAG: keys[0], END_TAG: keys[-1]}


@dg.schedule(
    job=bill_month_job,
    cron_schedule="0 6 2 * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
def monthly_billing(
    context: dg.ScheduleEvaluationContext,
) -> dg.RunRequest | dg.SkipReason:
    """On the second of a month, when late records are in: the cycles of the month before."""
    month = (context.scheduled_execution_time.replace(day=1) - timedelta(days=1)).strftime("%Y-%m")
    partners = sorted(context.instance.get_dynamic_partitions(PARTNERS.name or ""))
    if not partners:
        return dg.SkipReason("no partner is known yet: materialise `reference_data` first")
    return dg.RunRequest(run_key=f"bill-{month}", tags=month_tags(month, partners))


@dg.sensor(
    job=take_in_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
)
def inbox_files(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """New mediation files in the inbox, or a changed reference folder, are taken in."""
    settings = Settings()
    waiting = sorted(
        str(path.relative_to(settings.inbox))
        for path in settings.inbox.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )
    stamp = json.dumps(
        [
            waiting,
            sorted((p.name, p.stat().st_mtime_ns) for p in settings.reference.rglob("*.*")),
        ]
    )
    if stamp == context.cursor:
        yield dg.SkipReason("nothing new")
        return
    context.update_cursor(stamp)
    yield dg.RunRequest()
