"""All prices that a record ever had: its legs at each version of the lake that re-rating left."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from billing_assets.core.errors import NotFound
from billing_assets.core.ids import split_record_id
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATED_LEG, XDR
from billing_assets.registry.registry import Registry


@dataclass(frozen=True)
class Price:
    """A record's leg as it stood from one rating to the next.

    `leg` is its row of `rated_leg`, None while it had none; `request` and `reason` name the
    re-rating that gave it, both None for the first price.
    """

    side: str
    leg: dict[str, object] | None
    request: int | None
    reason: str | None
    since: datetime | None


def price_history(record_id: int, lake: Lake, registry: Registry) -> list[Price]:
    """The prices of each leg of a record in the order in which they came; equal ones once.

    Raises `NotFound` for a record that does not exist. A version that was vacuumed is passed
    over: its prices are no longer known.
    """
    found = find_record(record_id, lake, registry)
    if found.is_empty():
        raise NotFound(f"no record {record_id}", hint="a record id is a row of table `xdr`")
    history: list[Price] = []
    last: dict[str, object] = {}
    for version, request, since in _versions(found["day"][0], registry):
        legs = _legs(record_id, found["day"][0], lake, version)
        if legs is None:
            continue
        for side in sorted({*last, *legs}):
            leg = legs.get(side)
            if last.get(side) != leg:
                reason = registry.rerates.get(request).reason if request else None
                history.append(Price(side, leg, request, reason, since))
        last = dict(legs)
    return history


def find_record(record_id: int, lake: Lake, registry: Registry) -> pl.DataFrame:
    """The row of `xdr` with an id, or none: sought on the days of the file that it names alone,
    since a day's records lie in the order of their trunks."""
    days = registry.files.days_of(split_record_id(record_id)[0])
    records = lake.scan(XDR, part={"day": days} if days else None)
    return records.filter(pl.col("record_id") == record_id).collect()


def _versions(
    day: date, registry: Registry
) -> Iterator[tuple[int | None, int | None, datetime | None]]:
    """Versions of `rated_leg` before and after each re-rating of a day; None is today's."""
    runs = registry.rerates.days(day=day)
    if runs:
        yield runs[0].version_before, None, None
    for run in runs:
        yield run.version_after, run.request, run.rated_at
    yield None, None, None


def _legs(
    record_id: int, day: date, lake: Lake, version: int | None
) -> dict[str, dict[str, object]] | None:
    try:
        rows = lake.scan(RATED_LEG, version, {"day": day})
        legs = rows.filter(pl.col("record_id") == record_id).collect()
    except NotFound:
        return None
    return {str(leg["leg"]): leg for leg in legs.iter_rows(named=True)}
