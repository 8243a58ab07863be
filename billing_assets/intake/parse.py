"""One mediation file to normalised records: every row lands, is rejected with its reason, or is
filtered by the preset, and the three add up to the rows received.

Nothing is stored here, and no row is compared with another.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from billing_assets.core.errors import BillingError, InputError, Problem
from billing_assets.core.ids import MAX_ROW, ROW_BITS
from billing_assets.intake.keys import stable_key
from billing_assets.intake.numbers import read_numbers
from billing_assets.intake.presets import CANONICAL, Preset, encoding_of, preset_of
from billing_assets.intake.reading import (
    Lines,
    cells_of,
    numbered_lines,
    read_objects,
    read_table,
    unpack,
)
from billing_assets.intake.times import Stamps, read_stamps, settle, shifted
from billing_assets.lake.tables import LANDED, REJECTED, UTC_TIME
from billing_assets.reference.models import Service
from billing_assets.reference.sources import Source
from billing_assets.registry.files import DayCount

_SLICE_ROWS = 250_000
"""Rows that are normalised at once: the working columns of a large file need not all be there."""

_LONGEST_MS = 31 * 86_400_000
"""A record that lasts longer than a month is a mistake."""

_CLOCK_MS = 2_000
"""A reported duration may differ from the stamps by this before it is told."""

_STAMPS = ("setup_time", "answer_time", "end_time")
_WHOLE = ("routing_number", "serving_network", "quantity", "record_sequence", "part")
_NUMBERED = (Service.VOICE.value, Service.SMS.value)
_DELIVERED = ("DELIVRD", "DELIVERED")
_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")

_UNREADABLE = ("BAD_TIME", "UNKNOWN_SERVICE", "UNKNOWN_RECORD_TYPE", "MISSING_FIELD")
_KIND_FIELDS = ("record_type", "service", *_STAMPS)


@dataclass(frozen=True)
class ParsedFile:
    """A file's records in the columns of `landed` and `rejected`, and its counts by UTC day.

    `warnings` tell what was taken in and should be looked at, a sentence a kind; `totals` are
    figures of the whole file: when its first and last call ended, what its trailer declares.
    """

    landed: pl.DataFrame
    rejected: pl.DataFrame
    counts: tuple[DayCount, ...]
    warnings: tuple[Problem, ...] = ()
    totals: Mapping[str, int | str] = field(default_factory=dict)

    @property
    def received(self) -> int:
        """Rows of records in the file."""
        return sum(count.received for count in self.counts)


def parse_file(
    content: bytes, name: str, source: Source, *, key: int, sha256: str, arrived: date
) -> ParsedFile:
    """Read a file by its source's preset.

    `key` is the file's 36-bit key, `arrived` the UTC day that rejected rows are counted on when
    no row lands. Raises `InputError` for a file that is refused whole (empty, torn, binary, in
    another encoding, of another preset), `BillingError` when the source has no such preset.
    """
    preset = preset_of(source)
    text = unpack(content, name, encoding_of(source))
    if len(text) >= MAX_ROW and text.count(b"\n") >= MAX_ROW:
        raise InputError(f"{name} is refused", [Problem(f"has more than {MAX_ROW:,} lines", name)])
    read = _read(text, name, source, preset)
    received = read.columns.height + read.ragged.height
    if read.columns.is_empty() and received:
        raise _wrong_preset(text, name, source, preset, read)
    good: list[pl.DataFrame] = []
    bad: list[pl.DataFrame] = []
    kept = 0
    for part in read.columns.iter_slices(_SLICE_ROWS):
        rows = _canonical(part, preset)
        kept += rows.height
        records = _normalised(rows, source, preset, key, sha256)
        wrong = _broken(records)
        good.append(records.filter(~wrong) if wrong.any() else records)
        if wrong.any():
            bad.append(records.filter(wrong).select(*_refusal()))
    landed = _joined(good, pl.Schema({**LANDED.schema, "_disagrees": pl.Boolean}))
    refused = _joined(bad, _REFUSED)
    if received and landed.is_empty() and kept and _of_another_kind(refused):
        raise _wrong_preset(text, name, source, preset, read)
    first = landed["day"].min() if landed.height else arrived
    assert isinstance(first, date)
    rejected = _rejected(refused, read.ragged, preset, text, first, sha256)
    filtered = read.columns.height - kept
    if received != landed.height + rejected.height + filtered:
        raise BillingError(
            f"{name}: {received} rows received, but {landed.height} landed, "
            f"{rejected.height} rejected and {filtered} filtered",
            hint="please report this as a defect",
        )
    return ParsedFile(
        landed=landed.select(LANDED.schema.names()),
        rejected=rejected,
        counts=_counts(landed, rejected.height, filtered, first),
        warnings=_warnings(landed, name) if received else (Problem("holds no record", name),),
    )


def _read(text: bytes, name: str, source: Source, preset: Preset) -> Lines:
    """The file's text cells, by the preset's columns or the file's own header."""
    if preset.objects:
        return read_objects(text, (*CANONICAL, "switch"))
    if preset.columns is not None:
        return read_table(
            text,
            preset.columns,
            preset.separator,
            wanted=preset.used,
            quoted=preset.quoted,
            at_least=preset.at_least,
        )
    start, first_row = 0, 1
    while True:
        end = text.find(b"\n", start)
        line = text[start : None if end < 0 else end]
        if line.strip():
            break
        start, first_row = end + 1, first_row + 1
    header = cells_of(line.decode().rstrip("\r"), preset.separator)
    _check_header(header, name, first_row, source)
    return read_table(text, header, preset.separator, first_row=first_row + 1)


