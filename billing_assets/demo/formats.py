"""Mediation formats: records of a switch as the bytes of its file (column orders: catalogue 1.6).

Each format takes the same frame and knows nothing of the scenario.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from billing_assets.reference.sources import Source

GZIP_LEVEL = 3


@dataclass(frozen=True)
class Format:
    """A format: its columns from records, how they are written, its stamps' resolution in ms."""

    columns: Callable[[pl.DataFrame, Source], pl.DataFrame]
    separator: str = ","
    quotes: Literal["necessary", "always", "non_numeric", "never"] = "necessary"
    header: bool = False
    tick_ms: int = 1000

    def render(self, records: pl.DataFrame, source: Source, *, compress: bool) -> bytes:
        """The bytes of a file, plain or gzip (with an empty time stamp in its header).

        `records` has the columns service, in_trunk, out_trunk (without switch; null: own side),
        setup, answer (null: unanswered) and end (UTC), duration_ms, a, b (as written),
        b_plain (B without what stands before it), network, quantity, status, call, sequence,
        part, last_part.
        """
        stream = io.BytesIO()
        self.columns(records, source).write_csv(
            stream,
            include_header=self.header,
            separator=self.separator,
            quote_style=self.quotes,
            compression="gzip" if compress else "uncompressed",
            compression_level=GZIP_LEVEL if compress else None,
        )
        return stream.getvalue()


def _text(value: str, name: str) -> pl.Expr:
    return pl.lit(value).alias(name)


def _canonical(records: pl.DataFrame, source: Source) -> pl.DataFrame:
    """Our own CSV: UTC with milliseconds, one header line, empty for null."""

    def stamp(name: str) -> pl.Expr:
        return pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").alias(f"{name}_time")

    return records.select(
        "service",
        "in_trunk",
        "out_trunk",
        stamp("setup"),
        stamp("answer"),
        stamp("end"),
        "duration_ms",
        pl.col("a").alias("a_number"),
        pl.col("b").alias("b_number"),
        pl.lit(None, pl.String).alias("routing_number"),
        pl.col("network").alias("serving_network"),
        "quantity",
        pl.lit(None, pl.String).alias("event_type"),
        "status",
        pl.concat_str(pl.lit(f"{source.source}-"), "call").alias("call_id"),
        pl.col("sequence").alias("record_sequence"),
        "part",
        "last_part",
    )


