"""Which rated days stand on older terms than those in force, and whose."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl

from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATED_LEG, SUSPENSE
from billing_assets.reference.differences import Affected, differences
from billing_assets.reference.load import Reference
from billing_assets.reference.versions import reference_of
from billing_assets.registry.blobs import BlobStore
from billing_assets.registry.registry import Registry


@dataclass(frozen=True)
class StaleDay:
    """A UTC day with legs that a version of before priced, where what changed since may matter.

    `version` is that version's number; `partners` are those whose terms or rates changed for
    usage of the day. What it does to the money, `impact_of` tells.
    """

    day: date
    version: int
    partners: tuple[str, ...]


def stale_days(
    lake: Lake, registry: Registry, blobs: BlobStore, current: Reference
) -> list[StaleDay]:
    """Compare each day's rating plans with the reference data in force.

    A day that no change since can touch is not stale, whatever version it was rated by; nor is
    one whose legs of the partners concerned were rated since, unless some wait in suspense.
    """
    versions = registry.versions
    rated = (
        lake.scan(RATED_LEG)
        .group_by("day", "plan")
        .agg(pl.col("partner").cast(pl.String).unique())
        .sort("day", "plan")
        .collect()
    )
    waiting: dict[date, set[str | None]] = {}
    legs = lake.scan(SUSPENSE).filter(pl.col("stage") == "rating")
    for day, partner in legs.select("day", "partner").unique().collect().iter_rows():
        waiting.setdefault(day, set()).add(partner)
    numbers = {one.hash: one.number for one in versions.references()}
    rated_by = {plan: versions.plan(plan).reference_hash for plan in rated["plan"].unique()}
    changes = {
        version: differences(reference_of(version, registry, blobs), current).affected
        for version in set(rated_by.values()) - {current.version}
    }
    found: list[StaleDay] = []
    for day, plan, held in rated.cast({"plan": pl.String}).iter_rows():
        version = rated_by[plan]
        open_legs = waiting.get(day, set())
        partners = {
            a.partner
            for a in changes.get(version, ())
            if touches(a, day) and (a.partner in held or {a.partner, None} & open_legs)
        }
        if partners:
            found.append(StaleDay(day, numbers[version], tuple(sorted(partners))))
    return found


def touches(affected: Affected, day: date) -> bool:
    """Whether a UTC day's slice may hold usage that is affected.

    A record lies in the slice of its answer; an agreement that rates by setup or end may look a
    day to either side.
    """
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    margin = timedelta(days=1)
    return affected.start < midnight + 2 * margin and midnight - margin < affected.end
