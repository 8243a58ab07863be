"""A UTC day of accepted records: duplicates set aside, partial records of a call merged.

Copies of one event carry its time, so they share a day, whichever file brought them and when:
looking at one day finds them all, and no figure depends on the order of files (catalogue 1.4).

Every part of a call is accounted for on one day, which depends on landed records alone: the day
of its call's first part, if that is the part's own day or one of the `REACH_DAYS` before; else
its own day, in suspense. So the parts of all days add up, whatever came first and however long a
call lasted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from billing_assets.core.errors import BillingError
from billing_assets.core.ids import ROW_BITS
from billing_assets.lake.tables import DUPLICATE, PARTIAL, SUSPENSE, XDR, Table

REACH_DAYS = 2
"""How many days after its first part a call's further parts may lie."""

TIMEOUT = timedelta(days=REACH_DAYS + 1)
"""After this a call without its last part is closed with those that came."""

NEAR = timedelta(seconds=1)
"""Two records of one call, by two clocks or in two formats, differ by no more than this."""

_CALL = ("service", "switch", "call_key", "a_number", "b_number", "in_trunk")
_USAGE = ("service", "setup_time", "answer_time", "duration_ms", "b_number", "quantity", "part")
_RECORD = ("switch", "record_sequence", "call_key", "a_number", *_USAGE)
_EVENT = ("call_key", "in_trunk", "out_trunk", "status", *_USAGE)
_PARTIES_OF_CALL = ("a_number", "b_number", "in_trunk")


@dataclass(frozen=True)
class Resolved:
    """A day's rows of `xdr`, `duplicate`, `partial` and `suspense` (stage xdr)."""

    day: date
    xdr: pl.DataFrame
    duplicate: pl.DataFrame
    partial: pl.DataFrame
    suspense: pl.DataFrame


def around(day: date) -> list[date]:
    """The days whose parts of calls a day is made from."""
    return [day + timedelta(days=n) for n in range(-REACH_DAYS, REACH_DAYS + 1)]


