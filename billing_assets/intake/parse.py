"""One mediation file to normalised records: every row lands, is rejected with its reason, or is
filtered by the preset, and the three add up to the rows received."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import duckdb
import polars as pl

from billing_assets.core.errors import BillingError, InputError, Problem
from billing_assets.core.ids import MAX_ROW, ROW_BITS
from billing_assets.intake.numbers import MAX_KEPT, as_integer, e164, kind_of
from billing_assets.intake.presets import CANONICAL, Preset, preset_of
from billing_assets.intake.reading import Lines, numbered_lines, read_separated, unpack
from billing_assets.intake.times import to_utc
from billing_assets.lake.tables import LANDED, REJECTED
from billing_assets.reference.models import Service, Source
from billing_assets.registry.files import DayCount


@dataclass(frozen=True)
class ParsedFile:
    """A file's records in the columns of `landed` and `rejected`, and its counts by UTC day."""

    landed: pl.DataFrame
    rejected: pl.DataFrame
    counts: tuple[DayCount, ...]

    @property
    def received(self) -> int:
        """Rows of records in the file."""
        return sum(count.received for count in self.counts)


def parse_file(
    content: bytes, name: str, source: Source, *, key: int, sha256: str, arrived: date
) -> ParsedFile:
    """Read a file by its source's preset.

    `key` is the file's 36-bit key, `arrived` the UTC day that rejected rows are counted on when
    no row lands. Raises `InputError` for a file that is refused whole: empty, torn, binary,
    in another encoding, or of another preset.
    """
    preset = preset_of(source)
    lines = numbered_lines(unpack(content, name))
    if int(lines["row"].max() or 0) > MAX_ROW:  # pyright: ignore[reportArgumentType]
        raise InputError(f"{name} is refused", [Problem(f"has more than {MAX_ROW:,} lines", name)])
    read = _read(lines, name, source, preset)
    received = read.columns.height + read.ragged.height
    if received == 0:
        raise InputError(f"{name} is refused", [Problem("holds no record", name)])
    if read.columns.is_empty():
        raise _wrong_preset(name, source, read)
    kept = read.columns if preset.keep is None else read.columns.filter(preset.keep)
    records = _normalised(_canonical(kept, preset), source, preset, key, sha256)
    good = records.filter(pl.col("_reason").is_null())
    bad = records.filter(pl.col("_reason").is_not_null())
    if good.is_empty() and bad.height and _all_unreadable(bad):
        raise _wrong_preset(name, source, read)
    landed = good.select(LANDED.schema.names()).cast(dict(LANDED.schema))
    day = landed["day"].min() if landed.height else arrived
    assert isinstance(day, date)
    rejected = _rejected(bad, read.ragged, day, sha256)
    filtered = read.columns.height - kept.height
    counts = _counts(landed, rejected.height, filtered, day)
    if received != landed.height + rejected.height + filtered:
        raise BillingError(
            f"{name}: {received} rows received, but {landed.height} landed, "
            f"{rejected.height} rejected and {filtered} filtered",
            hint="please report this as a defect",
        )
    return ParsedFile(landed, rejected, counts)


def _read(lines: pl.DataFrame, name: str, source: Source, preset: Preset) -> Lines:
    if source.preset == "canonical-jsonl":
        return _read_json(lines)
    if preset.columns is not None:
        return read_separated(lines, preset.columns, preset.separator, at_least=preset.at_least)
    header = [cell.strip().strip('"') for cell in lines["payload"][0].split(preset.separator)]
    unknown = [cell for cell in header if cell not in CANONICAL and cell != "switch"]
    if unknown or ("setup_time" not in header and "answer_time" not in header):
        raise InputError(
            f"{name} is refused",
            [
                Problem(
                    f"is not a header of the preset {source.preset}; columns are "
                    f"{', '.join(CANONICAL)}",
                    name,
                    int(lines["row"][0]),
                    "header",
                    ",".join(header)[:200],
                )
            ],
        )
    return read_separated(lines[1:], header, preset.separator)