def _check_header(header: list[str], name: str, row: int, source: Source) -> None:
    known = (*CANONICAL, "switch")
    wrong = [cell for cell in header if cell not in known]
    twice = sorted({cell for cell in header if header.count(cell) > 1})
    message = ""
    if wrong:
        shown = ", ".join(repr(cell[:40]) for cell in wrong[:5])
        message = (
            f"is no header of the preset {source.preset}: {shown} is no column of it; "
            f"columns are {', '.join(known)}"
        )
    elif twice:
        message = f"names the column {', '.join(twice)} twice"
    elif "service" not in header or not {"setup_time", "answer_time"} & set(header):
        message = "has not the columns service and setup_time or answer_time"
    if message:
        shown = ",".join(header)[:200]
        raise InputError(f"{name} is refused", [Problem(message, name, row, "header", shown)])


def _wrong_preset(
    text: bytes, name: str, source: Source, preset: Preset, read: Lines
) -> InputError:
    """Refusal of a file in which no row is a record, by what its first row is."""
    first = read.columns if read.columns.height else read.ragged
    row = int(first["row"][0])
    payload = _payloads(text, first.head(1).select("row"))["payload"][0]
    message = f"is not of the preset {source.preset}"
    if preset.columns is not None and read.columns.is_empty():
        found = read.ragged["found"][0]
        more = " or more" if preset.at_least else ""
        message += (
            f": {len(preset.columns)} columns{more} separated by {preset.separator!r} are expected "
            f"({', '.join(preset.columns[:4])}, ...), "
            + ("quotes do not match" if found is None else f"{found} found")
        )
    else:
        message += ": no row has the times and words of a record"
    return InputError(
        f"{name} is refused", [Problem(message, name, row, "line", str(payload)[:120])]
    )


def _of_another_kind(refused: pl.DataFrame) -> bool:
    """Whether several rows were read and none has so much as a service and a time."""
    unreadable = pl.col("reason").is_in(_UNREADABLE) & pl.col("field").is_in(_KIND_FIELDS)
    return refused.height > 1 and bool(refused.select(unreadable.all()).item())


def _canonical(columns: pl.DataFrame, preset: Preset) -> pl.DataFrame:
    """The canonical text columns of the rows that the preset does not pass over."""
    if preset.passed_over is not None:
        passed = preset.passed_over
        if preset.foreign is not None:
            passed &= ~preset.foreign
        columns = columns.filter(~passed)
    nothing = pl.lit(None, pl.String)
    if preset.columns is None:
        mapping: Mapping[str, pl.Expr] = {name: pl.col(name) for name in columns.columns}
    else:
        mapping = preset.canonical
    west = pl.col(preset.minutes_west).fill_null("") if preset.minutes_west else nothing
    foreign = nothing
    if preset.foreign is not None:
        foreign = pl.when(preset.foreign).then(pl.col("type").fill_null(""))
    return columns.select(
        "row",
        *(mapping.get(name, nothing).alias(name) for name in (*CANONICAL, "switch")),
        west.alias("minutes_west"),
        foreign.alias("record_type"),
    )


