"""Which rated days stand on older terms, told to Dagster day by day.

`day_terms` stands between the reference data, which have no days, and the rated days. Its data
version changes on those days alone whose usage a new version of the reference data can touch, so
that the UI shows these as stale and no other.
"""

import dagster as dg

from billing_assets.core.ids import canonical_json, sha256_of
from billing_assets.installation import Installation
from billing_assets.rating.staleness import StaleDay, stale_days
from billing_assets.reference.load import Reference

_DATA_VERSION = "dagster/data_version"
_TERMS, _RATED = dg.AssetKey("day_terms"), dg.AssetKey("rated_leg")


def announce_terms(
    instance: dg.DagsterInstance, home: Installation, reference: Reference
) -> list[StaleDay]:
    """Tell Dagster of every rated day whose terms changed, or are again what they were.

    Returns the days that stand on older terms. Telling it twice changes nothing.
    """
    stale = stale_days(home.lake, home.registry, home.blobs, reference)
    days = {one.day.isoformat() for one in stale}
    rated = instance.get_materialized_partitions(_RATED)
    for key in sorted(rated):
        told = _told(instance, key)
        if told is None:
            continue
        rated_at, version_rated, version_now = told
        if key in days and version_now == version_rated:
            _report(instance, key, _other(reference.version, version_rated, rated_at))
        elif key not in days and version_now != version_rated and version_rated:
            _report(instance, key, version_rated)
    return stale


def _told(instance: dg.DagsterInstance, key: str) -> tuple[int, str, str] | None:
    """When a day was rated (as an event's number), and its terms' data version then and now."""
    rated = instance.get_latest_data_version_record(_RATED, partition_key=key)
    if rated is None:
        return None
    before = instance.get_latest_data_version_record(
        _TERMS, partition_key=key, before_cursor=rated.storage_id
    )
    latest = instance.get_latest_data_version_record(_TERMS, partition_key=key)
    return rated.storage_id, _version(before), _version(latest)


def _version(record: dg.EventLogRecord | None) -> str:
    event = record.asset_materialization if record else None
    return (event.tags or {}).get(_DATA_VERSION, "") if event else ""


def _other(version: str, than: str, rated_at: int) -> str:
    """A data version that differs: the reference's, or one of its own where they are equal."""
    return version if version != than else sha256_of(canonical_json([version, rated_at]))


def _report(instance: dg.DagsterInstance, key: str, version: str) -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset_key=_TERMS,
            partition=key,
            description="the terms of the day are others than before",
            tags={_DATA_VERSION: version},
        )
    )
