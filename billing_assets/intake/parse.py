"""One mediation file to normalised records: every row lands, is rejected with its reason, or is
filtered by the preset, and the three add up to the rows received.

Nothing is stored here, and no row is compared with another.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import polars as pl

from billing_assets.core.errors import BillingError, InputError, Problem
from billing_assets.core.ids import MAX_ROW, ROW_BITS
from billing_assets.core.sms import DELIVERED, state_of
from billing_assets.intake.cells import Cells, read_cells, read_parquet
from billing_assets.intake.keys import stable_key
from billing_assets.intake.numbers import read_numbers
from billing_assets.intake.preset import CANONICAL, Preset
from billing_assets.intake.presets import encoding_of, preset_of
from billing_assets.intake.reading import unpack
from billing_assets.intake.rules import (
    DIGITS,
    LONGEST_MS,
    REFUSED,
    STAMPS,
    WHOLE,
    YES,
    broken_rows,
    refusal,
)
from billing_assets.intake.sequence import hours_text
from billing_assets.intake.times import Stamps, read_stamps, settle, shifted
from billing_assets.lake.tables import LANDED, REJECTED, UTC_TIME
from billing_assets.reference.models import Service
from billing_assets.reference.sources import Source
from billing_assets.registry.files import DayCount

_SLICE_ROWS = 250_000
"""Rows that are normalised at once: the working columns of a large file need not all be there."""

_CLOCK_MS = 2_000
"""A reported duration may differ from the stamps by this before it is told."""


_UNREADABLE = ("BAD_TIME", "UNKNOWN_SERVICE", "UNKNOWN_RECORD_TYPE", "MISSING_FIELD")
_KIND_FIELDS = ("record_type", "service", *STAMPS)


@dataclass(frozen=True)
class ParsedFile:
    """A file's records in the columns of `landed` and `rejected`, and its counts by UTC day.

    `warnings` tell what was taken in and should be looked at, a sentence a kind; `totals` are
    figures of the whole file: the hours in which its calls ended, what its trailer declares.
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


def kept_content(content: bytes, name: str, source: Source) -> bytes:
    """The bytes of a file that may be kept: without what its preset takes out.

    Raises `InputError` when it cannot be read for that.
    """
    redact = preset_of(source).redact
    return content if redact is None else redact(unpack(content, name, encoding_of(source)))


def parse_file(
    content: bytes, name: str, source: Source, *, key: int, sha256: str, arrived: datetime
) -> ParsedFile:
    """Read a file by its source's preset.

    `key` is the file's 36-bit key; its rejected rows are counted on the UTC day on which it
    `arrived` when no row lands. Raises `InputError` for a file that is refused whole (empty,
    torn, binary, in another encoding, of another preset), `BillingError` when the source has no
    such preset.
    """
    preset = preset_of(source)
    if preset.parquet:
        cells = read_parquet(content, name)
    else:
        cells = read_cells(unpack(content, name, encoding_of(source)), name, source, preset)
    read, received = cells.lines, cells.received
    if read.columns.is_empty() and received:
        raise _wrong_preset(cells, name, source, preset)
    good: list[pl.DataFrame] = []
    bad: list[pl.DataFrame] = []
    kept = 0
    for part in read.columns.iter_slices(_SLICE_ROWS):
        rows = _canonical(part, preset)
        kept += rows.height
        records = _normalised(rows, source, preset, key, sha256, arrived)
        wrong = broken_rows(records)
        good.append(records.filter(~wrong) if wrong.any() else records)
        if wrong.any():
            bad.append(records.filter(wrong).select(*refusal()))
    landed = _joined(good, pl.Schema({**LANDED.schema, "_disagrees": pl.Boolean}))
    refused = _joined(bad, REFUSED)
    if received and landed.is_empty() and kept and _of_another_kind(refused):
        raise _wrong_preset(cells, name, source, preset)
    first = landed["day"].min() if landed.height else arrived.astimezone(UTC).date()
    assert isinstance(first, date)
    rejected = _rejected(refused, cells, preset, first, sha256)
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
        warnings=_warnings(landed, name, cells.declared)
        if received
        else (Problem("holds no record", name),),
        totals=_totals(landed, cells.declared),
    )


