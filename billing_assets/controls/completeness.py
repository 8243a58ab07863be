"""Counted against received: switch counters and the records of the same trunks (catalogue 3.7)."""

from datetime import UTC, date, datetime, timedelta

import polars as pl

from billing_assets.lake.store import Lake
from billing_assets.lake.tables import COMPLETENESS, SWITCH_COUNTER, XDR
from billing_assets.reference.load import Reference
from billing_assets.reference.models import Leg
from billing_assets.reference.trunks import trunk_validity

_SIDES = {Leg.CUSTOMER: ("in_trunk", "in"), Leg.SUPPLIER: ("out_trunk", "out")}


def compare_day(lake: Lake, reference: Reference, day: date) -> pl.DataFrame:
    """Replace a day's slice of `completeness_daily`, and return it.

    Answered calls of every trunk, beside what its switch counted. A total of a partner stands
    beside the records of all its trunks on that switch; those have no count of their own.
    """
    counted = (
        lake.scan(SWITCH_COUNTER, part={"day": day})
        .select("switch", "trunk", "partner", "leg", counted="calls", counted_ms="duration_ms")
        .collect()
    )
    by_trunk = counted.filter(pl.col("trunk") != "")
    by_partner = counted.filter(pl.col("trunk") == "")
    own = list(reference.carrier.own_trunks)
    trunks = (
        _received(lake, day)
        .join(by_trunk.drop("partner"), on=["switch", "trunk", "leg"], how="full", coalesce=True)
        .join(_owners(reference, day), on=["trunk", "leg"], how="left")
        # a side of our own network is no partner's traffic
        .filter(~pl.col("trunk").is_in(own) | pl.col("partner").is_not_null())
        .with_columns(pl.col("partner").fill_null(""))
    )
    keys = ["switch", "partner", "leg"]
    summed = trunks.group_by(keys).agg(pl.col("received", "received_ms").sum())
    totals = by_partner.join(summed, on=keys, how="left")
    told = totals.select(*keys, told=True)
    rest = trunks.join(told, on=keys, how="anti")
    frame = (
        pl.concat([rest, totals], how="diagonal")
        .with_columns(
            pl.lit(day).alias("day"),
            pl.col("trunk").fill_null(""),
            pl.col("received", "received_ms").fill_null(0),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in COMPLETENESS.schema.items())
        .sort(COMPLETENESS.order)
    )
    lake.replace_slice(COMPLETENESS, frame, {"day": day})
    return frame


def _received(lake: Lake, day: date) -> pl.DataFrame:
    """Answered calls of a day's records by trunk and leg."""
    calls = lake.scan(XDR, part={"day": day}).filter((pl.col("service") == "voice") & "answered")
    sides = [
        calls.filter(pl.col(column).is_not_null())
        .group_by(pl.col(column).cast(pl.String).alias("trunk"))
        .agg(
            pl.len().cast(pl.Int64).alias("received"),
            pl.col("duration_ms").sum().alias("received_ms"),
        )
        .with_columns(pl.lit(leg.value).alias("leg"))
        for leg, (column, _) in _SIDES.items()
    ]
    return (
        pl.concat(sides)
        .with_columns(pl.col("trunk").str.split("/").list.first().alias("switch"))
        .collect(engine="streaming")
    )


def _owners(reference: Reference, day: date) -> pl.DataFrame:
    """To whom each trunk belongs at the day's noon (UTC), else at any time of the day."""
    begins = datetime(day.year, day.month, day.day, tzinfo=UTC)
    noon, ends = begins + timedelta(hours=12), begins + timedelta(days=1)
    rows: dict[tuple[str, str], str] = {}
    for partner in reference.partners.values():
        for account in partner.accounts:
            for one in account.trunks:
                start, end = trunk_validity(one, partner.zone)
                if not (start < ends and begins < end):
                    continue
                for leg, (_, direction) in _SIDES.items():
                    if one.direction not in (direction, "both"):
                        continue
                    if start <= noon < end or (one.trunk, leg.value) not in rows:
                        rows[one.trunk, leg.value] = partner.partner
    return pl.DataFrame(
        [(*key, partner) for key, partner in rows.items()],
        schema={"trunk": pl.String, "leg": pl.String, "partner": pl.String},
        orient="row",
    )
