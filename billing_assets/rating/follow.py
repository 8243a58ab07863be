"""Legs that follow their records: after a mediation file was withdrawn or read anew, the legs of
its records are priced, those of records that are gone are taken out, and all others stay."""

from datetime import date

import polars as pl

from billing_assets.core.ids import ROW_BITS
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATED_LEG, SUSPENSE, XDR
from billing_assets.rating.change import KEY, LEG_SCHEMA, Change, DayRerated
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.kernel import Kernel
from billing_assets.rating.rerate import carried_out
from billing_assets.rating.split import priced_legs
from billing_assets.reference.load import Reference
from billing_assets.reference.models import Leg


def follow_day(
    lake: Lake, reference: Reference, day: date, file_key: int, *, buckets: int, request: int
) -> DayRerated:
    """Bring a day's legs up to its records (`xdr`), where a file changed them.

    Touched are the records of the file, those that came or went with it (a copy is kept where the
    first one is gone, a call is closed without a part), and those whose duration is another now.
    Raises as `carried_out` does.
    """
    return carried_out(lambda: _followed(lake, reference, day, file_key, buckets, request))


def _followed(
    lake: Lake, reference: Reference, day: date, file_key: int, buckets: int, request: int
) -> Change:
    version = lake.version(RATED_LEG)
    columns = [*KEY, "duration_ms"]
    held = pl.concat(
        [
            lake.scan(RATED_LEG, version, {"day": day}).select(columns),
            lake.scan(SUSPENSE, part={"day": day, "stage": "rating"}).select(columns),
        ]
    )
    records = lake.scan(XDR, part={"day": day})
    ids = ["record_id"]
    gone = held.join(records.select(ids), on=ids, how="anti").select(ids)
    came = records.join(held.select(ids), on=ids, how="anti").select(ids)
    other = (
        held.join(records.select(*ids, now="duration_ms"), on=ids)
        .filter(pl.col("duration_ms") != pl.col("now"))
        .select(ids)
    )
    of_file = held.filter(pl.col("record_id") // (1 << ROW_BITS) == file_key).select(ids)
    touched = pl.concat([gone, came, other, of_file]).unique().collect(engine="streaming")
    old_keys = held.select(KEY).join(touched.lazy(), on=ids, how="semi").collect()
    plan, new = None, pl.DataFrame(schema=LEG_SCHEMA)
    if not touched.is_empty():
        plan = compile_plan(reference, day, buckets=buckets)
        chosen = records.filter(pl.col("record_id").is_in(touched["record_id"].implode()))
        legs = pl.concat([priced_legs(Kernel(plan, leg, request), chosen) for leg in Leg])
        new = legs.select(LEG_SCHEMA.names()).cast(LEG_SCHEMA).collect(engine="streaming")
    return Change(lake, day, version, old_keys, new, plan)