def _normalised(
    text: pl.DataFrame, source: Source, preset: Preset, key: int, sha256: str
) -> pl.DataFrame:
    """Columns of `landed`, those of the text as `_name`, and `_a`, `_b`: numbers as digits."""
    switch = text["switch"].fill_null(source.switch)
    trunks = text.select(
        pl.concat_str(switch, pl.lit("/"), name).alias(name) for name in ("in_trunk", "out_trunk")
    )
    reported = _milliseconds(text["duration_ms"], preset)
    stamps = _stamps(text, source, preset)
    if preset.minutes_west is None:
        times = settle(stamps["setup_time"], stamps["answer_time"], stamps["end_time"], reported)
    else:
        times = {name: stamps[name].first for name in _STAMPS}
    a = read_numbers(text["a_number"], trunks["in_trunk"], source)
    b = read_numbers(text["b_number"], trunks["in_trunk"], source)
    call = text.select(pl.concat_str(switch, pl.lit("|"), "call_id").alias("call")).to_series()
    wide = text.select(
        "row",
        "service",
        "event_type",
        "status",
        pl.col("*").exclude("row").name.prefix("_"),
    ).with_columns(
        switch.alias("switch"),
        *trunks,
        *(times[name].cast(UTC_TIME).alias(name) for name in _STAMPS),
        # told before stamps that are missing are made of others
        *(
            (text[name].is_not_null() & times[name].is_null()).alias(f"_unread_{name}")
            for name in _STAMPS
        ),
        reported.alias("_reported"),
        a["text"].alias("_a"),
        a["number"].alias("a_number"),
        a["length"].alias("a_length"),
        a["kind"].alias("a_kind"),
        b["text"].alias("_b"),
        b["number"].alias("b_number"),
        b["length"].alias("b_length"),
        stable_key(call).alias("call_key"),
        *(_whole(text[name]).alias(name) for name in _WHOLE),
        pl.lit(sha256).alias("file"),
        (pl.lit(key << ROW_BITS, pl.Int64) + pl.col("row")).alias("record_id"),
        text["last_part"].str.to_lowercase().is_in(_YES).fill_null(False).alias("last_part"),
    )
    voice = pl.col("service") == Service.VOICE.value
    delivered = (pl.col("service") != Service.SMS.value) | pl.col("status").fill_null(
        _DELIVERED[0]
    ).str.to_uppercase().is_in(_DELIVERED)
    begin = pl.coalesce("answer_time", "setup_time")
    elapsed = (pl.col("end_time") - pl.col("answer_time")).dt.total_milliseconds()
    # a duration out of range is refused below, but must not overflow here
    length = pl.col("duration_ms").clip(0, _LONGEST_MS)
    return (
        wide.lazy()
        .with_columns(
            pl.coalesce("setup_time", "answer_time").alias("setup_time"),
            pl.when(voice).then("answer_time").otherwise(begin).alias("answer_time"),
        )
        .with_columns(
            begin.dt.date().alias("day"),
            (pl.col("answer_time").is_not_null() & delivered).alias("answered"),
        )
        .with_columns(
            pl.when("answered")
            .then(pl.coalesce("_reported", elapsed, pl.lit(0)))
            .otherwise(pl.lit(0, pl.Int64))
            .alias("duration_ms"),
            (pl.col("answered") & ((elapsed - pl.col("_reported")).abs() > _CLOCK_MS))
            .fill_null(False)
            .alias("_disagrees"),
        )
        .with_columns(
            pl.coalesce("end_time", begin + length * pl.duration(milliseconds=1)).alias("end_time")
        )
        .collect()
    )


def _stamps(text: pl.DataFrame, source: Source, preset: Preset) -> dict[str, Stamps]:
    """The three stamps of each row, read in the preset's format."""
    if preset.minutes_west is None:
        return {name: read_stamps(text[name], source.zone, preset.stamps) for name in _STAMPS}
    west = _whole(text["minutes_west"])
    return {name: shifted(read_stamps(text[name], "UTC", preset.stamps), west) for name in _STAMPS}


def _milliseconds(text: pl.Series, preset: Preset) -> pl.Series:
    """The reported duration as Int64 milliseconds; what stands past them is cut off."""
    if not preset.seconds:
        return _whole(text)
    if not text.str.contains(".", literal=True).any():
        return _whole(text) * 1000
    parts = text.str.split_exact(".", 1).struct.unnest()
    fraction = parts.to_series(1).fill_null("").str.pad_end(3, "0").str.head(3)
    return _whole(parts.to_series(0)) * 1000 + _whole(fraction)


