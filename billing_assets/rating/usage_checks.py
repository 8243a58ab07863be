"""What the cells of a usage file must say, alone and together.

Every function adds a problem with row, field and value for each cell that is not as it should be.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl

from billing_assets.core.errors import Problem
from billing_assets.core.sms import encoding_of
from billing_assets.intake.numbers import e164
from billing_assets.intake.times import to_utc
from billing_assets.reference.models import Service
from billing_assets.reference.sources import Source

EARLIEST, BEYOND = datetime(1970, 1, 2, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)
"""Records begin and end from `EARLIEST` up to, and not including, `BEYOND`: with the days around
them that a rating plan covers, all types of time can hold these."""

MOST = 10**15
"""Most milliseconds, bytes, segments or events of a row with its records and parts: sums over
many rows keep within 64 bits."""

MOST_PARTS = 2**15 - 1
"""Most parts of a call: `parts` is a 16-bit number."""

WHOLE = ("duration_ms", "quantity", "text_length", "part")
"""Columns of whole numbers, besides the numbers that pick a rate."""

PLAIN = Source(source="usage", preset="canonical-csv", switch="usage")
"""Usage comes from no switch of ours: its numbers are international."""

_STAMPS = ("start", "setup_time", "answer_time", "end_time")
_OF_CALL = ("service", "a_number", "b_number", "in_trunk", "out_trunk", "switch", "records")
_SPAN = f"{EARLIEST:%Y-%m-%d} to {BEYOND - timedelta(days=1):%Y-%m-%d}"
_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")


def check_cells(text: pl.DataFrame, name: str, zone: str, problems: list[Problem]) -> None:
    """Every cell that cannot be read, and every record that lacks what it needs."""
    report = _reporter(text, name, problems)
    voice, data = (pl.col("service") == one.value for one in (Service.VOICE, Service.DATA))
    answered = ~said_no()
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
    for whole in WHOLE:
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
    known = [word for word in text["encoding"].drop_nulls().unique() if encoding_word(word)]
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


def check_times(text: pl.DataFrame, name: str, problems: list[Problem]) -> None:
    """Every record whose stamps are out of order, or that ends too late.

    `_set_up`, `_begun`, `_ended` and `_begin` are its stamps in UTC, `_lasts` its milliseconds.
    """
    report = _reporter(text, name, problems)
    called = (pl.col("service") == Service.VOICE.value) & ~is_unanswered()
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


def check_calls(text: pl.DataFrame, name: str, problems: list[Problem]) -> None:
    """Every call whose parts differ in what tells calls apart, are not 1 to n, or run backwards."""
    parts = (
        text.filter(pl.col("part").is_not_null())
        .with_columns(pl.col("part").cast(pl.Int64))
        .sort("part", "line")
    )
    said = {
        **{field: pl.col(field) for field in _OF_CALL},
        "a_number": e164(pl.col("a_number"), pl.col("in_trunk"), PLAIN),
        "b_number": e164(pl.col("b_number"), pl.col("in_trunk"), PLAIN),
        "switch": pl.col("switch").fill_null(PLAIN.switch),
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


def check_sums(calls: pl.DataFrame, text: pl.DataFrame, name: str, problems: list[Problem]) -> None:
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


def said_no() -> pl.Expr:
    """Whether a row says that its record was not answered."""
    return pl.col("answered").str.to_lowercase().is_in(_NO).fill_null(False)


def is_unanswered() -> pl.Expr:
    """Whether a row is a call of which it says that it was not answered."""
    return (pl.col("service") == Service.VOICE.value) & said_no()


def encoding_word(word: str) -> str | None:
    """An encoding of messages as we write it; None for what is none."""
    try:
        return encoding_of(word).value
    except ValueError:
        return None


def _reporter(
    text: pl.DataFrame, name: str, problems: list[Problem]
) -> Callable[[pl.Expr, str, str], None]:
    """A function that adds a problem for every row in which something holds of a field."""

    def report(bad: pl.Expr, field: str, message: str) -> None:
        for line, value in text.filter(bad.fill_null(False)).select("line", field).iter_rows():
            problems.append(Problem(message, name, line, field, value or ""))

    return report
