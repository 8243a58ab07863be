"""Suspended legs priced again, after what kept them from a price was mended; nothing else moves.

Legs that have a price stay as they are, whatever changed meanwhile: to price those anew is a
re-rating, with its own approval.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from billing_assets.core.errors import BillingError
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATED_LEG, SUSPENSE, XDR
from billing_assets.rating.day import roll_up, suspended_legs
from billing_assets.rating.kernel import Kernel
from billing_assets.rating.plan import RatingPlan
from billing_assets.rating.split import priced_legs
from billing_assets.rating.usage import average_prices
from billing_assets.reference.models import Leg

_KEY = ("record_id", "leg")


@dataclass(frozen=True)
class Retried:
    """What became of a day's suspended legs that were tried again.

    `settled` legs are none any more: their trunk proved to be our own.
    """

    day: date
    tried: int
    rated: int
    waiting: int
    settled: int


def retry_day(lake: Lake, plan: RatingPlan, chosen: pl.Expr, fresh: Sequence[int] = ()) -> Retried:
    """Price again the legs of a day that wait and that `chosen` (over `suspense`) tells.

    `fresh` are records that have come into `xdr` since the day was rated: all their legs are
    priced with them. Of `rated_leg`, only the slices that get a leg are written anew, with the
    rows that they had; run again after a crash, no leg is rated twice. Raises `BillingError` when
    a leg is lost.
    """
    day = plan.day
    waiting = lake.scan(SUSPENSE, part={"day": day, "stage": "rating"}).collect()
    tried = waiting.filter(chosen)
    if tried.is_empty() and not fresh:
        return Retried(day, 0, 0, 0, 0)
    legs = _priced(lake, plan, tried, fresh)
    is_rated = pl.col("reason").is_null()
    rated, unpriced = legs.filter(is_rated), legs.filter(~is_rated)
    buckets = rated["bucket"].unique().sort().to_list()
    if buckets:
        part = {"day": day, "bucket": buckets}
        there = lake.scan(RATED_LEG, part=part).join(rated.lazy(), on=_KEY, how="anti")
        new = rated.lazy().select(RATED_LEG.schema.names()).cast(RATED_LEG.schema)
        lake.replace_slice(RATED_LEG, pl.concat([there, new]), part)
    usage = roll_up(lake, day)
    still = suspended_legs(unpriced, average_prices(usage))
    rest = waiting.join(pl.concat([tried.select(_KEY), still.select(_KEY)]), on=_KEY, how="anti")
    lake.replace_slice(SUSPENSE, pl.concat([rest, still]), {"day": day, "stage": "rating"})
    wanted = tried.height + legs.filter(pl.col("record_id").is_in(list(fresh))).height
    if legs.height > wanted or rated.height + still.height != legs.height:
        raise BillingError(
            f"{day}: {wanted} legs were tried, {legs.height} came of them: {rated.height} rated, "
            f"{still.height} in suspense",
            hint="please report this as a defect",
        )
    return Retried(day, wanted, rated.height, still.height, wanted - legs.height)


def _priced(
    lake: Lake, plan: RatingPlan, tried: pl.DataFrame, fresh: Sequence[int]
) -> pl.DataFrame:
    """The tried legs as the plan prices them now, in the columns of `Kernel.legs`."""
    ids = [*tried["record_id"].unique(), *fresh]
    records = lake.scan(XDR, part={"day": plan.day}).filter(pl.col("record_id").is_in(ids))
    legs = pl.concat([priced_legs(Kernel(plan, leg), records) for leg in Leg])
    keys = tried.select(_KEY, tried=pl.lit(True)).lazy()
    return (
        legs.with_columns(pl.col("leg").cast(pl.String))
        .join(keys, on=_KEY, how="left")
        .filter(pl.col("tried") | pl.col("record_id").is_in(list(fresh)))
        .drop("tried")
        .collect(engine="streaming")
    )
