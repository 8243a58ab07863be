"""Presets of SIP servers and message gateways: Kamailio, OpenSIPS, Kannel (catalogue 1.6)."""

import re

import polars as pl

from billing_assets.intake.preset import Preset, chosen, names_of, own_names, required
from billing_assets.reference.sources import Source

ACC = ("id", "method", "from_tag", "to_tag", "callid", "sip_code", "sip_reason", "time")
KAMAILIO_EXTRA = ("src_user", "src_domain", "src_ip", "dst_ouser", "dst_user", "dst_domain")
"""The stock configuration's further columns."""

ACC_CDRS = ("id", "start_time", "end_time", "duration")
OPENSIPS = (*ACC, "duration", "setuptime", "created")

_FIELDS = ("a_number", "b_number", "in_trunk", "out_trunk", "call_id")
_NULLS = ("NULL", "\\N")
"""How exports of a database write an empty cell."""


def kamailio_acc(source: Source) -> Preset:
    """Table acc of Kamailio: a row for INVITE and one for BYE, which are joined to one call.

    A callee that hangs up sends its BYE with the tags the other way round, so the call is known
    by its id and both tags in a fixed order. An INVITE that failed is a call of its own. The
    further columns are those of the stock configuration, unless `extra_columns` names others.
    """
    extra = names_of(source, "extra_columns") or KAMAILIO_EXTRA
    columns = (*ACC, *extra)
    fields = {
        "a_number": pl.col("src_user"),
        "b_number": pl.col("dst_ouser"),
        "in_trunk": pl.col("src_ip"),
        "out_trunk": pl.col("dst_domain"),
    }
    made = {
        **{name: one for name, one in fields.items() if one.meta.root_names()[0] in columns},
        **own_names(extra),
        **chosen(source, columns, *_FIELDS),
    }
    required(source, made, "b_number", "in_trunk")
    begins, ends = pl.col("method") == "INVITE", pl.col("method") == "BYE"
    taken = pl.col("sip_code") == "200"
    one_call = begins & taken
    tags = [pl.col("from_tag").fill_null(""), pl.col("to_tag").fill_null("")]
    in_order = [pl.min_horizontal(tags), pl.max_horizontal(tags)]
    call = pl.concat_str("callid", pl.lit("|"), in_order[0], pl.lit("|"), in_order[1])
    return Preset(
        columns=columns,
        kind=pl.col("method"),
        nulls=_NULLS,
        foreign=~pl.col("method").str.contains("^[A-Z]{3,20}$").fill_null(False),
        passed_over=~(begins | (ends & taken)).fill_null(False),
        closing=ends,
        canonical={
            "service": pl.lit("voice"),
            # a BYE has the parties of its own side: those of the INVITE count
            **{name: pl.when(begins).then(one) for name, one in made.items()},
            "setup_time": pl.col("time"),
            "answer_time": pl.when(one_call | ends).then("time"),
            "end_time": pl.col("time"),
            "duration_ms": pl.lit("0"),
            "status": pl.col("sip_code"),
            "call_id": call,
            "part": pl.when(one_call).then(pl.lit("1")).when(ends).then(pl.lit("2")),
            "last_part": pl.when(ends).then(pl.lit("true")),
        },
    )


def kamailio_cdrs(source: Source) -> Preset:
    """Table acc_cdrs of Kamailio: a row a call, with the columns that cdr_extra adds.

    `extra_columns` names them in their order; those with canonical names are those fields, and
    the options a_number, b_number, in_trunk, out_trunk and call_id name others.
    """
    extra = names_of(source, "extra_columns")
    columns = (*ACC_CDRS, *extra)
    made = {**own_names(extra), **chosen(source, columns, *_FIELDS)}
    required(source, made, "b_number", "in_trunk")
    return Preset(
        columns=columns,
        nulls=_NULLS,
        unit_ms=1000,
        canonical={
            "service": pl.lit("voice"),
            "record_sequence": pl.col("id"),
            "setup_time": pl.col("start_time"),
            "answer_time": pl.col("start_time"),
            "end_time": pl.col("end_time"),
            "duration_ms": pl.col("duration"),
            **made,
        },
    )


def opensips_acc(source: Source) -> Preset:
    """Table acc of OpenSIPS with the flag cdr: a row a call, and the columns of extra_fields.

    `created` is the INVITE, `setuptime` the seconds to the 200 OK, `duration` those to the BYE.
    """
    extra = names_of(source, "extra_columns")
    columns = (*OPENSIPS, *extra)
    made = {**own_names(extra), **chosen(source, columns, *_FIELDS)}
    required(source, made, "b_number", "in_trunk")
    answered = pl.col("sip_code") == "200"
    return Preset(
        columns=columns,
        kind=pl.col("method"),
        nulls=_NULLS,
        unit_ms=1000,
        foreign=~pl.col("method").str.contains("^[A-Z]{3,20}$").fill_null(False),
        passed_over=pl.col("method") != "INVITE",
        answer_after=pl.when(answered).then("setuptime"),
        canonical={
            "service": pl.lit("voice"),
            "call_id": pl.concat_str("callid", pl.lit("|"), "from_tag"),
            "setup_time": pl.col("created"),
            "duration_ms": pl.when(answered).then("duration").otherwise(pl.lit("0")),
            "status": pl.col("sip_code"),
            **made,
        },
    )


def kannel(_: Source) -> Preset:
    """Kannel's access log: messages sent, received and failed; the text itself is never kept.

    A message is received from its SMSC, or sent by an account (or service) to one. Reports of
    delivery are passed over. Each part of a long message is a line of its own.
    """
    line = pl.col("line")

    def bracket(name: str) -> pl.Expr:
        return line.str.extract(rf"\[{name}:([^\]]*)\]", 1).replace("", None)

    kind = line.str.extract(r"^[0-9: -]{19} ([A-Za-z]+ ?[A-Za-z]* (?:SMS|DLR)) \[SMSC:", 1)
    received = kind == "Receive SMS"
    own_side = pl.coalesce(bracket("ACT"), bracket("SVC"))
    return Preset(
        columns=("line",),
        kind=line,
        separator="\x1f",
        quoted=False,
        redact=without_texts,
        foreign=kind.is_null(),
        passed_over=kind.str.contains("DLR").fill_null(False),
        canonical={
            "service": pl.lit("sms"),
            "in_trunk": pl.when(received).then(bracket("SMSC")).otherwise(own_side),
            "out_trunk": pl.when(received).then(own_side).otherwise(bracket("SMSC")),
            "setup_time": line.str.head(19),
            "a_number": bracket("from"),
            "b_number": bracket("to"),
            "quantity": pl.lit("1"),
            "status": kind.replace_strict(
                {"Receive SMS": "DELIVRD", "Sent SMS": "SENT"}, default="UNDELIV"
            ),
            "call_id": bracket("FID"),
        },
    )


def without_texts(content: bytes) -> bytes:
    """An access log without the texts of its messages, which may run over lines.

    >>> without_texts(b"[msg:5:hello] [udh:0:]")
    b'[msg:5:] [udh:0:]'
    """
    return _TEXT.sub(rb"[msg:\1:]", content)


_TEXT = re.compile(rb"\[msg:([0-9]+):.*?\](?= \[udh:[0-9]+:[^\]\n]*\]|\s*$)", re.DOTALL)
