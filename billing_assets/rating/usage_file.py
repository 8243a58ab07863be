"""Usage to price without an installation: CSV or JSON lines with canonical names, as records.

Cells that cannot be read are refused by row, field and value; a number that is no number stays
empty, because the record then has a reason of its own. Nothing is guessed: a record without a
time, an answered call without a duration or a session without bytes is refused.
"""

import json
from collections.abc import Collection

import polars as pl

from billing_assets.core.errors import InputError, Problem
from billing_assets.core.sms import encoding_of, segments_column
from billing_assets.intake.numbers import MAX_KEPT, as_integer, e164, kind_of
from billing_assets.intake.preset import CANONICAL
from billing_assets.intake.reading import numbered_lines, read_separated, unpack
from billing_assets.intake.times import to_utc
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

_STAMPS = ("start", "setup_time", "answer_time", "end_time")
_WHOLE = ("duration_ms", "routing_number", "serving_network", "quantity", "text_length", "part")
_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")
_PLAIN = Source(source="usage", preset="canonical-csv", switch="usage")


def read_usage(
    content: bytes, name: str, *, services: Collection[str], zone: str = "UTC"
) -> pl.DataFrame:
    """Read a usage file into `USAGE_SCHEMA`.

    `services` are those of the agreements: with one alone, the file need not name it. `zone` is
    that of stamps without an offset. Raises `InputError` with every problem found.
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
    records = _whole_calls(_records(text, zone), name, problems)
    if problems:
        raise _refused(problems)
    return records


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
        raise _refused(
            [
                Problem(f"has {found} columns, the header {len(header)}", name, row, "", payload)
                for row, payload, found in read.ragged.iter_rows()
            ]
        )
    return read.columns.drop("payload").rename({"row": "line"})


def _json_cells(content: bytes, name: str) -> pl.DataFrame:
    """An object a line, or one array of objects; values become text without passing a float."""
    text = content.decode("utf-8")
    try:
        if text.lstrip().startswith("["):
            rows = list(enumerate(json.loads(text, parse_float=str), start=1))
        else:
            rows = [
                (number, json.loads(line, parse_float=str))
                for number, line in enumerate(text.split("\n"), start=1)
                if line.strip()
            ]
    except json.JSONDecodeError as error:
        raise _refused([Problem(f"is not JSON: {error.msg}", name, error.lineno)]) from error
    wrong = [number for number, row in rows if not isinstance(row, dict)]
    if wrong:
        raise _refused([Problem("is not a JSON object", name, number) for number in wrong])
    for number, row in rows:
        _refuse_unknown([key.lower() for key in row], name, number)

    def cell(value: object) -> str | None:
        if value is None:
            return None
        return str(value).lower() if isinstance(value, bool) else str(value)

    return pl.DataFrame(
        [{"line": n, **{k.lower(): cell(v) for k, v in row.items()}} for n, row in rows],
        schema={"line": pl.Int64, **dict.fromkeys(COLUMNS, pl.String)},
    )


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

    def report(bad: pl.Expr, field: str, message: str) -> None:
        for line, value in text.filter(bad.fill_null(False)).select("line", field).iter_rows():
            problems.append(Problem(message, name, line, field, value or ""))

    voice, data = (pl.col("service") == one.value for one in (Service.VOICE, Service.DATA))
    answered = ~pl.col("answered").str.to_lowercase().is_in(_NO).fill_null(False)
    report(pl.col("service").is_null(), "service", "is missing: the agreements have several")
    report(
        ~pl.col("service").is_in([one.value for one in Service]),
        "service",
        f"is not {', '.join(Service)}",
    )
    for stamp in _STAMPS:
        report(
            pl.col(stamp).is_not_null() & to_utc(pl.col(stamp), zone).is_null(),
            stamp,
            "is not a time such as 2026-03-10T12:00:00Z",
        )
    for whole in _WHOLE:
        report(~pl.col(whole).str.contains(r"^[0-9]{1,15}$"), whole, "is not a whole number")
    report(
        ~pl.col("serving_network").str.contains(r"^[0-9]{5,6}$"),
        "serving_network",
        "is not MCC and MNC digits",
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
    begin = to_utc(pl.coalesce("answer_time", "start", "setup_time"), zone)
    report(to_utc(pl.col("end_time"), zone) < begin, "end_time", "is before the record begins")


def _encoding(word: str) -> str | None:
    try:
        return encoding_of(word).value
    except ValueError:
        return None


def _records(text: pl.DataFrame, zone: str) -> pl.DataFrame:
    """Checked text as records, with `call_id` and `part`."""
    voice = pl.col("service") == Service.VOICE.value
    no = pl.col("answered").str.to_lowercase().is_in(_NO).fill_null(False)
    words = {word: _encoding(word) for word in text["encoding"].drop_nulls().unique()}
    frame = text.with_columns(
        *(to_utc(pl.col(stamp), zone).alias(stamp) for stamp in _STAMPS),
        *(pl.col(whole).cast(pl.Int64).alias(whole) for whole in _WHOLE),
        (pl.col("duration_s").cast(pl.Decimal(15, 3)) * 1000).cast(pl.Int64).alias("_ms"),
        pl.col("encoding").replace_strict(words, default=None, return_dtype=pl.String),
        e164(pl.col("a_number"), pl.col("in_trunk"), _PLAIN).alias("_a"),
        e164(pl.col("b_number"), pl.col("in_trunk"), _PLAIN).alias("_b"),
    )
    answer = pl.coalesce("answer_time", "start")
    frame = frame.with_columns(
        pl.coalesce("setup_time", answer).alias("setup_time"),
        pl.when(~voice)
        .then(pl.coalesce(answer, "setup_time"))
        .when(~no)
        .then(answer)
        .alias("answer_time"),
    )
    delivered = (pl.col("service") != Service.SMS.value) | pl.col("status").fill_null(
        "DELIVRD"
    ).str.to_uppercase().is_in(["DELIVRD", "DELIVERED"])
    frame = frame.with_columns((pl.col("answer_time").is_not_null() & delivered).alias("answered"))
    elapsed = (pl.col("end_time") - pl.col("answer_time")).dt.total_milliseconds()
    frame = frame.with_columns(
        pl.when("answered")
        .then(pl.coalesce("duration_ms", "_ms", elapsed, pl.lit(0)))
        .otherwise(0)
        .alias("duration_ms")
    )
    digits = pl.col("_b").str.contains(r"^[1-9][0-9]{0,14}$")
    begin = pl.coalesce("answer_time", "setup_time")
    if text["status"].is_null().all():
        # a file that tells no delivery states asks what delivered messages cost
        sms = pl.col("service") == Service.SMS.value
        frame = frame.with_columns(pl.when(sms).then(pl.lit("DELIVRD")).alias("status"))
    return frame.select(
        "line",
        pl.col("records").cast(pl.Int64).fill_null(1),
        "call_id",
        "part",
        begin.dt.date().alias("day"),
        pl.col("line").alias("record_id"),
        "service",
        pl.col("switch").fill_null("usage"),
        "in_trunk",
        "out_trunk",
        "setup_time",
        "answer_time",
        pl.coalesce("end_time", begin + pl.duration(milliseconds=pl.col("duration_ms"))).alias(
            "end_time"
        ),
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


def _whole_calls(records: pl.DataFrame, name: str, problems: list[Problem]) -> pl.DataFrame:
    """Put the parts of a call together: durations add up, fees come once (A23)."""
    names = USAGE_SCHEMA.names()
    parts = records.filter(pl.col("part").is_not_null()).sort("part")
    whole = records.filter(pl.col("part").is_null()).select(names)
    numbers = pl.col("part")
    torn = parts.group_by("call_id", maintain_order=True).agg(
        pl.col("line").first(),
        ((numbers.min() != 1) | (numbers.max() != pl.len()) | numbers.is_duplicated().any()).alias(
            "torn"
        ),
    )
    for call, line, _ in torn.filter("torn").iter_rows():
        problems.append(Problem("is not parts 1 to n, each once", name, line, "call_id", call))
    taken = {
        "duration_ms": pl.col("duration_ms").sum(),
        "end_time": pl.col("end_time").last(),
        "answered": pl.col("answered").any(),
        "status": pl.col("status").last(),
        "parts": pl.len().cast(pl.Int16),
    }
    merged = parts.group_by("call_id", maintain_order=True).agg(
        taken.get(column, pl.col(column).first()).alias(column) for column in names
    )
    return pl.concat([whole, merged.select(names)]).sort("line").cast(USAGE_SCHEMA)
