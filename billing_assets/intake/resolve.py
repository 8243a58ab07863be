"""A UTC day of accepted records: duplicates set aside, partial records of a call merged.

Copies of one event carry its time, so they share a day, whichever file brought them and when:
looking at one day finds them all, and no figure depends on the order of files (catalogue 1.4).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from billing_assets.core.errors import BillingError
from billing_assets.lake.tables import DUPLICATE, PARTIAL, SUSPENSE, XDR, Table

REACH_DAYS = 2
"""How many days before and after a day the parts of its calls may lie."""

_CALL = ("switch", "call_key", "a_number", "b_number", "in_trunk")
_RECORD = ("switch", "record_sequence", "setup_time", "a_number", "b_number", "duration_ms")
_EVENT = ("call_key", "setup_time", "answer_time", "duration_ms", "in_trunk", "out_trunk")


@dataclass(frozen=True)
class Resolved:
    """A day's rows of `xdr`, `duplicate`, `partial` and `suspense` (stage xdr)."""

    day: date
    xdr: pl.DataFrame
    duplicate: pl.DataFrame
    partial: pl.DataFrame
    suspense: pl.DataFrame


def resolve_day(day: date, landed: pl.DataFrame) -> Resolved:
    """Make a day of the rows of `landed` that begin within `REACH_DAYS` of it.

    The first of several copies (by record id) is kept. A call's parts 1 to n, the last marked,
    become one record of the day of its first part; a call with a part missing waits in suspense.
    Raises `BillingError` when a row landed twice, or when a whole record of the day is neither
    kept nor set aside.
    """
    if landed["record_id"].n_unique() != landed.height:
        raise BillingError(
            f"{day}: a row of a file landed twice", hint="please report this as a defect"
        )
    marked = _duplicates(landed)
    today = pl.col("day") == day
    copies = marked.filter(today & pl.col("_repeats").is_not_null())
    kept = marked.filter(pl.col("_repeats").is_null())
    whole = kept.filter(today & pl.col("part").is_null()).with_columns(
        pl.lit(1, pl.Int16).alias("parts")
    )
    parts = _calls(kept.filter(pl.col("part").is_not_null()))
    merged = _merged(parts.filter(pl.col("_whole") & (pl.col("_day") == day)))
    missing = parts.filter(~pl.col("_whole") & (pl.col("_day") == day))
    resolved = Resolved(
        day=day,
        xdr=_fit(XDR, pl.concat([whole.select(merged.columns), merged])),
        duplicate=_fit(
            DUPLICATE,
            copies.select(
                "day",
                "record_id",
                pl.col("_repeats").alias("repeats"),
                pl.col("_level").alias("level"),
            ),
        ),
        partial=_fit(
            PARTIAL,
            parts.filter(pl.col("_day") == day).select(
                pl.col("_day").alias("day"),
                "record_id",
                pl.when("_whole").then("_first").alias("call_record_id"),
                "part",
                "duration_ms",
            ),
        ),
        suspense=_suspense(missing),
    )
    landed_whole = landed.filter(today & pl.col("part").is_null()).height
    copies_whole = copies.filter(pl.col("part").is_null()).height
    if landed_whole != whole.height + copies_whole:
        raise BillingError(
            f"{day}: {landed_whole} records landed, {whole.height} kept, {copies_whole} copies",
            hint="please report this as a defect",
        )
    return resolved


def _duplicates(landed: pl.DataFrame) -> pl.DataFrame:
    """Mark copies: `_repeats` is the record id of the kept one, `_level` how it was found."""
    numbered = landed.filter(pl.col("record_sequence").is_not_null())
    by_record = _copies(numbered, _RECORD, "record")
    rest = landed.join(by_record, on="record_id", how="anti")
    by_event = _copies(rest.filter(pl.col("call_key").is_not_null()), _EVENT, "event")
    return landed.join(pl.concat([by_record, by_event]), on="record_id", how="left")


def _copies(frame: pl.DataFrame, keys: Sequence[str], level: str) -> pl.DataFrame:
    """Records that repeat another of equal keys: record_id, _repeats, _level."""
    twice = frame.filter(frame.select(keys).is_duplicated())
    return (
        twice.select("record_id", pl.col("record_id").min().over(keys).alias("_repeats"))
        .filter(pl.col("record_id") != pl.col("_repeats"))
        .with_columns(pl.lit(level).alias("_level"))
    )


def _calls(parts: pl.DataFrame) -> pl.DataFrame:
    """Parts with their call: `_first` (its record id), `_day`, and `_whole` if none is missing."""
    numbers = pl.col("part")
    first = pl.col("record_id").sort_by("part", "record_id").first()
    day = pl.col("day").sort_by("part", "record_id").first()
    closed = (pl.col("last_part") & (numbers == numbers.max())).any()
    complete = (
        (numbers.min() == 1)
        & (numbers.n_unique() == numbers.max())
        & (pl.len() == numbers.max())
        & closed
    )
    return parts.with_columns(
        first.over(_CALL).alias("_first"),
        day.over(_CALL).alias("_day"),
        complete.over(_CALL).alias("_whole"),
    )


def _merged(parts: pl.DataFrame) -> pl.DataFrame:
    """One record a call: the first part's fields, the summed duration, the last part's end."""
    ordered = parts.sort("part")
    other = [name for name in XDR.schema if name in parts.columns and name != "record_id"]
    taken = {
        "duration_ms": pl.col("duration_ms").sum(),
        "end_time": pl.col("end_time").last(),
        "status": pl.col("status").last(),
        "answered": pl.col("answered").any(),
    }
    return (
        ordered.group_by("_first", maintain_order=True)
        .agg(
            *(taken.get(name, pl.col(name).first()).alias(name) for name in other),
            pl.len().cast(pl.Int16).alias("parts"),
        )
        .rename({"_first": "record_id"})
        .select(XDR.schema.names())
    )


def _suspense(missing: pl.DataFrame) -> pl.DataFrame:
    """Parts of calls that are not whole."""
    return _fit(
        SUSPENSE,
        missing.select(
            pl.col("_day").alias("day"),
            pl.lit("xdr").alias("stage"),
            "record_id",
            pl.lit(None, pl.String).alias("leg"),
            pl.lit("MISSING_PART").alias("reason"),
            pl.lit("a part of the call, or its last one, has not come").alias("detail"),
            pl.lit(None, pl.String).alias("partner"),
            "duration_ms",
            "quantity",
            pl.lit(None, pl.Int64).alias("at_risk_e10"),
            pl.lit(None, pl.String).alias("currency"),
        ),
    )


def _fit(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(pl.col(name).cast(dtype) for name, dtype in table.schema.items())
