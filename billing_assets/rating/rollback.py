"""Taking back what a re-rate request did to a day: its legs get the prices that they had before.

What a later request priced since stays: that one is taken back first.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import date

import polars as pl

from billing_assets.core.errors import BillingError
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATED_LEG, XDR
from billing_assets.rating.change import KEY, LEG_SCHEMA, PRICED, Change, DayRerated
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.kernel import Kernel
from billing_assets.rating.rerate import carried_out
from billing_assets.rating.split import priced_legs
from billing_assets.reference.load import Reference
from billing_assets.reference.models import Leg
from billing_assets.registry.rerates import Day


def rollback_day(
    lake: Lake,
    runs: Sequence[Day],
    day: date,
    *,
    earlier: Callable[[], Iterable[Reference]],
    buckets: int,
    request: int,
) -> DayRerated:
    """Take back what a request's `runs` did to a day, in the name of another `request`.

    A leg that had a price gets it back as it stood in the version of `rated_leg` before; one that
    had none is priced by the `earlier` reference data, the newest first, until one leaves it in
    suspense. Raises
    `SliceConflict` as `carried_out` does, and `BillingError` when the version before is no longer
    kept.
    """
    if not runs:
        return carried_out(lambda: Change(lake, day, None, _none(KEY), _none(LEG_SCHEMA), None))
    return carried_out(lambda: _taken_back(lake, runs, day, earlier, buckets, request))


def _taken_back(
    lake: Lake,
    runs: Sequence[Day],
    day: date,
    earlier: Callable[[], Iterable[Reference]],
    buckets: int,
    request: int,
) -> Change:
    version = lake.version(RATED_LEG)
    now = lake.scan(RATED_LEG, version, {"day": day})
    first, last = runs[0].version_before, runs[-1].version_after
    before = lake.scan(RATED_LEG, first, {"day": day})
    after = lake.scan(RATED_LEG, last, {"day": day})
    mine = pl.col("rerate_request") == runs[0].request
    was = pl.struct(PRICED).alias("_was")
    # legs that it priced otherwise or for the first time, and legs that it left without a price
    priced = (
        now.filter(mine)
        .select(*KEY, pl.struct(PRICED).alias("_is"))
        .join(before.select(*KEY, was), on=KEY, how="left")
        .filter(pl.col("_was").is_null() | pl.col("_is").ne_missing(pl.col("_was")))
    )
    lost = (
        before.select(KEY)
        .join(after.select(KEY), on=KEY, how="anti")
        .join(now.select(KEY), on=KEY, how="anti")
        # of a file that was withdrawn since there is nothing to price
        .join(lake.scan(XDR, part={"day": day}).select("record_id"), on="record_id", how="semi")
    )
    keys = pl.concat([priced.select(KEY), lost]).collect(engine="streaming")
    restored = (
        before.join(keys.lazy(), on=KEY, how="semi")
        .with_columns(
            pl.lit(request, pl.Int64).alias("rerate_request"),
            pl.lit(None, pl.String).alias("reason"),
        )
        .select(LEG_SCHEMA.names())
        .collect(engine="streaming")
    )
    gained = keys.join(restored.select(KEY), on=KEY, how="anti")
    waiting = _without_price(lake, day, gained, earlier, buckets, request)
    return Change(lake, day, version, keys, pl.concat([restored, waiting]), None)


def _without_price(
    lake: Lake,
    day: date,
    gained: pl.DataFrame,
    earlier: Callable[[], Iterable[Reference]],
    buckets: int,
    request: int,
) -> pl.DataFrame:
    """Legs that had no price before, with the reason that the earlier reference data gives."""
    found, left = [_none(LEG_SCHEMA)], gained
    for reference in earlier() if not gained.is_empty() else ():
        plan = compile_plan(reference, day, buckets=buckets)
        records = lake.scan(XDR, part={"day": day}).filter(
            pl.col("record_id").is_in(left["record_id"].implode())
        )
        legs = pl.concat([priced_legs(Kernel(plan, leg, request), records) for leg in Leg])
        mine = (
            legs.select(LEG_SCHEMA.names())
            .cast(LEG_SCHEMA)
            .join(left.lazy(), on=KEY, how="semi")
            .collect(engine="streaming")
        )
        found.append(mine.filter(pl.col("reason").is_not_null()))
        left = mine.filter(pl.col("reason").is_null()).select(KEY)
        if left.is_empty():
            break
    if not left.is_empty():
        raise BillingError(
            f"{day}: {left.height} legs had no price before and have one by the earlier "
            "reference data",
            hint="rate them by a scope instead: `icb rerate --from ... --to ...`",
        )
    return pl.concat(found)


def _none(schema: object) -> pl.DataFrame:
    columns = LEG_SCHEMA if schema is LEG_SCHEMA else {name: LEG_SCHEMA[name] for name in KEY}
    return pl.DataFrame(schema=columns)
