"""Usage to price without an installation: CSV or JSON lines with canonical names, as records.

Cells that cannot be read are refused by row, field and value; a number that is no number stays
empty, because the record then has a reason of its own. Nothing is guessed: a record without a
time, an answered call without a duration or a session without bytes is refused.
"""

import json
import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from billing_assets.core.errors import InputError, Problem
from billing_assets.core.sms import DELIVERED, encoding_of, segments_column, state_of
from billing_assets.intake.numbers import MAX_KEPT, as_integer, e164, kind_of
from billing_assets.intake.preset import CANONICAL
from billing_assets.intake.reading import numbered_lines, read_separated, unpack
from billing_assets.intake.rules import STAMPS
from billing_assets.intake.times import read_stamps, settle, to_utc
from billing_assets.lake.tables import UTC_TIME, XDR
from billing_assets.reference.models import Service
from billing_assets.reference.sources import Source

COLUMNS = (
    *CANONICAL,
    "switch",
    "start",
    "duration_s",
    "answered",
    "text_length",
    "encoding",
    "records",
)
"""Columns that a usage file may have: the canonical ones, and shorter ways to say the same.

`start` is the answer time (the setup time of an unanswered record), `duration_s` the duration in
seconds with up to three decimals; `text_length` and `encoding` give a message's segments;
`records` says how many equal records the row stands for.
"""

USAGE_SCHEMA = pl.Schema({"line": pl.Int64, "records": pl.Int64, **XDR.schema})
"""Columns of a usage frame: those of `xdr`, the file's line (from 1) and the records it stands
for."""

EARLIEST, BEYOND = datetime(1970, 1, 2, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)
"""Records begin and end from `EARLIEST` up to, and not including, `BEYOND`: with the days around
them that a rating plan covers, all types of time can hold these."""

MOST = 10**15
"""Most milliseconds, bytes, segments or events of a row with its records and parts: sums over
many rows keep within 64 bits."""

MOST_PARTS = 2**15 - 1
"""Most parts of a call: `parts` is a 16-bit number."""

_HALF = re.compile("[\ud800-\udfff]")
_STAMPS = ("start", "setup_time", "answer_time", "end_time")
_WHOLE = ("duration_ms", "quantity", "text_length", "part")
_OF_CALL = ("service", "a_number", "b_number", "in_trunk", "out_trunk", "switch", "records")
_SPAN = f"{EARLIEST:%Y-%m-%d} to {BEYOND - timedelta(days=1):%Y-%m-%d}"
_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")
_PLAIN = Source(source="usage", preset="canonical-csv", switch="usage")


def read_usage(
    content: bytes, name: str, *, services: Collection[str], zone: str = "UTC"
) -> pl.DataFrame:
    """Read a usage file into `USAGE_SCHEMA`.

    `services` are those of the agreements: with one alone, the file need not name it. `zone` is
    that of stamps without an offset. Raises `InputError` with the problems found.
    """
    text = _cells(unpack(content, name), name)
    if text.is_empty():
        raise _refused([Problem("holds no record", name)])
    text = text.with_columns(
        pl.lit(None, pl.String).alias(c) for c in COLUMNS if c not in text.columns
    ).with_columns(pl.col(COLUMNS).str.strip_chars().replace("", None))
    if len(services) == 1:
        text = text.with_columns(pl.col("service").fill_null(next(iter(services))))
    problems: list[Problem] = []
    _check(text, name, zone, problems)
    if problems:
        raise _refused(problems)
    text = _timed(text, zone)
    _check_times(text, name, problems)
    _check_calls(text, name, problems)
    if problems:
        raise _refused(problems)
    calls = _whole_calls(_records(text))
    _check_sums(calls, text, name, problems)
    if problems:
        raise _refused(problems)
    return calls.cast(USAGE_SCHEMA)


def _refused(problems: list[Problem], hint: str = "") -> InputError:
    return InputError("cannot read the usage", problems, hint=hint)


def _cells(content: bytes, name: str) -> pl.DataFrame:
    """Text columns by name, and `line`; raises `InputError` for what is no table of them."""
    if content.lstrip()[:1] in (b"{", b"["):
        return _json_cells(content, name)
    lines = numbered_lines(content)
    header = [cell.strip().strip('"').lower() for cell in lines["payload"][0].split(",")]
    _refuse_unknown(header, name, int(lines["row"][0]))
    read = read_separated(lines[1:], header, ",")
    if not read.ragged.is_empty():
        problems = []
        for row, payload, found in read.ragged.iter_rows():
            message = f"has {found} columns, the header {len(header)}"
            if found is None:
                message = "has quotes that do not enclose a whole cell"
            problems.append(Problem(message, name, row, "", payload))
        raise _refused(problems)
    return read.columns.drop("payload").rename({"row": "line"})