def _whole(text: pl.Series) -> pl.Series:
    """Text digits as Int64; null where it is none (the refusal names it)."""
    if text.null_count() == len(text):
        return pl.Series(text.name, [None] * len(text), dtype=pl.Int64)
    if text.str.contains(_DIGITS).all():
        return text.cast(pl.Int64)
    return text.to_frame("t").select(
        pl.when(pl.col("t").str.contains(_DIGITS)).then("t").cast(pl.Int64, strict=False)
    )[:, 0]


_DIGITS = r"^-?[0-9]{1,18}$"


def _rules() -> list[tuple[pl.Expr, str, str]]:
    """What may be wrong with a record, in the order in which it is told: broken, reason, field."""
    service, day = pl.col("service"), pl.col("day")
    voice = service == Service.VOICE.value
    b_wanted = service.is_in(_NUMBERED)
    number = pl.col("b_number").is_between(1, 10**15 - 1) & ~pl.col("_b").str.starts_with("0")
    words = pl.col("_last_part").str.to_lowercase()

    def no_digits(name: str, form: str = _DIGITS) -> tuple[pl.Expr, str, str]:
        text = pl.col(f"_{name}")
        return text.is_not_null() & ~text.str.contains(form), "BAD_NUMBER", name

    return [
        (pl.col("_record_type").is_not_null(), "UNKNOWN_RECORD_TYPE", "record_type"),
        (service.is_null(), "MISSING_FIELD", "service"),
        (~service.is_in([s.value for s in Service]), "UNKNOWN_SERVICE", "service"),
        (pl.col("_minutes_west") == "", "MISSING_FIELD", "minutes_west"),
        no_digits("minutes_west", r"^[+-]?[0-9]{1,4}$"),
        *((pl.col(f"_unread_{name}"), "BAD_TIME", name) for name in _STAMPS),
        (pl.col("setup_time").is_null(), "MISSING_FIELD", "setup_time"),
        *(
            (~pl.col(name).is_between(*_TIMES), "BAD_TIME", name)
            for name in (*_STAMPS[1:], _STAMPS[0])
        ),
        (day.is_null(), "BAD_TIME", "setup_time"),
        (
            pl.col("in_trunk").is_null() & pl.col("out_trunk").is_null(),
            "MISSING_FIELD",
            "in_trunk",
        ),
        no_digits("duration_ms", r"^-?[0-9]{1,18}(?:\.[0-9]{1,9})?$"),
        (
            pl.col("_reported").is_null() & pl.col("_duration_ms").is_not_null(),
            "BAD_NUMBER",
            "duration_ms",
        ),
        (pl.col("_duration_ms").str.starts_with("-"), "NEGATIVE_DURATION", "duration_ms"),
        (pl.col("end_time") < pl.col("answer_time"), "NEGATIVE_DURATION", "end_time"),
        (pl.col("end_time") < pl.col("setup_time"), "NEGATIVE_DURATION", "end_time"),
        (pl.col("_reported") > _LONGEST_MS, "OUT_OF_RANGE", "duration_ms"),
        (pl.col("duration_ms") > _LONGEST_MS, "OUT_OF_RANGE", "end_time"),
        (
            voice
            & pl.col("answered")
            & pl.col("_reported").is_null()
            & pl.col("_end_time").is_null(),
            "MISSING_FIELD",
            "duration_ms",
        ),
        (
            voice & pl.col("answer_time").is_null() & (pl.col("_reported") > 0),
            "MISSING_FIELD",
            "answer_time",
        ),
        (b_wanted & pl.col("_b_number").is_null(), "MISSING_FIELD", "b_number"),
        (b_wanted & ~number.fill_null(False), "BAD_NUMBER", "b_number"),
        (
            (service == Service.EVENT.value) & pl.col("event_type").is_null(),
            "MISSING_FIELD",
            "event_type",
        ),
        *(no_digits(name) for name in _WHOLE),
        (
            (service == Service.DATA.value) & pl.col("quantity").is_null(),
            "MISSING_FIELD",
            "quantity",
        ),
        *((pl.col(name) < 0, "OUT_OF_RANGE", name) for name in ("quantity", "record_sequence")),
        (~pl.col("routing_number").is_between(1, 10**15 - 1), "OUT_OF_RANGE", "routing_number"),
        (~pl.col("serving_network").is_between(1, 999_999), "OUT_OF_RANGE", "serving_network"),
        (~pl.col("part").is_between(1, 32_000), "OUT_OF_RANGE", "part"),
        (~words.is_in([*_YES, *_NO]), "BAD_VALUE", "last_part"),
        # parts without a call to belong to would be put together with others' parts
        (pl.col("part").is_not_null() & pl.col("_call_id").is_null(), "MISSING_FIELD", "call_id"),
    ]