def _freeswitch(records: pl.DataFrame, source: Source) -> pl.DataFrame:
    """mod_cdr_csv, template `example` with two trunk columns: local time, all fields quoted."""

    def stamp(name: str) -> pl.Expr:
        local = pl.col(name).dt.convert_time_zone(source.zone)
        return local.dt.strftime("%Y-%m-%d %H:%M:%S").fill_null("").alias(f"{name}_stamp")

    number = pl.col("sequence")
    total = (pl.col("end") - pl.col("setup")).dt.total_seconds()
    return records.select(
        pl.col("a").fill_null("").alias("caller_id_name"),
        pl.col("a").fill_null("").alias("caller_id_number"),
        pl.col("b").fill_null("").alias("destination_number"),
        _text("carriers", "context"),
        stamp("setup").alias("start_stamp"),
        stamp("answer"),
        stamp("end"),
        total.alias("duration"),
        (pl.col("duration_ms") // 1000).alias("billsec"),
        pl.when(pl.col("answer").is_null())
        .then(pl.lit("NO_ANSWER"))
        .otherwise(pl.lit("NORMAL_CLEARING"))
        .alias("hangup_cause"),
        _uuid(number, "1").alias("uuid"),
        _uuid(number, "2").alias("bleg_uuid"),
        pl.col("in_trunk").fill_null("").alias("accountcode"),
        _text("PCMA", "read_codec"),
        _text("PCMA", "write_codec"),
        pl.col("in_trunk").fill_null(""),
        pl.col("out_trunk").fill_null(""),
    )


def _uuid(number: pl.Expr, leg: str) -> pl.Expr:
    """A version-4 form that is unique by record and leg."""
    mixed = (number * 7_919 % 10**8).cast(pl.String).str.zfill(8)
    node = number.cast(pl.String).str.zfill(12)
    return pl.concat_str(mixed, pl.lit(f"-{leg}000-4000-8000-"), node)


def _asterisk(records: pl.DataFrame, source: Source) -> pl.DataFrame:
    """cdr_csv with uniqueid and userfield (18 columns), usegmtime=yes."""

    def stamp(name: str) -> pl.Expr:
        local = pl.col(name).dt.convert_time_zone(source.zone)
        return local.dt.strftime("%Y-%m-%d %H:%M:%S")

    def channel(trunk: str, leg: int) -> pl.Expr:
        serial = ((pl.col("sequence") * 2 + leg) % 10**8).cast(pl.String).str.zfill(8)
        return pl.concat_str(pl.lit("PJSIP/"), trunk, pl.lit("-"), serial)

    return records.select(
        _text("", "accountcode"),
        pl.col("a").fill_null("").alias("src"),
        pl.col("b").fill_null("").alias("dst"),
        _text("carriers", "dcontext"),
        pl.concat_str(pl.lit('"" <'), pl.col("a").fill_null(""), pl.lit(">")).alias("clid"),
        channel("in_trunk", 0).alias("channel"),
        channel("out_trunk", 1).alias("dstchannel"),
        _text("Dial", "lastapp"),
        pl.concat_str(
            pl.lit("PJSIP/"), pl.col("b").fill_null(""), pl.lit("@"), "out_trunk", pl.lit(",60")
        ).alias("lastdata"),
        stamp("setup").alias("start"),
        stamp("answer").alias("answer"),
        stamp("end").alias("end"),
        (pl.col("end") - pl.col("setup")).dt.total_seconds().alias("duration"),
        (pl.col("duration_ms") // 1000).alias("billsec"),
        pl.when(pl.col("answer").is_null())
        .then(pl.lit("NO ANSWER"))
        .otherwise(pl.lit("ANSWERED"))
        .alias("disposition"),
        _text("DOCUMENTATION", "amaflags"),
        pl.concat_str(pl.col("setup").dt.epoch("s"), pl.lit("."), "sequence").alias("uniqueid"),
        _text("", "userfield"),
    )


_SANSAY_COLUMNS = 59


def _sansay(records: pl.DataFrame, source: Source) -> pl.DataFrame:
    """Sansay VSXi, 59 columns; addresses are of the ranges kept for documentation."""

    def stamp(name: str) -> pl.Expr:
        local = pl.col(name).dt.convert_time_zone(source.zone)
        return local.dt.strftime("%a %b %d %H:%M:%S %Y")

    seconds = pl.col("duration_ms") // 1000
    answered = pl.col("answer").is_not_null()
    ring = (pl.coalesce("answer", "end") - pl.col("setup")).dt.total_seconds()
    packets = seconds * 50
    a, dialled = pl.col("a"), pl.col("b_plain")
    leg_in = [pl.lit("192.0.2.10"), pl.lit(5060), pl.lit("198.51.100.3"), pl.lit(5060)]
    leg_out = [pl.lit("198.51.100.3"), pl.lit(5060), pl.lit("203.0.113.20"), pl.lit(5060)]
    media = [packets, packets, packets * 172, packets * 172]
    quality = [pl.lit(0), pl.lit(0), pl.lit(0)]
    call_id = pl.concat_str("call", pl.lit("@198.51.100.3"))
    columns = [
        pl.col("sequence"),
        pl.lit("V1.10"),
        pl.lit("R"),
        pl.lit("0"),
        pl.col("call"),
        pl.when(answered).then(0).otherwise(3),
        stamp("setup"),
        stamp("answer"),
        stamp("end"),
        pl.lit(0),
        pl.when(answered).then(pl.lit("Normal call clearing")).otherwise(pl.lit("No answer")),
        pl.when(answered).then(16).otherwise(19),
        pl.lit("O"),
        pl.col("in_trunk"),
        pl.lit("SIP"),
        a,
        pl.lit("192.0.2.10"),
        pl.col("b"),
        pl.lit("198.51.100.3"),
        call_id,
        *leg_in,
        pl.lit("G711A"),
        *media,
        *quality,
        pl.col("out_trunk"),
        pl.lit("SIP"),
        a,
        pl.lit("198.51.100.3"),
        dialled,
        pl.lit("203.0.113.20"),
        call_id,
        *leg_out,
        pl.lit("G711A"),
        *media,
        *quality,
        pl.lit("F"),
        dialled,
        seconds,
        pl.lit(1),
        ring,
        pl.col("duration_ms"),
        pl.lit(0),
        a,
    ]
    assert len(columns) == _SANSAY_COLUMNS
    return records.select(
        column.alias(f"c{number}") for number, column in enumerate(columns, start=1)
    )


FORMATS: Mapping[str, Format] = {
    "canonical-csv": Format(_canonical, header=True, tick_ms=1),
    "freeswitch": Format(_freeswitch, quotes="always"),
    "asterisk": Format(_asterisk, quotes="non_numeric"),
    "sansay": Format(_sansay, separator=";", quotes="never"),
}
"""The formats by preset name, as sources.yaml names them."""
