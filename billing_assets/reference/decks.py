"""Decks: an agreement's rate rows, from its file and its sheets, as one checked frame.

Rows become codes with half-open UTC validity in which at most one row of a code, origin and
band holds at any instant. Everything is columnar: a deck may have hundreds of thousands of rows.
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from zipfile import BadZipFile
from zoneinfo import ZoneInfo

import openpyxl
import polars as pl

from billing_assets.core.e164 import COUNTRY_CODES
from billing_assets.core.errors import Problem
from billing_assets.core.ids import ROW_BITS, event_code, sha256_of, stable_id
from billing_assets.core.money import E10, to_e10
from billing_assets.core.periods import midnight_utc
from billing_assets.lake.tables import RATE, UTC_TIME
from billing_assets.reference.models import MAX_PRICE, Agreement, RateRow, parse_moment
from billing_assets.reference.yamltext import Located

_TEXT_COLUMNS = (
    "code",
    "country_code",
    "destination",
    "rate",
    "first_rate",
    "increments",
    "setup_fee",
    "minimum",
    "cap",
    "band",
    "origin",
    "from",
    "to",
    "status",
)
_PRICES = ("rate", "first_rate", "setup_fee", "minimum", "cap")
_PRICE_PATTERN = r"^\d{1,8}(\.\d{1,10})?$"
_MAX_PRICE_E10 = MAX_PRICE * E10
_FIRST = datetime(1, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_MAX_SHEET_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True)
class Breach:
    """A rate increase that was announced too late and is loaded at its earliest valid date."""

    agreement: str
    file: str
    row: int
    code: str
    requested: datetime
    loaded: datetime


@dataclass(frozen=True)
class Deck:
    """The rate rows of one agreement version: columns of table `rate`, sorted by code and time."""

    agreement: str
    rows: pl.DataFrame
    breaches: tuple[Breach, ...] = ()


def local_instant(value: date | datetime, zone: str) -> datetime:
    """The UTC instant of a local date (its midnight) or time; an explicit offset is kept."""
    try:
        if isinstance(value, datetime):
            aware = value if value.tzinfo else value.replace(tzinfo=ZoneInfo(zone))
            return aware.astimezone(UTC)
        return midnight_utc(value, zone)
    except OverflowError:
        # the first and last hours of the calendar: 9999-12-31T23:59:59 means for ever
        return _LAST if value.year > 5000 else _FIRST


def prefixes_of_range(first: str, last: str) -> list[str]:
    """The minimal set of prefixes that covers an inclusive range of equally long codes (B03).

    Raises `ValueError` when the two differ in length or stand in the wrong order.

    >>> prefixes_of_range("447400", "447412")
    ['44740', '447410', '447411', '447412']
    """
    if len(first) != len(last) or first > last or not (first + last).isdigit():
        raise ValueError(f"{first}-{last} is not a range of codes of one length")
    low, high, width = int(first), int(last), len(first)
    found = []
    while low <= high:
        size = 1
        while low % (size * 10) == 0 and low + size * 10 - 1 <= high and width > len(str(size)):
            size *= 10
        digits = len(str(size)) - 1
        found.append(f"{low // size:0{width - digits}d}")
        low += size
    return found


def build_deck(
    agreement: Agreement,
    located: Located,
    files: Mapping[str, bytes],
) -> tuple[Deck | None, list[Problem]]:
    """Read, check and date all rate rows of an agreement.

    `located` is the agreement's file; `files` maps paths of the reference folder to bytes. The
    deck is None when a problem was found: a sheet is taken whole or not at all.
    """
    problems: list[Problem] = []
    frames = []
    if agreement.rates:
        frames.append(_inline_rows(agreement, located))
    for index, sheet in enumerate(agreement.sheets):
        path = sheet_path(located.file, sheet.file)
        content = files.get(path)
        if content is None:
            problems.append(
                Problem(
                    "names a sheet that does not exist",
                    located.file,
                    located.line(("sheets", index)),
                    "file",
                    sheet.file,
                )
            )
            continue
        rows = _sheet_rows(path, content, sheet.columns, problems)
        if rows is not None:
            frames.append(rows.with_columns(pl.lit(sheet.received, pl.Date).alias("received")))
    if problems:
        return None, problems
    if not frames:
        return Deck(agreement.key, pl.DataFrame(schema=RATE.schema)), []
    text = pl.concat(frames, how="diagonal")
    rows = _typed(agreement, _one_code_a_row(text, problems), problems)
    if problems:
        return None, problems
    rows, breaches = _apply_notice(agreement, rows)
    rows = _dated(rows, problems)
    if problems:
        return None, problems
    key = stable_id(agreement.key, *sorted(rows["sheet_sha256"].unique())) >> ROW_BITS
    rows = rows.with_columns(
        (pl.lit(key << ROW_BITS, pl.Int64) + pl.int_range(1, pl.len() + 1)).alias("rate_id"),
        pl.lit(agreement.key).alias("deck"),
    )
    return Deck(agreement.key, rows.select(RATE.schema.names()), breaches), []


def sheet_path(agreement_file: str, sheet: str) -> str:
    """Resolve a sheet's path, written relative to its agreement's folder, inside the reference."""
    parts: list[str] = []
    for part in (PurePosixPath(agreement_file).parent / sheet).parts:
        if part == "..":
            if parts:
                parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _inline_rows(agreement: Agreement, located: Located) -> pl.DataFrame:
    """Rates written in the agreement itself, as text rows like those of a sheet."""

    def row(index: int, rate: RateRow) -> dict[str, str | int | None]:
        def text(value: object) -> str | None:
            return None if value is None else str(value)

        return {
            "code": ";".join(rate.codes),
            "country_code": rate.country_code or None,
            "destination": rate.destination,
            "rate": _plain(rate.price),
            "first_rate": _plain(rate.first_price),
            "increments": text(rate.increments),
            "setup_fee": _plain(rate.setup_fee),
            "minimum": _plain(rate.minimum),
            "cap": _plain(rate.cap),
            "band": rate.band,
            "origin": rate.origin,
            "from": rate.valid_from.isoformat() if rate.valid_from else None,
            "to": rate.valid_to.isoformat() if rate.valid_to else None,
            "status": rate.status,
            "row": located.line(("rates", index)),
        }

    schema = {**dict.fromkeys(_TEXT_COLUMNS, pl.String), "row": pl.Int64}
    return pl.DataFrame(
        [row(index, rate) for index, rate in enumerate(agreement.rates)], schema=schema
    ).with_columns(
        pl.lit(located.file).alias("sheet"),
        pl.lit(located.sha256).alias("sheet_sha256"),
        pl.lit(None, pl.Date).alias("received"),
    )


def _plain(value: object) -> str | None:
    return None if value is None else f"{value:f}"


def _sheet_rows(
    path: str, content: bytes, columns: Mapping[str, str], problems: list[Problem]
) -> pl.DataFrame | None:
    """Read a CSV or XLSX sheet as text columns of our names, with its row numbers."""
    if len(content) > _MAX_SHEET_BYTES:
        problems.append(Problem(f"is larger than {_MAX_SHEET_BYTES} bytes", path))
        return None
    try:
        frame = _xlsx(content) if path.endswith(".xlsx") else _csv(content)
    except (pl.exceptions.PolarsError, BadZipFile, KeyError, ValueError, OSError) as error:
        problems.append(Problem(f"cannot be read as a sheet: {error}", path))
        return None
    renamed = {theirs: ours for ours, theirs in columns.items()}
    frame = frame.rename(
        {c: renamed.get(c, c.strip().lower()) for c in frame.columns if c != "row"}
    )
    unknown = [c for c in frame.columns if c not in (*_TEXT_COLUMNS, "row")]
    missing = [c for c in ("code",) if c not in frame.columns]
    for name in unknown:
        problems.append(
            Problem(
                f"is not a column of a rate sheet; known: {', '.join(_TEXT_COLUMNS)}",
                path,
                1,
                "header",
                name,
            )
        )
    for name in missing:
        problems.append(Problem("column is missing", path, 1, "header", name))
    if unknown or missing:
        return None
    return frame.with_columns(
        pl.lit(path).alias("sheet"),
        pl.lit(sha256_of(content)).alias("sheet_sha256"),
        pl.col("row").cast(pl.Int64),
    )


def _csv(content: bytes) -> pl.DataFrame:
    frame = pl.read_csv(content, infer_schema=False, row_index_name="row", row_index_offset=2)
    return frame


def _xlsx(content: bytes) -> pl.DataFrame:
    """First worksheet as text; a number cell is written with the digits that a person sees."""
    book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    grid = [
        [_cell(value) for value in row] for row in book.worksheets[0].iter_rows(values_only=True)
    ]
    if not grid:
        raise ValueError("the first worksheet is empty")
    header = [name or f"column {n + 1}" for n, name in enumerate(grid[0])]
    frame = pl.DataFrame(grid[1:], schema=dict.fromkeys(header, pl.String), orient="row")
    return frame.with_row_index("row", offset=2).filter(
        pl.any_horizontal(pl.col(header).is_not_null())
    )


def _cell(value: object) -> str | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, datetime):
        return (value.date() if value.time() == time() else value).isoformat()
    if isinstance(value, float):
        # a float's shortest text is what the sheet shows; never its exponent
        return f"{Decimal(repr(value)).normalize():f}"
    return str(value)


def _one_code_a_row(rows: pl.DataFrame, problems: list[Problem]) -> pl.DataFrame:
    """Explode cells with several codes or ranges; prefix the country code of its own column."""
    missing = [c for c in _TEXT_COLUMNS if c not in rows.columns]
    rows = rows.with_columns(pl.lit(None, pl.String).alias(c) for c in missing).with_columns(
        pl.col(_TEXT_COLUMNS).str.strip_chars().replace("", None)
    )
    rows = rows.with_columns(pl.col("code").str.strip_chars(" ,;/\t\r\n").fill_null(""))
    _refuse_unclear_cells(rows, problems)
    country = pl.col("country_code").fill_null("")
    codes = pl.col("code").str.replace_all(r"\s*-\s*", "-").str.replace_all(r"[,;/\s]+", ";")
    rows = rows.with_columns(codes.str.split(";").alias("_cell")).explode("_cell")
    ranges = rows.filter(pl.col("_cell").str.contains("-", literal=True))
    if not ranges.is_empty():
        expanded: dict[str, list[str]] = {}
        for cell in ranges["_cell"].unique():
            first, _, last = cell.partition("-")
            try:
                expanded[cell] = prefixes_of_range(first, last)
            except ValueError as error:
                for at in ranges.filter(pl.col("_cell") == cell).iter_rows(named=True):
                    problems.append(Problem(str(error), at["sheet"], at["row"], "code", cell))
                expanded[cell] = []
        table = pl.DataFrame(
            {"_cell": list(expanded), "_codes": list(expanded.values())},
            schema={"_cell": pl.String, "_codes": pl.List(pl.String)},
        )
        rows = (
            rows.join(table, on="_cell", how="left", maintain_order="left")
            .with_columns(
                pl.when(pl.col("_codes").is_null())
                .then(pl.concat_list("_cell"))
                .otherwise(pl.col("_codes"))
                .alias("_cell")
            )
            .explode("_cell")
            .drop("_codes")
        )
    return rows.with_columns((country + pl.col("_cell")).alias("code")).drop("_cell")


def _refuse_unclear_cells(rows: pl.DataFrame, problems: list[Problem]) -> None:
    """Refuse '44 7400-7412': a country code and its area codes look like two codes."""
    cells = rows["code"].unique()
    for cell in cells.filter(cells.str.contains(r"^\d{1,3}\s+\d")):
        first, second = re.split(r"[\s,;/-]+", cell)[:2]
        if first in COUNTRY_CODES and not second.startswith(first) and second not in COUNTRY_CODES:
            _report(
                rows.filter(pl.col("code") == cell),
                "code",
                f"may be codes of country {first} or a list: put {first} into country_code, "
                "or write whole codes",
                problems,
            )


def _report(
    bad: pl.DataFrame, field: str, message: str, problems: list[Problem], most: int = 100
) -> None:
    for at in bad.head(most).iter_rows(named=True):
        value = at.get(field)
        problems.append(
            Problem(message, at["sheet"], at["row"], field, "" if value is None else str(value))
        )
    if bad.height > most:
        first = bad["sheet"][0]
        problems.append(Problem(f"{message} ({bad.height - most} more rows)", first, None, field))


def _e10(column: str) -> pl.Expr:
    """Text with at most ten decimals to an exact integer of 10^-10, without a float between."""
    parts = pl.col(column).str.split_exact(".", 1).struct
    fraction = parts.field("field_1").fill_null("").str.pad_end(10, "0")
    return parts.field("field_0").cast(pl.Int64) * E10 + fraction.cast(pl.Int64)


def _typed(agreement: Agreement, rows: pl.DataFrame, problems: list[Problem]) -> pl.DataFrame:
    """Check every cell and turn text into codes, scaled prices, increments and UTC instants."""
    by_event = agreement.match == "event_type"
    pattern = r"^[A-Za-z0-9_.]+$" if by_event else r"^[1-9]\d{0,14}$"
    form = "an event type" if by_event else "a code of 1 to 15 digits without leading zero"
    _report(
        rows.filter(~pl.col("code").str.contains(pattern).fill_null(False)),
        "code",
        f"is not {form}",
        problems,
    )
    for name in _PRICES:
        fits = pl.col(name).str.contains(_PRICE_PATTERN)
        _report(rows.filter(~fits), name, "is not a decimal price of at most 10 decimals", problems)
        _report(
            rows.filter(fits).filter(_e10(name) > _MAX_PRICE_E10),
            name,
            f"is above {MAX_PRICE:,}: a record's amount could overflow",
            problems,
        )
    _report(
        rows.filter(~pl.col("increments").str.contains(r"^[1-9]\d{0,7}/[1-9]\d{0,7}$")),
        "increments",
        "is not of the form first/next with both at least 1, such as 60/1",
        problems,
    )
    status = pl.col("status").str.to_lowercase().fill_null("open")
    _report(
        rows.filter(~status.is_in(["open", "blocked", "bill_and_keep"])),
        "status",
        "is not open, blocked or bill_and_keep",
        problems,
    )
    if not agreement.bill_and_keep:
        _report(
            rows.filter((status == "open") & pl.col("rate").is_null()),
            "rate",
            "is missing: an open code needs a price, which may be 0",
            problems,
        )
    _check_words(agreement, rows, problems)
    if agreement.rounding.quantity:
        for name in ("first_rate", "minimum", "cap"):
            _report(
                rows.filter(pl.col(name).is_not_null()),
                name,
                "does not go with rounding.quantity, which prices the quantity of a period",
                problems,
            )
    stamps = {
        text: _instant(text, agreement.zone)
        for text in pl.concat([rows["from"], rows["to"]]).drop_nulls().unique()
    }
    unreadable = [text for text, value in stamps.items() if value is None]
    for name in ("from", "to"):
        _report(
            rows.filter(pl.col(name).is_in(unreadable)),
            name,
            "is not a date (2026-03-01) or time in whole seconds (2026-03-01T12:00:00)",
            problems,
        )
    if problems:
        return rows
    begin = local_instant(agreement.valid_from, agreement.zone)
    increments = pl.col("increments").str.split_exact("/", 1).struct
    default_status = "bill_and_keep" if agreement.bill_and_keep else "open"

    def term(name: str, default: int | None) -> pl.Expr:
        return _e10(name).fill_null(pl.lit(default, pl.Int64))

    def instant(name: str) -> pl.Expr:
        return pl.col(name).replace_strict(stamps, default=None, return_dtype=UTC_TIME)

    if by_event:
        rows = rows.with_columns(
            pl.col("destination").fill_null(pl.col("code")),
            pl.col("code").replace_strict({n: str(event_code(n)) for n in rows["code"].unique()}),
        )
    return rows.select(
        "sheet",
        "sheet_sha256",
        "row",
        "received",
        "to",
        pl.col("code").cast(pl.Int64),
        pl.col("destination", "origin", "band").fill_null(""),
        _e10("rate").alias("price_e10"),
        _e10("first_rate").alias("first_price_e10"),
        increments.field("field_0")
        .cast(pl.Int64)
        .fill_null(agreement.increments.first)
        .alias("first_units"),
        increments.field("field_1")
        .cast(pl.Int64)
        .fill_null(agreement.increments.next)
        .alias("next_units"),
        term("setup_fee", to_e10(agreement.setup_fee)).alias("setup_fee_e10"),
        term("minimum", to_e10(agreement.minimum)).alias("minimum_e10"),
        term("cap", None if agreement.cap is None else to_e10(agreement.cap)).alias("cap_e10"),
        instant("from").fill_null(begin).alias("valid_from"),
        instant("to").alias("valid_to"),
        pl.when(status == "open").then(pl.lit(default_status)).otherwise(status).alias("status"),
    ).with_columns(
        pl.when(pl.col("destination") == "")
        .then(pl.col("code").cast(pl.String))
        .otherwise("destination")
        .alias("destination")
    )


def _check_words(agreement: Agreement, rows: pl.DataFrame, problems: list[Problem]) -> None:
    """Bands and origins of rows must be words of the agreement."""
    bands = {window.band for window in agreement.bands.windows} if agreement.bands else set()
    if agreement.bands and agreement.bands.otherwise:
        bands.add(agreement.bands.otherwise)
    origins = set()
    if agreement.origins:
        origins = {c.origin for c in agreement.origins.classes} | {agreement.origins.otherwise}
    if agreement.jurisdiction:
        origins = {"INTER", "INTRA", "INDETERMINATE"}
    for name, known in (("band", bands), ("origin", origins)):
        _report(
            rows.filter(pl.col(name).is_not_null() & ~pl.col(name).is_in(sorted(known))),
            name,
            f"is not among the agreement's {name}s ({', '.join(sorted(known)) or 'none'})",
            problems,
        )


def _instant(text: str, zone: str) -> datetime | None:
    """A local date or time as UTC; None when it is not one."""
    try:
        return local_instant(parse_moment(text), zone)
    except ValueError:
        return None


_KEY = ("code", "origin", "band")


def _apply_notice(
    agreement: Agreement, rows: pl.DataFrame
) -> tuple[pl.DataFrame, tuple[Breach, ...]]:
    """Move increases that break the notice period to their earliest valid date (RS4, B09)."""
    days = agreement.notice.increase_days
    if not days or rows["received"].null_count() == rows.height:
        return rows, ()
    received = {
        day: midnight_utc(day + timedelta(days=days), agreement.zone)
        for day in rows["received"].drop_nulls().unique()
    }
    previous = pl.col("price_e10").shift(1).over(_KEY, order_by="valid_from")
    earliest = pl.col("received").replace_strict(received, default=None, return_dtype=UTC_TIME)
    moved = ((pl.col("price_e10") > previous) & (pl.col("valid_from") < earliest)).fill_null(False)
    rows = rows.with_columns(
        moved.alias("_moved"),
        pl.col("valid_from").alias("_requested"),
        pl.when(moved).then(earliest).otherwise("valid_from").alias("valid_from"),
    )
    breaches = tuple(
        Breach(
            agreement.key,
            at["sheet"],
            at["row"],
            str(at["code"]),
            at["_requested"],
            at["valid_from"],
        )
        for at in rows.filter("_moved").iter_rows(named=True)
    )
    return rows.drop("_moved", "_requested"), breaches


def _dated(rows: pl.DataFrame, problems: list[Problem]) -> pl.DataFrame:
    """End a row where the next of its code, origin and band begins; refuse two for one instant."""
    rows = rows.sort("code", "origin", "band", "valid_from", maintain_order=True)
    twice = pl.struct(*_KEY, "valid_from").is_duplicated()
    _report(
        rows.filter(twice), "code", "stands twice for the same origin, band and instant", problems
    )
    backwards = pl.col("valid_to") <= pl.col("valid_from")
    _report(rows.filter(backwards), "to", "is not after the row's start", problems)
    following = pl.col("valid_from").shift(-1).over(_KEY)
    return rows.with_columns(pl.min_horizontal("valid_to", following).alias("valid_to"))