def _read_json(lines: pl.DataFrame) -> Lines:
    """JSON lines: an object a line, values as text; other lines are set aside."""
    rows: list[dict[str, object]] = []
    wrong: list[tuple[int, str, int]] = []
    for row, payload in lines.iter_rows():
        try:
            value = json.loads(payload, parse_float=str, parse_int=str)
        except json.JSONDecodeError:
            value = None
        if isinstance(value, dict) and set(value) <= {*CANONICAL, "switch"}:
            texts = {
                k: None if v is None else str(v).lower() if isinstance(v, bool) else str(v)
                for k, v in value.items()
            }
            rows.append({**texts, "row": row, "payload": payload})
        else:
            wrong.append((row, payload, 0))
    schema = {
        **dict.fromkeys((*CANONICAL, "switch"), pl.String),
        "row": pl.Int64,
        "payload": pl.String,
    }
    ragged = pl.DataFrame(
        wrong, schema={"row": pl.Int64, "payload": pl.String, "found": pl.Int64}, orient="row"
    )
    return Lines(pl.DataFrame(rows, schema=schema), ragged)


def _wrong_preset(name: str, source: Source, read: Lines) -> InputError:
    first = read.ragged if read.columns.is_empty() else read.columns
    row, payload = first.select("row", "payload").row(0)
    return InputError(
        f"{name} is refused",
        [Problem(f"no row is of the preset {source.preset}", name, row, "line", payload[:120])],
    )


def _all_unreadable(bad: pl.DataFrame) -> bool:
    """Whether no row has so much as a stamp: then the file is of another kind."""
    return bool((bad["_reason"] == "BAD_TIME").all()) and bad.height > 1


def _canonical(columns: pl.DataFrame, preset: Preset) -> pl.DataFrame:
    """The canonical text columns of a preset's columns."""
    if preset.columns is None:
        present = set(columns.columns)
        mapped = {n: pl.col(n) if n in present else pl.lit(None, pl.String) for n in CANONICAL}
        extra = [pl.col("switch")] if "switch" in present else []
    else:
        mapped = {n: preset.canonical.get(n, pl.lit(None, pl.String)) for n in CANONICAL}
        west = preset.zone_minutes_west
        extra = [pl.col(west).alias("_west")] if west else []
    return columns.select(
        "row",
        "payload",
        *(expression.alias(name) for name, expression in mapped.items()),
        *extra,
    ).with_columns(pl.col(CANONICAL).str.strip_chars().replace("", None))


