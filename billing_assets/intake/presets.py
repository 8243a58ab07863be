"""Presets: column orders of switches and how their columns become canonical ones (catalogue 1.6).

A preset names the file's columns and maps them, as expressions over text, to the canonical ones.
Stamps stay text until `parse` reads them in the preset's format.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from billing_assets.core.errors import BillingError
from billing_assets.intake.times import ISO
from billing_assets.reference.models import Source

CANONICAL = (
    "service",
    "in_trunk",
    "out_trunk",
    "setup_time",
    "answer_time",
    "end_time",
    "duration_ms",
    "a_number",
    "b_number",
    "routing_number",
    "serving_network",
    "quantity",
    "event_type",
    "status",
    "call_id",
    "record_sequence",
    "part",
    "last_part",
)

FREESWITCH = (
    "caller_id_name",
    "caller_id_number",
    "destination_number",
    "context",
    "start_stamp",
    "answer_stamp",
    "end_stamp",
    "duration",
    "billsec",
    "hangup_cause",
    "uuid",
    "bleg_uuid",
    "accountcode",
    "read_codec",
    "write_codec",
)

ASTERISK = (
    "accountcode",
    "src",
    "dst",
    "dcontext",
    "clid",
    "channel",
    "dstchannel",
    "lastapp",
    "lastdata",
    "start",
    "answer",
    "end",
    "duration",
    "billsec",
    "disposition",
    "amaflags",
    "uniqueid",
    "userfield",
    "peeraccount",
    "linkedid",
    "sequence",
)

_SANSAY_USED = {
    1: "sequence",
    3: "type",
    5: "session",
    7: "start",
    8: "answer",
    9: "release",
    10: "minutes_west",
    11: "cause",
    14: "orig_trunk",
    16: "orig_source",
    33: "term_trunk",
    37: "term_destination",
    52: "final_route",
    53: "routing_digits",
    57: "duration_ms",
}
SANSAY = tuple(_SANSAY_USED.get(n, f"field_{n}") for n in range(1, 60))


@dataclass(frozen=True)
class Preset:
    """How files of one kind are cut and mapped.

    `columns` are the file's in order; None: the first line is a header of canonical names.
    `canonical` maps canonical names to expressions over them; `keep` tells records to bill from
    others (filtered, not rejected); `stamps` is the time format; `whole_seconds`: the stamps
    have no fraction, so the switch's own duration counts; `zone_minutes_west` names a column
    of minutes west of GMT that stands for the source's zone.
    """

    columns: tuple[str, ...] | None
    separator: str = ","
    canonical: Mapping[str, pl.Expr] = field(default_factory=dict)
    keep: pl.Expr | None = None
    stamps: str = ISO
    at_least: bool = False
    zone_minutes_west: str | None = None


def preset_of(source: Source) -> Preset:
    """The preset that a source names, with its options; raises `BillingError` if unknown."""
    if source.preset not in _PRESETS:
        raise BillingError(
            f"source {source.source} names the preset {source.preset!r}",
            hint=f"there are {', '.join(sorted(_PRESETS))}",
        )
    return _PRESETS[source.preset](source)


def _canonical_csv(_: Source) -> Preset:
    return Preset(columns=None)


def _freeswitch(source: Source) -> Preset:
    extra = _names(source.options.get("extra_columns"))
    trunks = {name: pl.col(name) for name in ("in_trunk", "out_trunk") if name in extra}
    return Preset(
        columns=(*FREESWITCH[: int(str(source.options.get("columns", 15)))], *extra),
        canonical={
            "service": pl.lit("voice"),
            **trunks,
            "setup_time": pl.col("start_stamp"),
            "answer_time": pl.col("answer_stamp"),
            "end_time": pl.col("end_stamp"),
            "duration_ms": _seconds("billsec"),
            "a_number": pl.col("caller_id_number"),
            "b_number": pl.col("destination_number"),
            "status": pl.col("hangup_cause"),
            "call_id": pl.col("uuid"),
        },
    )


def _asterisk(source: Source) -> Preset:
    width = int(str(source.options.get("columns", 18)))
    if not 16 <= width <= len(ASTERISK):
        raise BillingError(f"source {source.source}: asterisk has 16 to 21 columns, not {width}")
    columns = ASTERISK[:width]
    answered = pl.col("disposition") == "ANSWERED"
    return Preset(
        columns=columns,
        canonical={
            "service": pl.lit("voice"),
            "in_trunk": _channel("channel"),
            "out_trunk": _channel("dstchannel"),
            "setup_time": pl.col("start"),
            "answer_time": pl.when(answered).then("answer"),
            "end_time": pl.col("end"),
            "duration_ms": pl.when(answered).then(_seconds("billsec")).otherwise(pl.lit("0")),
            "a_number": pl.col("src"),
            "b_number": pl.col("dst"),
            "status": pl.col("disposition"),
            **({"call_id": pl.col("uniqueid")} if "uniqueid" in columns else {}),
            **({"record_sequence": pl.col("sequence")} if "sequence" in columns else {}),
        },
    )


def _sansay(_: Source) -> Preset:
    return Preset(
        columns=SANSAY,
        separator=";",
        at_least=True,
        stamps="%a %b %d %H:%M:%S %Y",
        zone_minutes_west="minutes_west",
        keep=(pl.col("type") == "R") & (pl.col("final_route") == "F"),
        canonical={
            "service": pl.lit("voice"),
            "in_trunk": pl.col("orig_trunk"),
            "out_trunk": pl.col("term_trunk"),
            "setup_time": pl.col("start"),
            "answer_time": pl.when(pl.col("duration_ms") != "0").then("answer"),
            "end_time": pl.col("release"),
            "duration_ms": pl.col("duration_ms"),
            "a_number": pl.col("orig_source"),
            "b_number": pl.col("term_destination"),
            "status": pl.col("cause"),
            "call_id": pl.col("session"),
            "record_sequence": pl.col("sequence"),
        },
    )


def _seconds(column: str) -> pl.Expr:
    """Whole seconds of a switch as milliseconds, as text."""
    return (
        pl.when(pl.col(column).str.contains(r"^-?\d+$"))
        .then(pl.col(column) + "000")
        .otherwise(pl.col(column))
    )


def _channel(column: str) -> pl.Expr:
    """The peer's name in 'PJSIP/name-0000001a'."""
    return pl.col(column).str.extract(r"^[^/]+/(.+)-[0-9a-fA-F]+$", 1)


def _names(value: object) -> Sequence[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


_PRESETS: Mapping[str, Callable[[Source], Preset]] = {
    "canonical-csv": _canonical_csv,
    "canonical-jsonl": _canonical_csv,
    "freeswitch": _freeswitch,
    "asterisk": _asterisk,
    "sansay": _sansay,
}