def resolve_day(day: date, landed: pl.DataFrame, now: datetime | None = None) -> Resolved:
    """Make a day of the rows of `landed`: its own, the parts of calls of the days around it, and
    those that the day before answered within `NEAR` of midnight.

    The first of several copies (by record id, of look-alikes by time) is kept. A call's parts 1
    to n, the last marked, become one record of the day of its first part: the first part's record
    id, the sum of the durations and quantities, the last part's end. Parts of a call of which one
    is missing wait in suspense; where only the last one is, and `now` is past the timeout, the
    call is closed with what came.

    Raises `BillingError` when a row landed twice, or when a record of the day is
    neither kept nor set aside.
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
    all_parts = _calls(kept.filter(pl.col("part").is_not_null()), now)
    parts = all_parts.filter(pl.col("_day") == day)
    merged = _merged(parts.filter("_whole"))
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
            parts.select(
                pl.col("_day").alias("day"),
                "record_id",
                pl.when("_whole").then("_first").alias("call_record_id"),
                "part",
                "duration_ms",
            ),
        ),
        suspense=_suspense(parts.filter(~pl.col("_whole"))),
    )
    _check_balance(landed, resolved, all_parts)
    return resolved


def _check_balance(landed: pl.DataFrame, resolved: Resolved, parts: pl.DataFrame) -> None:
    """Every record that landed on the day is kept, a copy, or a part that has its day."""
    own = landed.filter(pl.col("day") == resolved.day)
    parts_of_others = parts.filter(
        (pl.col("day") == resolved.day) & (pl.col("_day") != pl.col("day"))
    )
    parts_of_other_days = resolved.partial.join(own, on="record_id", how="anti")
    singles = resolved.xdr.join(resolved.partial, on="record_id", how="anti")
    accounted = (
        singles.height
        + resolved.duplicate.height
        + (resolved.partial.height - parts_of_other_days.height)
        + parts_of_others.height
    )
    if own.height != accounted:
        raise BillingError(
            f"{resolved.day}: {own.height} records landed, {accounted} are accounted for",
            hint="please report this as a defect",
        )
    waiting = resolved.partial.filter(pl.col("call_record_id").is_null()).height
    merged = resolved.partial.height - waiting
    if int(resolved.xdr["parts"].sum()) != singles.height + merged:
        raise BillingError(
            f"{resolved.day}: merged calls have other parts than were merged",
            hint="please report this as a defect",
        )


def _duplicates(landed: pl.DataFrame) -> pl.DataFrame:
    """Mark copies: `_repeats` is the record id of the kept one, `_level` how it was found.

    A switch's numbered record may come again, or the same event under another number or none.
    """
    numbered = landed.filter(pl.col("record_sequence").is_not_null())
    by_record = _copies(numbered, _RECORD, "record")
    rest = landed.join(by_record, on="record_id", how="anti")
    by_event = _copies(rest.filter(pl.col("call_key").is_not_null()), _EVENT, "event")
    # what a copied record repeats may itself repeat an event: then both repeat that one
    onward = by_event.select(
        pl.col("record_id").alias("_repeats"), pl.col("_repeats").alias("_onward")
    )
    by_record = (
        by_record.join(onward, on="_repeats", how="left")
        .with_columns(pl.coalesce("_onward", "_repeats").alias("_repeats"))
        .drop("_onward")
    )
    found = pl.concat([by_record, by_event])
    alike = _alike(landed.join(found, on="record_id", how="anti"))
    # what is a copy of a look-alike is one of what that one repeats
    onward = alike.select(pl.col("record_id").alias("_repeats"), _onward="_repeats")
    found = (
        found.join(onward, on="_repeats", how="left")
        .with_columns(pl.coalesce("_onward", "_repeats").alias("_repeats"))
        .drop("_onward")
    )
    return landed.join(pl.concat([found, alike]), on="record_id", how="left")


def _alike(landed: pl.DataFrame) -> pl.DataFrame:
    """Answered calls that another file tells too, though its ids differ: columns as `_copies`.

    Both have the same parties and trunk, and differ in answer time and duration by `NEAR` at
    most. Within one file other ids are other calls.
    """
    calls = landed.filter(
        (pl.col("service") == "voice")
        & (pl.col("duration_ms") > 0)
        & pl.col("part").is_null()
        & pl.col("a_number").is_not_null()
    )
    again = calls.filter(calls.select(_PARTIES_OF_CALL).is_duplicated())
    if again.is_empty():
        return pl.DataFrame(schema=_COPIES)
    told = again.select(
        *_PARTIES_OF_CALL,
        "record_id",
        "answer_time",
        "duration_ms",
        file=pl.col("record_id") // (1 << ROW_BITS),
        second=pl.col("answer_time").dt.epoch("s"),
    )
    # a look-alike lies in the same second or in the one before
    earlier = pl.concat([told, told.with_columns(pl.col("second") + 1)])
    pairs = told.join(earlier, on=[*_PARTIES_OF_CALL, "second"], suffix="_of").filter(
        (pl.col("file") != pl.col("file_of"))
        & ((pl.col("answer_time") - pl.col("answer_time_of")) <= NEAR)
        & ((pl.col("duration_ms") - pl.col("duration_ms_of")).abs() <= NEAR // _MILLISECOND)
        & (
            (pl.col("answer_time_of") < pl.col("answer_time"))
            | (
                (pl.col("answer_time_of") == pl.col("answer_time"))
                & (pl.col("record_id_of") < pl.col("record_id"))
            )
        )
    )
    found = (
        pairs.sort("answer_time_of", "record_id_of")
        .group_by("record_id", maintain_order=True)
        .agg(pl.col("record_id_of").first().alias("_repeats"))
    )
    while found["_repeats"].is_in(found["record_id"].implode()).any():
        # of several, all repeat the first
        onward = found.select(pl.col("record_id").alias("_repeats"), _first="_repeats")
        found = found.join(onward, on="_repeats", how="left").select(
            "record_id", pl.coalesce("_first", "_repeats").alias("_repeats")
        )
    return found.with_columns(pl.lit("fuzzy").alias("_level"))


_MILLISECOND = timedelta(milliseconds=1)
_COPIES = pl.Schema({"record_id": pl.Int64, "_repeats": pl.Int64, "_level": pl.String})


def _copies(frame: pl.DataFrame, keys: Sequence[str], level: str) -> pl.DataFrame:
    """Records that repeat another of equal keys: record_id, _repeats, _level."""
    twice = frame.filter(frame.select(keys).is_duplicated())
    return (
        twice.select("record_id", pl.col("record_id").min().over(keys).alias("_repeats"))
        .filter(pl.col("record_id") != pl.col("_repeats"))
        .with_columns(pl.lit(level).alias("_level"))
    )


def _calls(parts: pl.DataFrame, now: datetime | None) -> pl.DataFrame:
    """Parts with their call: `_first` (its record id), `_day`, and `_whole` if none is missing.

    A part belongs to the newest first part of its call that begins not after it, within reach. A
    part without a trunk only ends a call: it takes the parties of the part that begins it.
    """
    parts = _with_parties(parts)
    begun = (
        parts.filter(pl.col("part") == 1)
        .group_by(*_CALL, pl.col("setup_time").alias("_begun"))
        .agg(pl.col("day").min().alias("_day"))
    )
    anchors = parts.join(begun, on=_CALL, how="left", nulls_equal=True)
    ago = (pl.col("day") - pl.col("_day")).dt.total_days()
    anchored = (
        anchors.filter(ago.is_between(0, REACH_DAYS) & (pl.col("_begun") <= pl.col("setup_time")))
        .sort("_begun")
        .group_by("record_id", maintain_order=True)
        .agg(pl.col("_begun", "_day").last())
    )
    calls = parts.join(anchored, on="record_id", how="left").with_columns(
        pl.coalesce("_day", "day").alias("_day")
    )
    key = (*_CALL, "_begun", "_day")
    number, has_begun = pl.col("part"), pl.col("_begun").is_not_null()
    first = pl.col("record_id").sort_by("part", "record_id").first()
    whole = (
        has_begun.all()
        & (number.min() == 1)
        & (number.n_unique() == pl.len())
        & (number.max() == pl.len())
        & (
            (pl.col("last_part") == (number == number.max())).all()
            | (
                ~pl.col("last_part").any()
                & (pl.col("duration_ms").sum() > 0)
                & (pl.col("end_time").max() < pl.lit(None if now is None else now - TIMEOUT))
            ).fill_null(False)
        )
    )
    return calls.with_columns(first.over(key).alias("_first"), whole.over(key).alias("_whole"))


def _with_parties(parts: pl.DataFrame) -> pl.DataFrame:
    """Parts with `_ends`: whether they only end a call; these with their call's parties."""
    call = ("service", "switch", "call_key")
    ends = pl.col("in_trunk").is_null() & pl.col("out_trunk").is_null()
    marked = parts.with_columns(ends.alias("_ends"))
    if not marked["_ends"].any():
        return marked
    begun = (
        marked.filter(~pl.col("_ends"))
        .sort("part", "record_id")
        .group_by(call)
        .agg(pl.col(_PARTIES).first())
    )
    ending = marked.filter("_ends").drop(_PARTIES).join(begun, on=call, how="left")
    return pl.concat([marked.filter(~pl.col("_ends")), ending.select(marked.columns)])


_PARTIES = ("in_trunk", "out_trunk", "a_number", "a_length", "a_kind", "b_number", "b_length")


def _merged(parts: pl.DataFrame) -> pl.DataFrame:
    """One record a call: the first part's fields, what is measured summed, the last one's end."""
    quantity = pl.when(pl.col("quantity").is_not_null().any()).then(pl.col("quantity").sum())
    taken = {
        # where one part begins the call and one ends it, neither knows how long it lasted
        "duration_ms": pl.when(pl.col("_ends").any())
        .then((pl.col("end_time").last() - pl.col("answer_time").first()).dt.total_milliseconds())
        .otherwise(pl.col("duration_ms").sum()),
        "quantity": quantity,
        "end_time": pl.col("end_time").last(),
        "arrived_time": pl.col("arrived_time").max(),
        "status": pl.col("status").last(),
        "answered": pl.col("answered").any(),
        "answer_time": pl.col("answer_time").drop_nulls().first(),
    }
    names = [name for name in XDR.schema if name not in ("record_id", "parts")]
    return (
        parts.sort("part")
        .group_by("_first", maintain_order=True)
        .agg(
            *(taken.get(name, pl.col(name).first()).alias(name) for name in names),
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