def _normalised(
    frame: pl.DataFrame, source: Source, preset: Preset, key: int, sha256: str
) -> pl.DataFrame:
    """Typed columns of `landed`, and `_reason`, `_field`, `_value` of rows that are refused."""
    switch = pl.lit(source.switch)
    if "switch" in frame.columns:
        switch = pl.col("switch").fill_null(source.switch)
    stamps = ("setup_time", "answer_time", "end_time")
    raw = {name: pl.col(name).alias(f"_{name}") for name in CANONICAL}
    frame = frame.with_columns(*raw.values(), switch.alias("switch")).with_columns(
        *(
            pl.concat_str("switch", pl.lit("/"), name).alias(name)
            for name in ("in_trunk", "out_trunk")
        ),
        *(to_utc(pl.col(name), source.zone, preset.stamps).alias(name) for name in stamps),
    )
    if "_west" in frame.columns:
        west = pl.duration(minutes=pl.col("_west").cast(pl.Int64, strict=False).fill_null(0))
        frame = frame.with_columns((pl.col(name) + west).alias(name) for name in stamps)
    voice = pl.col("service") == Service.VOICE.value
    frame = frame.with_columns(
        pl.coalesce("setup_time", "answer_time").alias("setup_time"),
        pl.when(voice)
        .then("answer_time")
        .otherwise(pl.coalesce("answer_time", "setup_time"))
        .alias("answer_time"),
        _whole("duration_ms").alias("duration_ms"),
        e164(pl.col("a_number"), pl.col("in_trunk"), source).alias("_a"),
        e164(pl.col("b_number"), pl.col("in_trunk"), source).alias("_b"),
        *(_whole(name).alias(name) for name in _WHOLE),
    )
    answered = pl.col("answer_time").is_not_null() & (
        (pl.col("service") != Service.SMS.value)
        | pl.col("status").fill_null("DELIVRD").is_in(["DELIVRD", "delivered"])
    )
    elapsed = (pl.col("end_time") - pl.col("answer_time")).dt.total_milliseconds()
    frame = frame.with_columns(
        answered.alias("answered"),
        pl.when(answered)
        .then(pl.coalesce("duration_ms", elapsed, pl.lit(0)))
        .otherwise(pl.min_horizontal(pl.col("duration_ms").fill_null(0), pl.lit(0)))
        .alias("duration_ms"),
    )
    frame = frame.with_columns(
        pl.coalesce(
            "end_time",
            pl.coalesce("answer_time", "setup_time")
            + pl.duration(milliseconds=pl.col("duration_ms")),
        ).alias("end_time"),
        pl.coalesce("answer_time", "setup_time").dt.date().alias("day"),
    )
    frame = frame.with_columns(_refusal())
    call = pl.when(pl.col("call_id").is_not_null()).then(
        pl.concat_str("switch", pl.lit("|"), "call_id")
    )
    frame = frame.with_columns(
        _stable_hash(frame.select(call.alias("call"))["call"]).alias("call_key"),
        pl.lit(sha256).alias("file"),
        (pl.lit(key << ROW_BITS, pl.Int64) + pl.col("row")).alias("record_id"),
        as_integer(pl.col("_a")).alias("a_number"),
        pl.when(pl.col("_a").str.contains(rf"^\d{{1,{MAX_KEPT}}}$"))
        .then(pl.col("_a").str.len_chars())
        .alias("a_length"),
        kind_of(pl.col("_a")).alias("a_kind"),
        as_integer(pl.col("_b")).alias("b_number"),
        pl.when(as_integer(pl.col("_b")).is_not_null())
        .then(pl.col("_b").str.len_chars())
        .alias("b_length"),
        (pl.col("last_part").str.to_lowercase().is_in(["true", "1", "yes"]))
        .fill_null(False)
        .alias("last_part"),
    )
    return frame


_WHOLE = ("routing_number", "serving_network", "quantity", "record_sequence", "part")
_NUMBERED = (Service.VOICE.value, Service.SMS.value)


def _whole(name: str) -> pl.Expr:
    """Text digits as Int64; null where it is none (the refusal names it)."""
    fits = pl.col(name).str.contains(r"^-?\d{1,18}$")
    return pl.when(fits).then(name).cast(pl.Int64, strict=False)


