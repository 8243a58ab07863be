"""The definitions as data, for a snapshot that shows drift in review.

`python -m tests.support.definitions` writes the snapshot anew.
"""

import json
from pathlib import Path
from typing import Any

import dagster as dg

from billing_assets.definitions import defs

SNAPSHOT = Path(__file__).parents[1] / "snapshots" / "definitions.json"


def describe() -> dict[str, Any]:
    """Assets, checks, jobs, schedules and sensors, without what changes by the day."""
    graph = defs.resolve_asset_graph()
    repository = defs.get_repository_def()
    return {
        "assets": {
            key.to_user_string(): {
                "group": graph.get(key).group_name,
                "deps": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
                "partitions": _partitions(graph.get(key).partitions_def),
                "single_run": _single_run(graph.get(key).backfill_policy),
            }
            for key in sorted(graph.get_all_asset_keys())
        },
        "checks": {
            key.to_user_string(): "blocking" if graph.get_check_spec(key).blocking else "warning"
            for key in sorted(graph.asset_check_keys)
        },
        "jobs": {
            job.name: {
                "assets": sorted(k.to_user_string() for k in job.asset_layer.executable_asset_keys),
                "partitions": _partitions(job.partitions_def),
            }
            for job in defs.resolve_all_job_defs()
            if not job.name.startswith("__")
        },
        "schedules": {
            schedule.name: {
                "cron": schedule.cron_schedule,
                "zone": schedule.execution_timezone,
                "job": schedule.job_name,
                "status": schedule.default_status.value,
            }
            for schedule in repository.schedule_defs
        },
        "sensors": {
            sensor.name: {
                "job": sensor.job_name,
                "seconds": sensor.minimum_interval_seconds,
                "status": sensor.default_status.value,
            }
            for sensor in repository.sensor_defs
        },
    }


def snapshot_text() -> str:
    """The description as stable JSON."""
    return json.dumps(describe(), indent=1, sort_keys=True) + "\n"


def _partitions(partitions: dg.PartitionsDefinition | None) -> str | None:
    if partitions is None:
        return None
    if isinstance(partitions, dg.MultiPartitionsDefinition):
        return " x ".join(
            f"{d.name}: {_partitions(d.partitions_def)}" for d in partitions.partitions_defs
        )
    if isinstance(partitions, dg.DynamicPartitionsDefinition):
        return f"dynamic {partitions.name}"
    if isinstance(partitions, dg.TimeWindowPartitionsDefinition):
        return f"{partitions.cron_schedule} from {partitions.start:%Y-%m-%d} {partitions.timezone}"
    return str(partitions)


def _single_run(policy: dg.BackfillPolicy | None) -> bool | None:
    return None if policy is None else policy.max_partitions_per_run is None


if __name__ == "__main__":
    SNAPSHOT.write_text(snapshot_text(), encoding="utf-8")
