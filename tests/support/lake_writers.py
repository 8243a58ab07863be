"""Processes that write to a lake, for tests of what they do to each other and when they die.

`python -m tests.support.lake_writers DEED URI ...` prints one word a line: `version`s it
committed, `conflict` for a refused slice, `waiting` where another process may step in.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl

from billing_assets.core.errors import SliceConflict
from billing_assets.lake.slices import Slice
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import UTC_TIME, Table

MARCH = [date(2026, 3, day) for day in range(1, 32)]

LEG = Table(
    "leg",
    "one leg of a test",
    pl.Schema(
        {
            "day": pl.Date,
            "bucket": pl.Int32,
            "record_id": pl.Int64,
            "partner": pl.String,
            "event_time": UTC_TIME,
            "amount_e10": pl.Int64,
            "fee": pl.Decimal(38, 10),
            "rerate_request": pl.Int64,
        }
    ),
    ("day", "bucket"),
    ("partner", "record_id"),
)


def legs(day: date, *, bucket: int = 0, count: int = 10, amount_e10: int = 1) -> pl.DataFrame:
    """`count` legs of one slice, all of the same amount."""
    return (
        pl.select(record_id=pl.int_range(count, dtype=pl.Int64))
        .with_columns(
            pl.lit(day).alias("day"),
            pl.lit(bucket, pl.Int32).alias("bucket"),
            pl.format("P{}", pl.col("record_id") % 7).alias("partner"),
            pl.lit(day).cast(UTC_TIME).alias("event_time"),
            pl.lit(amount_e10, pl.Int64).alias("amount_e10"),
            pl.lit("0.0000000001").str.to_decimal(scale=10).cast(pl.Decimal(38, 10)).alias("fee"),
            pl.lit(None, pl.Int64).alias("rerate_request"),
        )
        .select(LEG.schema.names())
    )


def own_days(lake: Lake, worker: int, workers: int) -> None:
    """Replace every n-th day of a month."""
    for day in MARCH[worker::workers]:
        _say(str(lake.replace_slice(LEG, legs(day, amount_e10=worker), {"day": day})))


def new_tables(lake: Lake, worker: int, workers: int, count: int) -> None:
    """Write a day of many tables that do not exist yet, each when all workers are ready for it."""
    for number in range(count):
        table = replace(LEG, name=f"leg_{number}")
        day = MARCH[worker]
        Path(f"{lake.uri}_{number}_{worker}").touch()
        while not all(Path(f"{lake.uri}_{number}_{other}").exists() for other in range(workers)):
            pass
        _say(str(lake.replace_slice(table, legs(day), {"day": day})))


def one_day(lake: Lake, worker: int, times: int) -> None:
    """Replace the same day as others do, again and again."""
    for attempt in range(times):
        frame = legs(MARCH[0], amount_e10=1000 * worker + attempt)
        _attempt(lambda rows=frame: lake.replace_slice(LEG, rows, {"day": MARCH[0]}))


def slowly(lake: Lake, amount_e10: int, go: str) -> None:
    """Stream a day, and wait in the middle of it for the file `go`."""
    frame = legs(MARCH[0], amount_e10=amount_e10)

    def wait(batch: pl.DataFrame) -> pl.DataFrame:
        _say("waiting")
        while not Path(go).exists():
            time.sleep(0.01)
        return batch

    rows = frame.lazy().map_batches(wait, schema=LEG.schema)
    _attempt(lambda: lake.replace_slice(LEG, rows, {"day": MARCH[0]}))


def for_ever(lake: Lake, first: int) -> None:
    """Replace a day of four buckets by ever higher amounts, until killed."""
    part: Slice = {"day": MARCH[0]}
    amount = first
    while True:
        frame = pl.concat(
            legs(MARCH[0], bucket=bucket, count=20_000, amount_e10=amount) for bucket in range(4)
        )
        _say(str(lake.replace_slice(LEG, frame.lazy(), part)))
        amount += 1


def _attempt(write: Callable[[], int]) -> None:
    try:
        _say(str(write()))
    except SliceConflict:
        _say("conflict")


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(deed: str, uri: str, *arguments: str) -> None:
    """Do one of the deeds above to the lake at `uri`."""
    lake = Lake(uri)
    match deed, arguments:
        case "own_days", (worker, workers):
            own_days(lake, int(worker), int(workers))
        case "new_tables", (worker, workers, count):
            new_tables(lake, int(worker), int(workers), int(count))
        case "one_day", (worker, times):
            one_day(lake, int(worker), int(times))
        case "slowly", (amount, go):
            slowly(lake, int(amount), go)
        case "for_ever", (first,):
            for_ever(lake, int(first))
        case _:
            raise ValueError(deed)


if __name__ == "__main__":
    main(*sys.argv[1:])
