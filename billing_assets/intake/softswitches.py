"""Presets of switches that write files: FreeSWITCH, Asterisk, Sansay, Ribbon, Oracle (1.6)."""

from datetime import datetime
from zoneinfo import ZoneInfo

import polars as pl

from billing_assets.core.errors import BillingError
from billing_assets.intake.preset import Preset, chosen, names_of, own_names, required
from billing_assets.reference.sources import Source

FREESWITCH = {
    "example": (
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
    ),
    "asterisk": (
        "accountcode",
        "caller_id_number",
        "destination_number",
        "context",
        "caller_id",
        "channel_name",
        "bridge_channel",
        "last_app",
        "last_arg",
        "start_stamp",
        "answer_stamp",
        "end_stamp",
        "duration",
        "billsec",
        "hangup_cause",
        "amaflags",
        "uuid",
        "userfield",
    ),
}
FREESWITCH["sql"] = FREESWITCH["example"][:13]
"""Columns of mod_cdr_csv by template."""

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

ASTERISK_CUSTOM = (
    "clid",
    *ASTERISK[1:4],
    *ASTERISK[5:],
    "accountcode",
    "uniqueid",
    "userfield",
    "sequence",
)
"""Columns of the sample Master.csv of cdr_custom."""

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

_RIBBON_USED = {
    1: "type",
    2: "gateway",
    3: "accounting_id",
    5: "node_zone",
    6: "start_date",
    7: "start_time",
    10: "ticks_to_answer",
    11: "end_date",
    12: "end_time",
    14: "ticks",
    15: "reason",
    17: "attempt_calling",
    18: "attempt_called",
    20: "calling",
    21: "called",
}
_RIBBON_MOST = 400

_ORACLE = (
    "status",
    "nas_ip",
    "nas_port",
    "accounting_session",
    "ingress_session",
    "egress_session",
    "protocol",
    "forked_call",
    "generic_id",
    "calling",
    "called",
    "terminate_cause",
    "session_time",
    "setup",
    "connect",
    "disconnect",
    "disconnect_cause",
    "egress_interface",
    "egress_vlan",
    "ingress_interface",
    "ingress_vlan",
    "egress_realm",
    "ingress_realm",
    "flow",
)
_NEVER = "00:00:00.000 "
"""How a stamp begins that stands for no time at all: the first moment of 1970."""