_TIMES = (
    pl.datetime(2000, 1, 1, time_zone="UTC"),
    pl.datetime(2100, 1, 1, time_zone="UTC"),
)


def _broken(records: pl.DataFrame) -> pl.Series:
    """Which rows are refused."""
    return records.select(
        pl.any_horizontal(broken.fill_null(False) for broken, _, _ in _rules())
    ).to_series()


_REFUSED = pl.Schema({"row": pl.Int64, "reason": pl.String, "field": pl.String, "value": pl.String})


def _refusal() -> list[pl.Expr]:
    """Row, and reason, field and value of the first thing wrong with it."""
    reason = field = value = pl.lit(None, pl.String)
    for broken, word, name in reversed(_rules()):
        here = broken.fill_null(False)
        reason = pl.when(here).then(pl.lit(word)).otherwise(reason)
        field = pl.when(here).then(pl.lit(name)).otherwise(field)
        value = pl.when(here).then(pl.col(f"_{name}").fill_null("")).otherwise(value)
    return [pl.col("row"), reason.alias("reason"), field.alias("field"), value.alias("value")]


def _payloads(text: bytes, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with `payload`: the lines of the file that they begin in, as they stand."""
    return rows.join(numbered_lines(text), on="row", how="left")


def _rejected(
    refused: pl.DataFrame,
    ragged: pl.DataFrame,
    preset: Preset,
    text: bytes,
    day: date,
    sha256: str,
) -> pl.DataFrame:
    """Rows that are refused, in the columns of `rejected`, in the order of the file."""
    if refused.is_empty() and ragged.is_empty():
        return pl.DataFrame(schema=REJECTED.schema)
    refused = _payloads(text, refused)
    unread = "NOT_AN_OBJECT" if preset.objects else "OPEN_QUOTE"
    cut = ragged.select(
        "row",
        pl.when(pl.col("found").is_null())
        .then(pl.lit(unread))
        .otherwise(pl.lit("WRONG_COLUMN_COUNT"))
        .alias("reason"),
        pl.lit("line").alias("field"),
        pl.when(pl.col("found").is_null())
        .then(pl.col("payload").str.head(120))
        .otherwise(pl.concat_str(pl.col("found").cast(pl.String), pl.lit(" columns")))
        .alias("value"),
        "payload",
    )
    return (
        pl.concat([refused.select(cut.columns), cut])
        .sort("row")
        .with_columns(pl.lit(day).alias("day"), pl.lit(sha256).alias("file"))
        .select(pl.col(name).cast(dtype) for name, dtype in REJECTED.schema.items())
    )


def _counts(landed: pl.DataFrame, rejected: int, filtered: int, day: date) -> tuple[DayCount, ...]:
    """Rows by UTC day; what has no day of its own is counted on the file's first."""
    by_day = {day: 0, **dict(landed.group_by("day").len().iter_rows())}
    return tuple(
        DayCount(
            day=one,
            received=by_day[one] + (rejected + filtered if one == day else 0),
            landed=by_day[one],
            rejected=rejected if one == day else 0,
            filtered=filtered if one == day else 0,
        )
        for one in sorted(by_day)
    )


def _warnings(landed: pl.DataFrame, name: str) -> tuple[Problem, ...]:
    """Records whose reported duration is not that of their stamps: the switch's own counts."""
    apart = landed.filter("_disagrees")
    if apart.is_empty():
        return ()
    return (
        Problem(
            f"{apart.height} records report a duration more than {_CLOCK_MS // 1000} s away from "
            "their stamps; the reported one counts",
            name,
            int(apart["record_id"][0]) & MAX_ROW,
            "duration_ms",
            str(apart["duration_ms"][0]),
        ),
    )


def _joined(frames: list[pl.DataFrame], schema: pl.Schema) -> pl.DataFrame:
    """Frames under each other, in the columns of a schema."""
    if not frames:
        return pl.DataFrame(schema=schema)
    have = frames[0].schema
    others = pl.Schema({name: dtype for name, dtype in schema.items() if have[name] != dtype})
    return pl.concat(frame.select(schema.names()).cast(others) for frame in frames)