def _wrong_preset(cells: Cells, name: str, source: Source, preset: Preset) -> InputError:
    """Refusal of a file in which no row is a record, by what its first row is."""
    read = cells.lines
    first = read.columns if read.columns.height else read.ragged
    row = int(first["row"][0])
    payload = cells.payloads(first.head(1).select("row"))["payload"][0]
    message = f"is not of the preset {source.preset}"
    if preset.columns is not None and read.columns.is_empty():
        found = read.ragged["found"][0]
        more = " or more" if preset.fewest else ""
        message += (
            f": {preset.fewest or len(preset.columns)} columns{more} separated by "
            f"{preset.separator!r} are expected ({', '.join(preset.columns[:4])}, ...), "
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
    if not preset.canonical:
        mapping: Mapping[str, pl.Expr] = {name: pl.col(name) for name in columns.columns}
    else:
        mapping = preset.canonical
    after = preset.answer_after
    closing = pl.lit(False) if preset.closing is None else preset.closing.fill_null(False)
    west = pl.col(preset.minutes_west).fill_null("") if preset.minutes_west else nothing
    foreign = nothing
    if preset.foreign is not None:
        foreign = pl.when(preset.foreign).then(preset.kind.fill_null(""))
    return columns.select(
        "row",
        *(mapping.get(name, nothing).alias(name) for name in (*CANONICAL, "switch")),
        west.alias("minutes_west"),
        (nothing if after is None else after).alias("answer_after"),
        closing.alias("closing"),
        foreign.alias("record_type"),
    )


def _normalised(
    text: pl.DataFrame, source: Source, preset: Preset, key: int, sha256: str, arrived: datetime
) -> pl.DataFrame:
    """Columns of `landed`, those of the text as `_name`, and `_a`, `_b`: numbers as digits."""
    switch = text["switch"].fill_null(source.switch)
    trunks = text.select(
        pl.concat_str(switch, pl.lit("/"), name).alias(name) for name in ("in_trunk", "out_trunk")
    )
    reported = _milliseconds(text["duration_ms"], preset.unit_ms)
    stamps = _stamps(text, source, preset)
    if preset.minutes_west is None:
        times = settle(stamps["setup_time"], stamps["answer_time"], stamps["end_time"], reported)
    else:
        times = {name: stamps[name].first for name in STAMPS}
    # a technical prefix chooses a route: it stands before the number that is called
    caller = source.model_copy(update={"prefixes": {}}) if source.prefixes else source
    a = read_numbers(text["a_number"], trunks["in_trunk"], caller)
    b = read_numbers(text["b_number"], trunks["in_trunk"], source)
    call = text.select(pl.concat_str(switch, pl.lit("|"), "call_id").alias("call")).to_series()
    wide = text.select(
        "row",
        "service",
        "event_type",
        _states(text["service"]).alias("status"),
        pl.col("*").exclude("row").name.prefix("_"),
    ).with_columns(
        switch.alias("switch"),
        *trunks,
        *(times[name].cast(UTC_TIME).alias(name) for name in STAMPS),
        # told before stamps that are missing are made of others
        *(
            (text[name].is_not_null() & times[name].is_null()).alias(f"_unread_{name}")
            for name in STAMPS
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
        *(_whole(text[name]).alias(name) for name in WHOLE),
        pl.lit(sha256).alias("file"),
        pl.lit(arrived, UTC_TIME).alias("arrived_time"),
        (pl.lit(key << ROW_BITS, pl.Int64) + pl.col("row")).alias("record_id"),
        text["last_part"].str.to_lowercase().is_in(YES).fill_null(False).alias("last_part"),
    )
    voice = pl.col("service") == Service.VOICE.value
    other = pl.col("service") != Service.SMS.value
    delivered = other | (pl.col("status").fill_null(DELIVERED) == DELIVERED)
    begin = pl.coalesce("answer_time", "setup_time")
    elapsed = (pl.col("end_time") - pl.col("answer_time")).dt.total_milliseconds()
    # a duration out of range is refused below, but must not overflow here
    length = pl.col("duration_ms").clip(0, LONGEST_MS)
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


def _states(service: pl.Series) -> pl.Expr:
    """The column `status`, with the states of messages as SMPP writes them."""
    sms = service == Service.SMS.value
    status = pl.col("status")
    return pl.when(sms).then(state_of(status)).otherwise(status) if sms.any() else status


def _later(stamps: Stamps, milliseconds: pl.Series) -> Stamps:
    """Stamps so much later, at either pass; null where either is."""
    by = milliseconds.clip(0, LONGEST_MS) * pl.duration(milliseconds=1)
    first = pl.select(stamps.first + by)[:, 0]
    return Stamps(first, None if stamps.second is None else pl.select(stamps.second + by)[:, 0])


def _stamps(text: pl.DataFrame, source: Source, preset: Preset) -> dict[str, Stamps]:
    """The three stamps of each row, read in the preset's format."""
    if preset.minutes_west is None:
        stamps = {name: read_stamps(text[name], source.zone, preset.stamps) for name in STAMPS}
        if preset.answer_after is not None:
            after = _milliseconds(text["answer_after"], preset.unit_ms)
            stamps["answer_time"] = _later(stamps["setup_time"], after)
        return stamps
    west = _whole(text["minutes_west"])
    return {name: shifted(read_stamps(text[name], "UTC", preset.stamps), west) for name in STAMPS}


def _milliseconds(text: pl.Series, unit_ms: int) -> pl.Series:
    """The reported duration as Int64 milliseconds; what stands past them is cut off.

    One beyond the longest is no more than beyond it: multiplied it could pass for another.
    """
    if unit_ms != 1000 or not text.str.contains(".", literal=True).any():
        return _whole(text).clip(upper_bound=LONGEST_MS + 1) * unit_ms
    parts = text.str.split_exact(".", 1).struct.unnest()
    fraction = parts.to_series(1).fill_null("").str.pad_end(3, "0").str.head(3)
    return _whole(parts.to_series(0)).clip(upper_bound=LONGEST_MS + 1) * 1000 + _whole(fraction)


_TOO_LONG = 19
"""Digits that some integers of 64 bits have, and others no more."""


def _whole(text: pl.Series) -> pl.Series:
    """Text digits as Int64; null where it is none (the refusal names it)."""
    if text.null_count() == len(text):
        return text.cast(pl.Int64)
    whole = text.cast(pl.Int64, strict=False)
    if whole.null_count() == text.null_count() and not (
        text.str.starts_with("+").any() or text.str.len_bytes().max() == _TOO_LONG
    ):
        return whole
    return text.to_frame("t").select(
        pl.when(pl.col("t").str.contains(DIGITS)).then("t").cast(pl.Int64, strict=False)
    )[:, 0]


def _rejected(
    refused: pl.DataFrame, cells: Cells, preset: Preset, day: date, sha256: str
) -> pl.DataFrame:
    """Rows that are refused, in the columns of `rejected`, in the order of the file."""
    ragged = cells.lines.ragged
    if refused.is_empty() and ragged.is_empty():
        return pl.DataFrame(schema=REJECTED.schema)
    refused = cells.payloads(refused)
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


def _warnings(landed: pl.DataFrame, name: str, declared: Mapping[str, int]) -> tuple[Problem, ...]:
    """What was taken in and should be looked at: durations that contradict something."""
    found = []
    apart = landed.filter("_disagrees")
    if not apart.is_empty():
        found.append(
            Problem(
                f"{apart.height} records report a duration more than {_CLOCK_MS // 1000} s away "
                "from their stamps; the reported one counts",
                name,
                int(apart["record_id"][0]) & MAX_ROW,
                "duration_ms",
                str(apart["duration_ms"][0]),
            )
        )
    seconds = int(landed["duration_ms"].sum()) // 1000
    if abs(declared.get("seconds", seconds) - seconds) > 1:
        message = f"declares {declared['seconds']} s of calls, but {seconds} s landed"
        found.append(Problem(message, name, None, "seconds", str(declared["seconds"])))
    return tuple(found)


def _totals(landed: pl.DataFrame, declared: Mapping[str, int]) -> dict[str, int | str]:
    """The hours in which the file's records ended, and what it declares."""
    return {
        "hours": hours_text(landed["end_time"]),
        **{f"declared_{name}": value for name, value in declared.items()},
    }


def _joined(frames: list[pl.DataFrame], schema: pl.Schema) -> pl.DataFrame:
    """Frames under each other, in the columns of a schema."""
    if not frames:
        return pl.DataFrame(schema=schema)
    have = frames[0].schema
    others = pl.Schema({name: dtype for name, dtype in schema.items() if have[name] != dtype})
    return pl.concat(frame.select(schema.names()).cast(others) for frame in frames)
