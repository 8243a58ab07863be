"""Usage to price without an installation: CSV or JSON lines with canonical names, as records.

Cells that cannot be read are refused by row, field and value; a number that is no number stays
empty, because the record then has a reason of its own. Nothing is guessed: a record without a
time, an answered call without a duration or a session without bytes is refused.
"""

from collections.abc import Collection

import polars as pl

from billing_assets.core.errors import Problem
from billing_assets.core.sms import DELIVERED, segments_column, state_of
from billing_assets.intake.numbers import MAX_KEPT, as_integer, e164, kind_of
from billing_assets.intake.reading import unpack
from billing_assets.intake.rules import STAMPS
from billing_assets.intake.times import read_stamps, settle
from billing_assets.lake.tables import UTC_TIME, XDR
from billing_assets.rating.usage_cells import COLUMNS, refused, usage_cells
from billing_assets.rating.usage_checks import (
    PLAIN,
    WHOLE,
    check_calls,
    check_cells,
    check_sums,
    check_times,
    encoding_word,
    is_unanswered,
    said_no,
)
from billing_assets.reference.models import Service

USAGE_SCHEMA = pl.Schema({"line": pl.Int64, "records": pl.Int64, **XDR.schema})
"""Columns of a usage frame: those of `xdr`, the file's line (from 1) and the records it stands
for."""


def read_usage(
    content: bytes, name: str, *, services: Collection[str], zone: str = "UTC"
) -> pl.DataFrame:
    """Read a usage file into `USAGE_SCHEMA`.

    `services` are those of the agreements: with one alone, the file need not name it. `zone` is
    that of stamps without an offset. Raises `InputError` with the problems found.
    """
    text = usage_cells(unpack(content, name), name)
    if text.is_empty():
        raise refused([Problem("holds no record", name)])
    text = text.with_columns(
        pl.lit(None, pl.String).alias(c) for c in COLUMNS if c not in text.columns
    ).with_columns(pl.col(COLUMNS).str.strip_chars().replace("", None))
    if len(services) == 1:
        text = text.with_columns(pl.col("service").fill_null(next(iter(services))))
    problems: list[Problem] = []
    check_cells(text, name, zone, problems)
    if problems:
        raise refused(problems)
    text = _timed(text, zone)
    check_times(text, name, problems)
    check_calls(text, name, problems)
    if problems:
        raise refused(problems)
    calls = _whole_calls(_records(text))
    check_sums(calls, text, name, problems)
    if problems:
        raise refused(problems)
    return calls.cast(USAGE_SCHEMA)


def _timed(text: pl.DataFrame, zone: str) -> pl.DataFrame:
    """Checked cells, and what they say of time.

    `_set_up`, `_begun` (`answer_time`, else `start`), `_ended` and `_begin`, at which the record
    begins, are in UTC; `_lasts` is the reported duration in milliseconds (Int64).
    """
    begun = text.select(pl.coalesce("answer_time", "start")).to_series()
    lasts = text.select(
        pl.coalesce(
            pl.col("duration_ms").cast(pl.Int64),
            (pl.col("duration_s").cast(pl.Decimal(15, 3)) * 1000).cast(pl.Int64),
        )
    ).to_series()
    times = settle(
        read_stamps(text["setup_time"], zone),
        read_stamps(begun, zone),
        read_stamps(text["end_time"], zone),
        lasts,
    )
    set_up, begun, ended = (times[name].cast(UTC_TIME) for name in STAMPS)
    return text.with_columns(
        set_up.alias("_set_up"),
        begun.alias("_begun"),
        ended.alias("_ended"),
        pl.when(is_unanswered())
        .then(pl.coalesce(set_up, begun))
        .otherwise(pl.coalesce(begun, set_up))
        .alias("_begin"),
        lasts.alias("_lasts"),
    )