def freeswitch(source: Source) -> Preset:
    """mod_cdr_csv by the option `template` (example, sql, asterisk), and the site's own columns.

    Local time in whole seconds without an offset, so `billsec` is the duration that counts.
    """
    template = source.options.get("template", "example")
    if template not in FREESWITCH:
        raise BillingError(
            f"source {source.source}: freeswitch has no template {template!r}",
            hint=f"there are {', '.join(FREESWITCH)}",
        )
    extra = names_of(source, "extra_columns")
    columns = (*FREESWITCH[str(template)], *extra)
    return Preset(
        columns=columns,
        unit_ms=1000,
        canonical={
            "service": pl.lit("voice"),
            **own_names(extra),
            **chosen(source, columns, "in_trunk", "out_trunk"),
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


def asterisk(source: Source) -> Preset:
    """cdr_csv with 16 to 21 columns, by the switch's own settings.

    The option `columns` says how many; 17 and 20 have the unique id, unless `loguniqueid` is
    false: then the user field. Whole seconds, so `billsec` is the duration that counts. The
    trunk is the peer in the channel's name.
    """
    return _of_asterisk(source, _asterisk_columns(source))


def asterisk_custom(source: Source) -> Preset:
    """cdr_custom with the columns of its sample Master.csv, which stand in another order."""
    return _of_asterisk(source, ASTERISK_CUSTOM)


def _of_asterisk(source: Source, columns: tuple[str, ...]) -> Preset:
    answered = pl.col("disposition") == "ANSWERED"
    return Preset(
        columns=columns,
        unit_ms=1000,
        canonical={
            "service": pl.lit("voice"),
            "in_trunk": _channel("channel"),
            "out_trunk": _channel("dstchannel"),
            **chosen(source, columns, "in_trunk", "out_trunk"),
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


def sansay(_: Source) -> Preset:
    """Sansay VSXi: 59 columns or more; only final routes (`R` with `F`) are records to bill.

    A route that is neither final nor intermediate is refused. Stamps have whole seconds and
    minutes west of GMT beside them; the duration that counts is the switch's own in milliseconds.
    B is the number that the customer dialled.
    """
    kind, route, duration = pl.col("type"), pl.col("final_route"), pl.col("duration_ms")
    return Preset(
        columns=SANSAY,
        separator=";",
        quoted=False,
        fewest=len(SANSAY),
        stamps="%a %b %d %H:%M:%S %Y",
        minutes_west="minutes_west",
        kind=pl.concat_str(kind, route, separator=" ", ignore_nulls=True),
        foreign=~((kind == "A") | ((kind == "R") & route.is_in(["F", "I"]))).fill_null(False),
        passed_over=(kind == "A") | (route == "I").fill_null(False),
        canonical={
            "service": pl.lit("voice"),
            "in_trunk": pl.col("orig_trunk"),
            "out_trunk": pl.col("term_trunk"),
            "setup_time": pl.col("start"),
            "answer_time": pl.when(duration.str.contains("^0+$").not_().fill_null(True)).then(
                "answer"
            ),
            "end_time": pl.col("release"),
            # an answered call that does not say how long it lasted is refused
            "duration_ms": pl.when(pl.col("answer").is_not_null())
            .then(duration.fill_null(""))
            .otherwise(duration),
            "a_number": pl.col("orig_source"),
            "b_number": pl.col("orig_destination"),
            "status": pl.col("cause"),
            "call_id": pl.col("session"),
            "record_sequence": pl.col("sequence"),
        },
    )


def ribbon(source: Source) -> Preset:
    """Ribbon (Sonus) SBC Core ACT files: STOP and ATTEMPT are records; others tell no whole call.

    Rows have hundreds of columns, named field_N past the first 22; the options `in_trunk` and
    `out_trunk` say where a release has its trunk groups. Ticks are of 10 ms; times are local.
    """
    columns = tuple(_RIBBON_USED.get(n, f"field_{n}") for n in range(1, _RIBBON_MOST + 1))
    trunks = chosen(source, columns, "in_trunk", "out_trunk")
    required(source, trunks, "in_trunk")
    kind, stop = pl.col("type"), pl.col("type") == "STOP"

    def moment(day: str, time: str) -> pl.Expr:
        return pl.concat_str(pl.col(day), pl.lit(" "), pl.col(time))

    return Preset(
        columns=columns,
        fewest=1,
        stamps="%m/%d/%Y %H:%M:%S%.f",
        unit_ms=10,
        foreign=~kind.is_in(["STOP", "ATTEMPT", *_RIBBON_OTHERS]).fill_null(False),
        passed_over=kind.is_in(list(_RIBBON_OTHERS)).fill_null(False),
        answer_after=pl.when(stop).then("ticks_to_answer"),
        canonical={
            "service": pl.lit("voice"),
            **trunks,
            "setup_time": moment("start_date", "start_time"),
            "end_time": pl.when(stop).then(moment("end_date", "end_time")),
            "duration_ms": pl.when(stop).then("ticks"),
            "a_number": pl.when(stop).then("calling").otherwise("attempt_calling"),
            "b_number": pl.when(stop).then("called").otherwise("attempt_called"),
            "status": pl.when(stop).then("reason").otherwise("end_time"),
            "call_id": pl.concat_str("gateway", pl.lit("/"), "accounting_id"),
        },
    )


_RIBBON_OTHERS = ("START", "INTERMEDIATE", "REBOOT", "SWITCHOVER", "SW_CHANGE")


def oracle(source: Source) -> Preset:
    """Oracle (Acme Packet) local CDR files: rows of status 2 (Stop), 24 columns or more.

    Stamps name their zone ('15:54:56.868 PST DEC 18 2017'): it must be the source's, and tells
    winter from summer time. Numbers are those in the SIP URIs; trunks are realms.
    """
    status, offsets = pl.col("status"), _offsets(source.zone)
    uri = r"(?i)(?:sips?|tel):([^@;>\"]+)"

    def stamp(name: str) -> pl.Expr:
        text = pl.col(name)
        zone = text.str.extract(r"^\S+ (\S+) ", 1)
        offset = zone.replace_strict(offsets, default=None, return_dtype=pl.String)
        never = text.str.starts_with(_NEVER) & text.str.ends_with(" 1970")
        made = pl.concat_str(
            text.str.extract(r"^(\S+) ", 1),
            pl.lit(" "),
            offset,
            pl.lit(" "),
            text.str.extract(r"^\S+ \S+ (.*)$", 1),
        )
        return pl.when(~never).then(pl.coalesce(made, text))

    def number(name: str) -> pl.Expr:
        return pl.coalesce(pl.col(name).str.extract(uri, 1), pl.col(name))

    return Preset(
        columns=_ORACLE,
        kind=status,
        fewest=len(_ORACLE),
        stamps="%H:%M:%S%.f %z %b %d %Y",
        unit_ms=1000,
        foreign=~status.is_in(["1", "2", "3"]).fill_null(False),
        passed_over=status.is_in(["1", "3"]).fill_null(False),
        canonical={
            "service": pl.lit("voice"),
            "in_trunk": pl.col("ingress_realm"),
            "out_trunk": pl.col("egress_realm"),
            "setup_time": stamp("setup"),
            "answer_time": stamp("connect"),
            "end_time": stamp("disconnect"),
            "duration_ms": pl.col("session_time"),
            "a_number": number("calling"),
            "b_number": number("called"),
            "status": pl.coalesce("disconnect_cause", "terminate_cause"),
            "call_id": pl.coalesce("ingress_session", "accounting_session"),
        },
    )


def _offsets(zone: str) -> dict[str, str]:
    """Offsets of a zone's winter and summer time by their names, as stamps have them."""
    place = ZoneInfo(zone)
    times = [datetime(2026, month, 1, tzinfo=place) for month in (1, 7)]
    named = {f"{time:%Z}": f"{time:%z}" for time in times}
    return named | ({"UTC": "+0000", "GMT": "+0000"} if "UTC" in named else {})
