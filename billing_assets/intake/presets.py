"""Presets: column orders of switches and how their columns become canonical ones (catalogue 1.6).

A preset names the file's columns and maps them, as expressions over text, to the canonical ones.
All stay text: `parse` reads stamps in the preset's format, and numbers by the source's rules.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import polars as pl

from billing_assets.core.errors import BillingError
from billing_assets.intake.times import ISO
from billing_assets.reference.sources import Source

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

ENCODINGS = ("utf-8", "latin-1")

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
)

_ASTERISK_OLD = ("uniqueid", "userfield")
"""Columns of the settings loguniqueid and loguserfield."""

_ASTERISK_NEW = ("peeraccount", "linkedid", "sequence")
"""Columns of the setting newcdrcolumns."""

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
    18: "orig_destination",
    33: "term_trunk",
    52: "final_route",
    57: "duration_ms",
}
SANSAY = tuple(_SANSAY_USED.get(n, f"field_{n}") for n in range(1, 60))


@dataclass(frozen=True)
class Preset:
    """How files of one kind are cut and mapped.

    `columns` are the file's in order; None: the file names canonical ones itself (a header, or
    the names of JSON objects). `canonical` maps canonical names to expressions over them.
    `foreign` tells rows that are no records of this kind at all (rejected), `passed_over` those
    that are records but not to be billed (filtered). `stamps` is the time format,
    `minutes_west` a column of minutes west of GMT that stands for the source's zone.
    `seconds`: the reported duration is in seconds, not milliseconds. `quoted`: fields may stand
    in quotes. `at_least`: newer releases append columns.
    """

    columns: tuple[str, ...] | None
    separator: str = ","
    canonical: Mapping[str, pl.Expr] = field(default_factory=dict)
    foreign: pl.Expr | None = None
    passed_over: pl.Expr | None = None
    stamps: str = ISO
    minutes_west: str | None = None
    seconds: bool = False
    quoted: bool = True
    at_least: bool = False
    objects: bool = False

    @property
    def used(self) -> set[str]:
        """The file's columns that something is made from."""
        made = [*self.canonical.values(), self.foreign, self.passed_over]
        names = {name for one in made if one is not None for name in one.meta.root_names()}
        return names | ({self.minutes_west} if self.minutes_west else set())


def preset_of(source: Source) -> Preset:
    """The preset that a source names, with its options.

    Raises `BillingError` for an unknown preset and for an option that it has not or cannot be.
    """
    if source.preset not in _PRESETS:
        raise BillingError(
            f"source {source.source} names the preset {source.preset!r}",
            hint=f"there are {', '.join(sorted(_PRESETS))}",
        )
    make, options = _PRESETS[source.preset]
    unknown = sorted(set(source.options) - {*options, "encoding"})
    if unknown:
        raise BillingError(
            f"source {source.source}: preset {source.preset} has no option {', '.join(unknown)}",
            hint=f"its options are {', '.join((*options, 'encoding'))}",
        )
    encoding_of(source)
    return make(source)


def encoding_of(source: Source) -> str:
    """The encoding of a source's files: UTF-8, or Latin-1 where its option says so."""
    encoding = source.options.get("encoding", "utf-8")
    if encoding not in ENCODINGS:
        raise BillingError(
            f"source {source.source}: encoding {encoding!r} is not {' or '.join(ENCODINGS)}"
        )
    return str(encoding)


def _canonical_csv(_: Source) -> Preset:
    return Preset(columns=None)


def _canonical_jsonl(_: Source) -> Preset:
    return Preset(columns=None, objects=True)


def _freeswitch(source: Source) -> Preset:
    """mod_cdr_csv, template `example` (15 columns) or `sql` (13), and the site's own columns.

    Local time in whole seconds without an offset, so `billsec` is the duration that counts.
    """
    extra = source.options.get("extra_columns", [])
    if not isinstance(extra, list):
        raise BillingError(f"source {source.source}: extra_columns is not a list of names")
    columns = (*FREESWITCH[: _freeswitch_width(source)], *extra)
    return Preset(
        columns=columns,
        seconds=True,
        canonical={
            "service": pl.lit("voice"),
            **{name: pl.col(name) for name in extra if name in (*CANONICAL, "switch")},
            **_trunks(source, columns),
            "setup_time": pl.col("start_stamp"),
            "answer_time": pl.col("answer_stamp"),
            "end_time": pl.col("end_stamp"),
            "duration_ms": pl.col("billsec"),
            "a_number": pl.col("caller_id_number"),
            "b_number": pl.col("destination_number"),
            "status": pl.col("hangup_cause"),
            "call_id": pl.col("uuid"),
        },
    )