def _json_cells(content: bytes, name: str) -> pl.DataFrame:
    """An object a line, or one array of objects; values become text without passing a float."""
    text = content.decode("utf-8")
    if text.lstrip().startswith("["):
        rows = list(enumerate(_parsed(text, name), start=1))
    else:
        rows = [
            (number, _parsed(line, name, number))
            for number, line in enumerate(text.split("\n"), start=1)
            if line.strip()
        ]
    wrong = [number for number, row in rows if not isinstance(row, tuple)]
    if wrong:
        raise _refused([Problem("is not a JSON object", name, number) for number in wrong])
    for number, row in rows:
        _refuse_unknown([key.lower() for key, _ in row], name, number)
    problems = [
        Problem(message, name, number, key.lower(), shown)
        for number, row in rows
        for key, value in row
        for message, shown in _no_cell(value)
    ]
    if problems:
        raise _refused(problems)

    def cell(value: object) -> str | None:
        if value is None:
            return None
        return str(value).lower() if isinstance(value, bool) else str(value)

    return pl.DataFrame(
        [{"line": n, **{k.lower(): cell(v) for k, v in row}} for n, row in rows],
        schema={"line": pl.Int64, **dict.fromkeys(COLUMNS, pl.String)},
    )


def _parsed(text: str, name: str, row: int | None = None) -> Any:
    """What JSON says: an object as a tuple of its pairs, a number as it is written.

    Raises `InputError` at `row`, or without one at the line of the text.
    """
    try:
        return json.loads(text, object_pairs_hook=tuple, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        raise _refused([Problem(f"is not JSON: {error.msg}", name, row or error.lineno)]) from error
    except RecursionError as error:
        begins = text.count("\n", 0, len(text) - len(text.lstrip())) + 1
        raise _refused([Problem("is nested too deeply", name, row or begins)]) from error


def _no_cell(value: object) -> list[tuple[str, str]]:
    """Why a JSON value cannot be a cell, and how to show it; empty where it can."""
    if isinstance(value, list):
        return [("is a list, not one value", "[...]")]
    if isinstance(value, tuple):
        return [("is an object, not one value", "{...}")]
    if isinstance(value, str) and not value.isascii() and _HALF.search(value):
        return [("has half of a surrogate pair, which is no character", value)]
    return []


def _refuse_unknown(names: list[str], file: str, row: int) -> None:
    problems = [
        Problem("is not a column of usage", file, row, "column", name)
        for name in names
        if name not in COLUMNS
    ]
    problems += [
        Problem("stands twice", file, row, "column", name)
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if "duration_s" in names and "duration_ms" in names:
        problems.append(Problem("give duration_s or duration_ms, not both", file, row, "column"))
    if problems:
        raise _refused(problems, f"columns are {', '.join(COLUMNS)}")


def _check(text: pl.DataFrame, name: str, zone: str, problems: list[Problem]) -> None:
    """Every cell that cannot be read, and every record that lacks what it needs."""
    report = _reporter(text, name, problems)
    voice, data = (pl.col("service") == one.value for one in (Service.VOICE, Service.DATA))
    answered = ~_said_no()
    report(pl.col("service").is_null(), "service", "is missing: the agreements have several")
    report(
        ~pl.col("service").is_in([one.value for one in Service]),
        "service",
        f"is not {', '.join(Service)}",
    )
    for stamp in _STAMPS:
        at, local = to_utc(pl.col(stamp), zone), to_utc(pl.col(stamp), "UTC")
        report(
            pl.col(stamp).is_not_null() & local.is_null(),
            stamp,
            "is not a time such as 2026-03-10T12:00:00Z",
        )
        skipped = at.is_null() & local.is_not_null()
        report(skipped, stamp, f"is skipped by {zone}: clocks go forward")
        report(~at.is_between(EARLIEST, BEYOND, closed="left"), stamp, f"is outside {_SPAN}")
    for whole in _WHOLE:
        report(~pl.col(whole).str.contains(r"^[0-9]+$"), whole, "is not a whole number")
        report(pl.col(whole).str.contains(r"^[0-9]{16,}$"), whole, "has more than 15 digits")
    report(
        ~pl.col("routing_number").str.contains(r"^[0-9]{1,15}$"),
        "routing_number",
        "is not 1 to 15 digits alone: a routing number is in international form, without + or "
        "blanks",
    )
    report(
        pl.col("routing_number").str.starts_with("0"),
        "routing_number",
        "begins with 0: a routing number is in international form, digits alone",
    )
    report(
        ~pl.col("serving_network").str.contains(r"^[0-9]{5,6}$"),
        "serving_network",
        "is not MCC and MNC, 5 or 6 digits alone",
    )
    report(
        pl.col("serving_network").str.starts_with("0"),
        "serving_network",
        "begins with 0: no mobile country code does",
    )
    report(
        ~pl.col("duration_s").str.contains(r"^[0-9]{1,9}(\.[0-9]{1,3})?$"),
        "duration_s",
        "is not a duration in seconds with at most three decimals",
    )
    report(
        ~pl.col("answered").str.to_lowercase().is_in([*_YES, *_NO]), "answered", "is not yes or no"
    )
    report(
        ~pl.col("records").str.contains(r"^[1-9][0-9]{0,8}$"),
        "records",
        "is not a count of records",
    )
    known = [word for word in text["encoding"].drop_nulls().unique() if _encoding(word)]
    report(~pl.col("encoding").is_in(known), "encoding", "is not GSM7 or UCS2")
    report(
        pl.col("text_length").is_not_null() & pl.col("encoding").is_null(),
        "encoding",
        "is missing beside text_length",
    )
    no_time = pl.all_horizontal(pl.col(s).is_null() for s in ("start", "setup_time", "answer_time"))
    report(no_time, "start", "is missing: a record needs its time")
    begun = pl.col("start").is_not_null() | pl.col("answer_time").is_not_null()
    said = pl.col("answered").is_not_null()
    report(voice & said & answered & ~begun, "answer_time", "is missing from an answered call")
    measured = pl.any_horizontal(
        pl.col(c).is_not_null() for c in ("duration_ms", "duration_s", "end_time")
    )
    report(
        voice & answered & begun & ~measured,
        "duration_s",
        "is missing: give duration_s, duration_ms or end_time",
    )
    lasts = pl.any_horizontal(
        pl.col(c).fill_null("0").str.contains("[1-9]") for c in ("duration_ms", "duration_s")
    )
    report(
        voice & ~said & ~begun & lasts,
        "answer_time",
        "is missing, so the call is unanswered, but it has a duration",
    )
    report(data & pl.col("quantity").is_null(), "quantity", "is missing: bytes of the session")
    report(
        pl.col("part").is_not_null() & pl.col("call_id").is_null(),
        "call_id",
        "is missing from a part of a call",
    )


def _reporter(
    text: pl.DataFrame, name: str, problems: list[Problem]
) -> Callable[[pl.Expr, str, str], None]:
    """A function that adds a problem for every row in which something holds of a field."""

    def report(bad: pl.Expr, field: str, message: str) -> None:
        for line, value in text.filter(bad.fill_null(False)).select("line", field).iter_rows():
            problems.append(Problem(message, name, line, field, value or ""))

    return report


def _said_no() -> pl.Expr:
    """Whether a row says that its record was not answered."""
    return pl.col("answered").str.to_lowercase().is_in(_NO).fill_null(False)


def _unanswered() -> pl.Expr:
    """Whether a row is a call of which it says that it was not answered."""
    return (pl.col("service") == Service.VOICE.value) & _said_no()


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
        pl.when(_unanswered())
        .then(pl.coalesce(set_up, begun))
        .otherwise(pl.coalesce(begun, set_up))
        .alias("_begin"),
        lasts.alias("_lasts"),
    )


def _check_times(text: pl.DataFrame, name: str, problems: list[Problem]) -> None:
    """Every record (columns of `_timed`) whose stamps are out of order, or that ends too late."""
    report = _reporter(text, name, problems)
    called = (pl.col("service") == Service.VOICE.value) & ~_unanswered()
    late = pl.col("_set_up") > pl.col("_begun")
    report(late & called, "setup_time", "is after the call was answered")
    report(late & ~called, "setup_time", "is after its start")
    report(
        pl.col("_begun").is_null() & (pl.col("_set_up") > pl.col("_ended")),
        "setup_time",
        "is after its end",
    )
    report(pl.col("_begun") > pl.col("_ended"), "end_time", "is before the record begins")
    ends = pl.col("_begin") + pl.duration(milliseconds="_lasts")
    for field in ("duration_ms", "duration_s"):
        told = pl.col(field).is_not_null()
        report(told & (ends >= BEYOND), field, f"ends the record outside {_SPAN}")


def _check_calls(text: pl.DataFrame, name: str, problems: list[Problem]) -> None:
    """Every call whose parts differ in what tells calls apart, are not 1 to n, or run backwards."""
    parts = (
        text.filter(pl.col("part").is_not_null())
        .with_columns(pl.col("part").cast(pl.Int64))
        .sort("part", "line")
    )
    said = {
        **{field: pl.col(field) for field in _OF_CALL},
        "a_number": e164(pl.col("a_number"), pl.col("in_trunk"), _PLAIN),
        "b_number": e164(pl.col("b_number"), pl.col("in_trunk"), _PLAIN),
        "switch": pl.col("switch").fill_null(_PLAIN.switch),
        "records": pl.col("records").fill_null("1"),
    }
    cells = pl.concat(
        parts.select(
            "call_id",
            "line",
            pl.lit(field).alias("field"),
            pl.col(field).alias("value"),
            pl.col("part").first().over("call_id").alias("first"),
            pl.col(field).first().over("call_id").alias("first_value"),
            one.ne_missing(one.first().over("call_id")).alias("differs"),
        )
        for field, one in said.items()
    )
    mixed = (
        cells.filter("differs")
        .unique("call_id", keep="first", maintain_order=True)
        .sort("line", maintain_order=True)
    )
    for _, line, field, value, first, first_value, _ in mixed.iter_rows():
        message = f"is not that of part {first} ({first_value or 'empty'})"
        problems.append(Problem(message, name, line, field, value or ""))
    number = pl.col("part")
    torn = (
        parts.join(mixed, on="call_id", how="anti", maintain_order="left")
        .group_by("call_id", maintain_order=True)
        .agg(
            pl.col("line").first(),
            (pl.len() > MOST_PARTS).alias("many"),
            (
                (number.max() != pl.len()) | (number.min() != 1) | (number.n_unique() != pl.len())
            ).alias("torn"),
        )
        .filter(pl.col("many") | pl.col("torn"))
    )
    for call, line, many, _ in torn.iter_rows():
        message = "is not parts 1 to n, each once"
        if many:
            message = f"has more than {MOST_PARTS:,} parts"
        problems.append(Problem(message, name, line, "call_id", call))
    stamps = ("answer_time", "start", "setup_time")
    filled = (pl.when(pl.col(one).is_not_null()).then(pl.lit(one)) for one in stamps)
    backwards = (
        parts.join(pl.concat([mixed.select("call_id"), torn.select("call_id")]), "call_id", "anti")
        .sort("part")
        .filter(pl.col("_begin") < pl.col("_begin").shift().over("call_id"))
        .unique("call_id", keep="first", maintain_order=True)
        .sort("line")
        .select("line", pl.coalesce(filled), pl.coalesce(stamps).alias("value"), "part")
    )
    for line, field, value, part in backwards.iter_rows():
        problems.append(Problem(f"is before part {part - 1} begins", name, line, field, value))


def _check_sums(
    calls: pl.DataFrame, text: pl.DataFrame, name: str, problems: list[Problem]
) -> None:
    """Every call that measures more than `MOST`, at the cell that says so."""
    message = f"is more than 10^{len(str(MOST)) - 1}"
    for measure, unit, written in (
        ("duration_ms", " ms", ("duration_ms", "duration_s", "end_time")),
        ("quantity", "", ("quantity", "text_length")),
    ):
        large = calls.filter(pl.col(measure) * pl.col("records") > MOST)["line"]
        fields = (pl.when(pl.col(one).is_not_null()).then(pl.lit(one)) for one in written)
        cells = text.filter(pl.col("line").is_in(large.implode())).select(
            "line",
            pl.coalesce(*fields, pl.lit(measure)).alias("field"),
            pl.coalesce(*written, pl.lit("")).alias("value"),
        )
        for line, where, value in cells.iter_rows():
            problems.append(
                Problem(f"{message}{unit} with its records and parts", name, line, where, value)
            )


def _encoding(word: str) -> str | None:
    try:
        return encoding_of(word).value
    except ValueError:
        return None


def _records(text: pl.DataFrame) -> pl.DataFrame:
    """Checked text (columns of `_timed`) as records, with `call_id` and `part`."""
    sms = pl.col("service") == Service.SMS.value
    words = {word: _encoding(word) for word in text["encoding"].drop_nulls().unique()}
    # a file that tells no delivery states asks what delivered messages cost
    told = text["status"].is_not_null().any()
    state = state_of(pl.col("status")) if told else pl.lit(DELIVERED)
    begin = pl.col("_begin")
    frame = text.with_columns(
        *(pl.col(whole).cast(pl.Int64) for whole in (*_WHOLE, "routing_number")),
        pl.col("encoding").replace_strict(words, default=None, return_dtype=pl.String),
        e164(pl.col("a_number"), pl.col("in_trunk"), _PLAIN).alias("_a"),
        e164(pl.col("b_number"), pl.col("in_trunk"), _PLAIN).alias("_b"),
        pl.coalesce("_set_up", begin).alias("setup_time"),
        pl.when(pl.col("service") != Service.VOICE.value)
        .then(begin)
        .when(~_said_no())
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
        pl.col("switch").fill_null(_PLAIN.switch),
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
