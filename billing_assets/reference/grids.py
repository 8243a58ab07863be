"""Sheets as grids of cells: CSV and XLSX read within bounds, before anybody asks what they mean.

A sheet comes from outside: what is larger, wider or more deeply packed than any rate sheet is
refused before it costs time or memory. No column name is known here.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from zipfile import BadZipFile, ZipFile

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

MAX_BYTES = 128 * 1024 * 1024
"""Largest sheet, packed or not: several times the longest published deck."""
MAX_PARTS = 2_000
MAX_ROWS = 1_048_576
MAX_COLUMNS = 256
MAX_CELLS = 3_000_000
MAX_CELL_CHARS = 100_000

_TAG_OF_CELL = re.compile(rb"<(?:\w+:)?c[\s/>]")
_QUOTED = re.compile(r'"[^"]*"')

Cell = str | date | None
"""Text, a day or time that the workbook stores as such, or nothing."""


class Number(str):
    """The digits of a cell that the workbook keeps as a number: its point is a decimal point.

    `shown` is the format in which the workbook shows it.
    """

    shown = ""


@dataclass(frozen=True)
class Grid:
    """One worksheet: its non-empty rows with the line or row number of each, from 1."""

    name: str
    rows: list[tuple[int, list[Cell]]]
    is_hidden: bool = False


def read_grids(path: str, content: bytes) -> list[Grid]:
    """The worksheets of an XLSX file, or the one of a CSV file.

    Raises `ValueError` with a sentence when the file is too large, no such file, or not in
    UTF-8.
    """
    if len(content) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES:,} bytes")
    if path.lower().endswith(".xlsx"):
        return _workbook(content)
    return [Grid("", _bounded(_csv_rows(content)))]


def _bounded(rows: Iterator[tuple[int, list[Cell]]]) -> list[tuple[int, list[Cell]]]:
    """Rows with any content, cut after their last cell; refuses more than a sheet may hold."""
    found: list[tuple[int, list[Cell]]] = []
    cells = 0
    for number, row in rows:
        if number > MAX_ROWS:
            raise ValueError(f"has more than {MAX_ROWS:,} rows")
        cells += len(row)
        if cells > MAX_CELLS:
            raise ValueError(f"has more than {MAX_CELLS:,} cells")
        while row and row[-1] is None:
            row.pop()
        if len(row) > MAX_COLUMNS:
            raise ValueError(f"has {len(row):,} columns in row {number}, more than {MAX_COLUMNS}")
        if not row:
            continue
        found.append((number, row))
    if not found:
        raise ValueError("is empty")
    return found


def _csv_rows(content: bytes) -> Iterator[tuple[int, list[Cell]]]:
    text = io.StringIO(_decoded(content), newline="")
    reader = csv.reader(text, delimiter=_delimiter(text), strict=True)
    row_number = 1
    try:
        for row in reader:
            yield row_number, [_text(value) for value in row]
            row_number = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"is not CSV in line {row_number}: {error}") from error


def _decoded(content: bytes) -> str:
    """Text of UTF-8 with or without its mark; names the encoding that it seems to be instead."""
    for mark, encoding in (
        (b"\xff\xfe\x00\x00", "UTF-32"),
        (b"\x00\x00\xfe\xff", "UTF-32"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
        (b"PK\x03\x04", "a workbook or archive (name it .xlsx)"),
        (b"\xd0\xcf\x11\xe0", "an old XLS workbook (save it as XLSX)"),
        (b"\x1f\x8b", "packed by gzip"),
    ):
        if content.startswith(mark):
            raise ValueError(f"is {encoding}, not UTF-8 text")
    if b"\x00" in content:
        place = content.index(b"\x00")
        raise ValueError(f"has a NUL at byte {place}: it is UTF-16 or no text; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"is not UTF-8 in line {line} (byte {error.start} is 0x{content[error.start]:02x}): "
            "it may be Latin-1 or Windows-1252; save it as UTF-8"
        ) from error


def _delimiter(text: io.StringIO) -> str:
    """The separator that cuts most lines near the top into equally many cells."""
    head = [line for line, _ in zip(text, range(60), strict=False)]
    text.seek(0)

    def score(mark: str) -> tuple[int, int]:
        widths = [line.count(mark) for line in (_QUOTED.sub("", line) for line in head)]
        cut = Counter(width for width in widths if width)
        return max(((lines, width) for width, lines in cut.items()), default=(0, 0))

    return max(",;\t|", key=score)


def _text(value: str) -> str | None:
    stripped = value.strip()
    if len(stripped) > MAX_CELL_CHARS:
        raise ValueError(f"has a cell of {len(stripped):,} characters")
    return stripped or None


def _workbook(content: bytes) -> list[Grid]:
    _refuse_bomb(content)
    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        grids = []
        for sheet in book.worksheets:
            sheet.reset_dimensions()
            rows = enumerate(sheet.iter_rows(), start=1)
            try:
                cells = _bounded(
                    (number, [_read(c.value, c.number_format) for c in row]) for number, row in rows
                )
            except ValueError as error:
                if str(error) == "is empty":
                    continue
                raise ValueError(f"worksheet {sheet.title} {error}") from error
            grids.append(Grid(sheet.title, cells, sheet.sheet_state != "visible"))
    except (InvalidFileException, BadZipFile, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"cannot be read as a workbook: {error}") from error
    except (SyntaxError, OverflowError, AttributeError, EOFError, OSError) as error:
        raise ValueError(f"cannot be read as a workbook: {error}") from error
    if not grids:
        raise ValueError("has no worksheet with a cell in it")
    return grids


def _refuse_bomb(content: bytes) -> None:
    """Unpack every part once, in pieces, and stop at more than a sheet may hold.

    What an archive declares of its sizes is not trusted. A document type in a part is no part of
    the format, and could expand without end.
    """
    try:
        with ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
            if len(parts) > MAX_PARTS:
                raise ValueError(f"has {len(parts):,} parts, more than {MAX_PARTS:,}")
            total = cells = 0
            for part in parts:
                if part.flag_bits & 1:
                    raise ValueError("is locked by a password")
                with archive.open(part) as stream:
                    tail = b""
                    while piece := stream.read(1 << 20):
                        total += len(piece)
                        if total > MAX_BYTES:
                            raise ValueError(f"unpacks to more than {MAX_BYTES:,} bytes")
                        cells += len(_TAG_OF_CELL.findall(piece))
                        if cells > MAX_CELLS:
                            raise ValueError(f"has more than {MAX_CELLS:,} cells")
                        if b"<!DOCTYPE" in (tail + piece).replace(b"\x00", b"").upper():
                            raise ValueError(f"has a document type in {part.filename}")
                        tail = piece[-32:]
    except (BadZipFile, NotImplementedError, EOFError, OSError, RuntimeError) as error:
        raise ValueError(f"cannot be read as a workbook: {error}") from error
    except Exception as error:
        if type(error).__module__ == "zlib":
            raise ValueError(f"cannot be read as a workbook: {error}") from error
        raise


def _read(value: object, number_format: str) -> Cell:
    """A cell's text; that of a number knows how it is shown."""
    read = _cell(value)
    if isinstance(read, Number):
        read.shown = number_format
    return read


def _cell(value: object) -> Cell:
    """A cell's text; a number has the digits that a person sees, at most fifteen."""
    match value:
        case None | bool():
            return None if value is None else str(value)
        case datetime():
            return value.date() if value.time() == time() else value
        case date():
            return value
        case int():
            return Number(value)
        case float() if value == int(value) and abs(value) < 2**53:
            return Number(int(value))
        case float():
            return Number(f"{Decimal(f'{value:.15g}'):f}")
        case _:
            return _text(str(value))