def _asterisk(source: Source) -> Preset:
    """cdr_csv with 16 to 21 columns, by the switch's own settings.

    The option `columns` says how many; 17 and 20 have the unique id, unless `loguniqueid` is
    false: then the user field. Whole seconds, so `billsec` is the duration that counts. The
    trunk is the peer in the channel's name.
    """
    columns = _asterisk_columns(source)
    answered = pl.col("disposition") == "ANSWERED"
    return Preset(
        columns=columns,
        seconds=True,
        canonical={
            "service": pl.lit("voice"),
            "in_trunk": _channel("channel"),
            "out_trunk": _channel("dstchannel"),
            **_trunks(source, columns),
            "setup_time": pl.col("start"),
            "answer_time": pl.when(answered).then("answer"),
            "end_time": pl.col("end"),
            "duration_ms": pl.when(answered).then("billsec").otherwise(pl.lit("0")),
            "a_number": pl.col("src"),
            "b_number": pl.col("dst"),
            "status": pl.col("disposition"),
            **({"call_id": pl.col("uniqueid")} if "uniqueid" in columns else {}),
            **({"record_sequence": pl.col("sequence")} if "sequence" in columns else {}),
        },
    )


def _asterisk_columns(source: Source) -> tuple[str, ...]:
    """The columns of cdr_csv: its first 16, and those that the switch's settings add."""
    width = source.options.get("columns", 18)
    if width not in range(16, 22) or isinstance(width, bool):
        raise BillingError(f"source {source.source}: asterisk has 16 to 21 columns, not {width}")
    further = int(str(width)) - 16
    new = _ASTERISK_NEW if further >= len(_ASTERISK_NEW) else ()
    old = _ASTERISK_OLD[: further - len(new)]
    if len(old) == 1 and source.options.get("loguniqueid") is False:
        old = _ASTERISK_OLD[1:]
    return (*ASTERISK, *old, *new)


def _sansay(_: Source) -> Preset:
    """Sansay VSXi: 59 columns or more; only final routes (`R` with `F`) are records to bill.

    Stamps have whole seconds and minutes west of GMT beside them; the duration that counts is
    the switch's own in milliseconds. B is the number that the customer dialled.
    """
    kind, route = pl.col("type"), pl.col("final_route")
    return Preset(
        columns=SANSAY,
        separator=";",
        quoted=False,
        at_least=True,
        stamps="%a %b %d %H:%M:%S %Y",
        minutes_west="minutes_west",
        foreign=~(kind.is_in(["R", "A"]).fill_null(False)),
        passed_over=(kind == "A") | (route == "I").fill_null(False),
        canonical={
            "service": pl.lit("voice"),
            "in_trunk": pl.col("orig_trunk"),
            "out_trunk": pl.col("term_trunk"),
            "setup_time": pl.col("start"),
            "answer_time": pl.when(~pl.col("duration_ms").str.contains("^0+$")).then("answer"),
            "end_time": pl.col("release"),
            "duration_ms": pl.col("duration_ms"),
            "a_number": pl.col("orig_source"),
            "b_number": pl.col("orig_destination"),
            "status": pl.col("cause"),
            "call_id": pl.col("session"),
            "record_sequence": pl.col("sequence"),
        },
    )


def _freeswitch_width(source: Source) -> int:
    """The option `columns`: 15 of the template `example`, or 13 of `sql`."""
    width = source.options.get("columns", 15)
    if width not in (13, 15):
        raise BillingError(f"source {source.source}: freeswitch has 13 or 15 columns, not {width}")
    return int(str(width))


def _trunks(source: Source, columns: Collection[str]) -> dict[str, pl.Expr]:
    """Options in_trunk and out_trunk: the columns in which a site has its trunks."""
    chosen: dict[str, pl.Expr] = {}
    for name in ("in_trunk", "out_trunk"):
        column = source.options.get(name)
        if column is None:
            continue
        if column not in columns:
            raise BillingError(
                f"source {source.source}: {name} names the column {column!r}",
                hint=f"its columns are {', '.join(columns)}",
            )
        chosen[name] = pl.col(str(column))
    return chosen


def _channel(column: str) -> pl.Expr:
    """The peer's name in 'PJSIP/name-0000001a'."""
    channel = pl.col(column)
    # the serial number has eight digits; only others need the expression, which is slow
    usual = channel.str.tail(9).str.contains("^-[0-9a-fA-F]{8}$")
    name = channel.str.head(-9).str.slice(channel.str.find("/", literal=True) + 1)
    return (
        pl.when(usual & (channel.str.find("/", literal=True) > 0) & (name != ""))
        .then(name)
        .otherwise(channel.str.extract(r"^[^/]+/(.+)-[0-9a-fA-F]+$", 1))
    )


_PRESETS: Mapping[str, tuple[Callable[[Source], Preset], tuple[str, ...]]] = {
    "canonical-csv": (_canonical_csv, ()),
    "canonical-jsonl": (_canonical_jsonl, ()),
    "freeswitch": (_freeswitch, ("columns", "extra_columns", "in_trunk", "out_trunk")),
    "asterisk": (_asterisk, ("columns", "loguniqueid", "in_trunk", "out_trunk")),
    "sansay": (_sansay, ()),
}