def _records(text: pl.DataFrame) -> pl.DataFrame:
    """Checked text (columns of `_timed`) as records, with `call_id` and `part`."""
    sms = pl.col("service") == Service.SMS.value
    words = {word: encoding_word(word) for word in text["encoding"].drop_nulls().unique()}
    # a file that tells no delivery states asks what delivered messages cost
    told = text["status"].is_not_null().any()
    state = state_of(pl.col("status")) if told else pl.lit(DELIVERED)
    begin = pl.col("_begin")
    frame = text.with_columns(
        *(pl.col(whole).cast(pl.Int64) for whole in (*WHOLE, "routing_number")),
        pl.col("encoding").replace_strict(words, default=None, return_dtype=pl.String),
        e164(pl.col("a_number"), pl.col("in_trunk"), PLAIN).alias("_a"),
        e164(pl.col("b_number"), pl.col("in_trunk"), PLAIN).alias("_b"),
        pl.coalesce("_set_up", begin).alias("setup_time"),
        pl.when(pl.col("service") != Service.VOICE.value)
        .then(begin)
        .when(~said_no())
        .then("_begun")
        .alias("answer_time"),
        pl.when(sms).then(state).otherwise("status").alias("status"),
    )
    delivered = ~sms | (pl.col("status").fill_null(DELIVERED) == DELIVERED)
    frame = frame.with_columns((pl.col("answer_time").is_not_null() & delivered).alias("answered"))
    elapsed = (pl.col("_ended") - pl.col("answer_time")).dt.total_milliseconds()
    frame = frame.with_columns(
        pl.when("answered")
        .then(pl.coalesce("_lasts", elapsed, pl.lit(0)))
        .otherwise(0)
        .alias("duration_ms")
    )
    digits = pl.col("_b").str.contains(r"^[1-9][0-9]{0,14}$")
    return frame.select(
        "line",
        pl.col("records").cast(pl.Int64).fill_null(1),
        "call_id",
        "part",
        begin.dt.date().alias("day"),
        pl.col("line").alias("record_id"),
        "service",
        pl.col("switch").fill_null(PLAIN.switch),
        "in_trunk",
        "out_trunk",
        "setup_time",
        "answer_time",
        pl.coalesce("_ended", begin + pl.duration(milliseconds="duration_ms")).alias("end_time"),
        pl.lit(None, UTC_TIME).alias("arrived_time"),
        "duration_ms",
        "answered",
        as_integer(pl.col("_a")).alias("a_number"),
        pl.when(pl.col("_a").str.contains(rf"^[0-9]{{1,{MAX_KEPT}}}$"))
        .then(pl.col("_a").str.len_chars())
        .cast(pl.Int8)
        .alias("a_length"),
        kind_of(pl.col("_a")).alias("a_kind"),
        pl.when(digits).then("_b").cast(pl.Int64, strict=False).alias("b_number"),
        pl.when(digits).then(pl.col("_b").str.len_chars()).cast(pl.Int8).alias("b_length"),
        "routing_number",
        pl.col("serving_network").cast(pl.Int32),
        pl.coalesce("quantity", segments_column(pl.col("text_length"), pl.col("encoding"))).alias(
            "quantity"
        ),
        "event_type",
        "status",
        pl.lit(None, pl.Int64).alias("call_key"),
        pl.lit(1, pl.Int16).alias("parts"),
    )


def _whole_calls(records: pl.DataFrame) -> pl.DataFrame:
    """Put the parts of a call together: what is measured adds up, fees come once (A23).

    Columns of `USAGE_SCHEMA`; `duration_ms` and `quantity` are of 128 bits.
    """
    names = USAGE_SCHEMA.names()
    records = records.with_columns(pl.col("duration_ms", "quantity").cast(pl.Int128))
    parts = records.filter(pl.col("part").is_not_null()).sort("part")
    whole = records.filter(pl.col("part").is_null()).select(names)
    quantity = pl.col("quantity")
    taken = {
        "answer_time": pl.col("answer_time").drop_nulls().first(),
        "duration_ms": pl.col("duration_ms").sum(),
        "quantity": pl.when(quantity.is_not_null().any()).then(quantity.sum()),
        "end_time": pl.col("end_time").last(),
        "answered": pl.col("answered").any(),
        "status": pl.col("status").last(),
        "parts": pl.len().cast(pl.Int16),
    }
    merged = parts.group_by("call_id", maintain_order=True).agg(
        taken.get(column, pl.col(column).first()).alias(column) for column in names
    )
    return pl.concat([whole, merged.select(names)]).sort("line")