def _refusal() -> list[pl.Expr]:
    """`_reason`, `_field`, `_value` of the first thing wrong with a row; null when nothing is."""
    service, day = pl.col("service"), pl.col("day")
    b_wanted = service.is_in(_NUMBERED)
    b_good = pl.col("_b").str.contains(r"^[1-9]\d{0,14}$").fill_null(False)
    rules: list[tuple[pl.Expr, str, str]] = [
        (service.is_null(), "MISSING_FIELD", "service"),
        (~service.is_in([s.value for s in Service]), "UNKNOWN_SERVICE", "service"),
    ]
    for name in ("setup_time", "answer_time", "end_time"):
        given = pl.col(f"_{name}").is_not_null()
        rules.append((given & pl.col(name).is_null(), "BAD_TIME", name))
    rules += [
        (pl.col("setup_time").is_null(), "MISSING_FIELD", "setup_time"),
        (~day.is_between(date(2000, 1, 1), date(2100, 1, 1)), "BAD_TIME", "setup_time"),
        (
            pl.col("_in_trunk").is_null() & pl.col("_out_trunk").is_null(),
            "MISSING_FIELD",
            "in_trunk",
        ),
        (pl.col("duration_ms") < 0, "NEGATIVE_DURATION", "duration_ms"),
        (pl.col("end_time") < pl.col("answer_time"), "NEGATIVE_DURATION", "end_time"),
        (b_wanted & pl.col("_b").is_null(), "MISSING_FIELD", "b_number"),
        (b_wanted & ~b_good, "BAD_NUMBER", "b_number"),
        (
            (service == Service.DATA.value) & pl.col("quantity").is_null(),
            "MISSING_FIELD",
            "quantity",
        ),
        (pl.col("quantity") < 0, "OUT_OF_RANGE", "quantity"),
    ]
    for name in ("duration_ms", *_WHOLE):
        wrong = pl.col(f"_{name}").is_not_null() & ~pl.col(f"_{name}").str.contains(r"^-?\d{1,18}$")
        rules.append((wrong, "BAD_NUMBER", name))
    rules += [
        (pl.col("serving_network") > 999_999, "OUT_OF_RANGE", "serving_network"),
        (~pl.col("part").is_between(1, 32_000), "OUT_OF_RANGE", "part"),
    ]
    nothing = pl.lit(None, pl.String)
    reason, field, value = nothing, nothing, nothing
    for broken, word, name in reversed(rules):
        here = broken.fill_null(False)
        reason = pl.when(here).then(pl.lit(word)).otherwise(reason)
        field = pl.when(here).then(pl.lit(name)).otherwise(field)
        raw = pl.col(f"_{name}").fill_null("")
        value = pl.when(here).then(raw).otherwise(value)
    return [reason.alias("_reason"), field.alias("_field"), value.alias("_value")]


def _stable_hash(texts: pl.Series) -> pl.Series:
    """63 bits of the MD5 of each text, the same on every machine and in every version."""
    frame = texts.to_frame("text")
    hashed = duckdb.sql("SELECT CAST(md5_number_lower(text) >> 1 AS BIGINT) AS h FROM frame").pl()
    del frame
    return hashed["h"]


def _rejected(bad: pl.DataFrame, ragged: pl.DataFrame, day: date, sha256: str) -> pl.DataFrame:
    """Rows that are refused, in the columns of `rejected`."""
    wrong = bad.select(
        pl.lit(day).alias("day"),
        pl.lit(sha256).alias("file"),
        "row",
        pl.col("_reason").alias("reason"),
        pl.col("_field").alias("field"),
        pl.col("_value").alias("value"),
        "payload",
    )
    cut = ragged.select(
        pl.lit(day).alias("day"),
        pl.lit(sha256).alias("file"),
        "row",
        pl.lit("WRONG_COLUMN_COUNT").alias("reason"),
        pl.lit("line").alias("field"),
        pl.concat_str(pl.col("found").cast(pl.String), pl.lit(" columns")).alias("value"),
        "payload",
    )
    return pl.concat([wrong, cut]).select(REJECTED.schema.names()).cast(dict(REJECTED.schema))


def _counts(landed: pl.DataFrame, rejected: int, filtered: int, day: date) -> tuple[DayCount, ...]:
    """Rows by UTC day; what has no day of its own is counted on the file's first."""
    by_day = dict(landed.group_by("day").len().sort("day").iter_rows())
    by_day.setdefault(day, 0)
    days: Sequence[date] = sorted(by_day)
    return tuple(
        DayCount(
            day=one,
            received=by_day[one] + (rejected + filtered if one == day else 0),
            landed=by_day[one],
            rejected=rejected if one == day else 0,
            filtered=filtered if one == day else 0,
        )
        for one in days
    )
