"""A file's text cells by its source's preset: header and trailer lines, names of columns, formats.

Header and trailer records are taken off and held to what they declare; files whose columns are
not the preset's are refused. What a cell means is read in `parse`.
"""

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from billing_assets.core.errors import InputError, Problem
from billing_assets.core.ids import MAX_ROW
from billing_assets.intake.preset import CANONICAL, Preset
from billing_assets.intake.reading import (
    MAX_BYTES,
    Lines,
    cells_of,
    numbered_lines,
    read_objects,
    read_table,
    trimmed,
)
from billing_assets.reference.sources import FrameLine, Source

MAX_LINE = 100_000
"""Bytes of an average line beyond which a text is none of records."""

_MOST_DIGITS = 18
"""Digits of a total that a header or trailer may declare."""

_KNOWN = (*CANONICAL, "switch")


@dataclass(frozen=True)
class Cells:
    """What stands in a file: its lines as cells, what its header and trailer declare.

    `original` is the text, or the rows of a Parquet file.
    """

    lines: Lines
    original: bytes | pl.DataFrame
    declared: Mapping[str, int] = field(default_factory=dict)

    @property
    def received(self) -> int:
        """Rows of records."""
        return self.lines.columns.height + self.lines.ragged.height

    def payloads(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with `payload`: the lines of the file that they begin in, as they stand."""
        if isinstance(self.original, bytes):
            return rows.join(numbered_lines(self.original), on="row", how="left")
        found = self.original[(rows["row"] - 1).to_list()]
        text = found.write_ndjson().splitlines() if rows.height else []
        return rows.with_columns(pl.Series("payload", text, dtype=pl.String))


def read_cells(text: bytes, name: str, source: Source, preset: Preset) -> Cells:
    """The cells of a text file.

    Raises `InputError` when its header or trailer is missing, or its columns are not the
    preset's.
    """
    if len(text) >= MAX_ROW and text.count(b"\n") >= MAX_ROW:
        raise InputError(f"{name} is refused", [Problem(f"has more than {MAX_ROW:,} lines", name)])
    if len(text) > MAX_LINE and (text.count(b"\n") + 1) * MAX_LINE < len(text):
        message = f"has lines of more than {MAX_LINE:,} bytes: it holds no records"
        shown = text[:100].decode(errors="replace")
        raise InputError(f"{name} is refused", [Problem(message, name, 1, "line", shown)])
    first_row, declared = 1, {}
    if source.header is not None:
        first_row, cells = _header(text, name, source.header, preset.separator)
        declared |= _declared(cells, name, source.header)
    if source.trailer is not None:
        text, cells = _trailer(text, name, source.trailer, preset.separator)
        declared |= _declared(cells, name, source.trailer)
    read = _lines(text, name, source, preset, first_row)
    if preset.nulls:
        columns = read.columns.with_columns(
            pl.when(~pl.col(pl.String).is_in(list(preset.nulls))).then(pl.col(pl.String))
        )
        read = Lines(columns, read.ragged)
    cells = Cells(read, text, declared)
    if declared.get("records", cells.received) != cells.received:
        message = f"holds {cells.received} records, not the declared {declared['records']}"
        raise InputError(f"{name} is refused", [Problem(message, name)])
    return cells


def _lines(text: bytes, name: str, source: Source, preset: Preset, first_row: int) -> Lines:
    if preset.objects:
        return read_objects(text, _KNOWN)
    if preset.columns is not None:
        return read_table(
            text,
            preset.columns,
            preset.separator,
            wanted=preset.used,
            first_row=first_row,
            quoted=preset.quoted,
            fewest=preset.fewest,
        )
    row, line = next(_numbered(text, first_row), (first_row, b""))
    header = cells_of(line.decode(), preset.separator)
    _check_header(header, name, row, source, preset)
    wanted = preset.used if preset.named is not None else None
    return read_table(text, header, preset.separator, wanted=wanted, first_row=row + 1)


def read_parquet(content: bytes, name: str) -> Cells:
    """The cells of a Parquet file as text; stamps stay as they are.

    Raises `InputError` for a damaged or oversized file, and for columns that are not canonical.
    """
    try:
        metadata = pq.read_metadata(pa.BufferReader(content))
        groups = [metadata.row_group(n) for n in range(metadata.num_row_groups)]
        if metadata.num_rows > MAX_ROW or sum(g.total_byte_size for g in groups) > MAX_BYTES:
            raise _refused(name, f"holds more than {MAX_ROW:,} rows or {MAX_BYTES:,} bytes")
        frame = pl.read_parquet(io.BytesIO(content))
    except (pa.ArrowInvalid, OSError, pl.exceptions.PolarsError) as error:
        raise _refused(name, "is torn, or no Parquet file") from error
    wrong = [column for column in frame.columns if column not in _KNOWN]
    if wrong or "service" not in frame.columns:
        message = (
            f"has the columns {', '.join(wrong)[:200]}, which are not canonical"
            if wrong
            else "has no column service"
        )
        raise _refused(name, message)
    nested = [column for column, kind in frame.schema.items() if kind.is_nested()]
    if nested:
        raise _refused(name, f"has lists or structures in {', '.join(nested)}")
    texts = [column for column, kind in frame.schema.items() if kind == pl.String]
    cells = frame.with_columns(
        pl.col(column).cast(pl.String)
        for column, kind in frame.schema.items()
        if column not in texts and not isinstance(kind, pl.Datetime)
    ).with_columns(
        *trimmed(frame.select(texts)),
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("row"),
    )
    return Cells(Lines(cells, Lines.nothing()), frame)


def _numbered(text: bytes, first_row: int = 1):
    """Lines that are not blank, with their numbers, from a line on."""
    start, row = 0, 1
    while start < len(text):
        end = text.find(b"\n", start)
        end = len(text) if end < 0 else end
        if row >= first_row and text[start:end].strip():
            yield row, text[start:end].rstrip(b"\r")
        start, row = end + 1, row + 1


def _header(text: bytes, name: str, header: FrameLine, separator: str) -> tuple[int, list[str]]:
    """The line after a file's header record, and the header's cells."""
    row, line = next(_numbered(text), (1, b""))
    if not line.startswith(header.begins.encode()):
        message = f"does not begin with the header {header.begins!r}"
        raise InputError(f"{name} is refused", [Problem(message, name, row)])
    return row + 1, cells_of(line.decode(), separator)


def _trailer(text: bytes, name: str, trailer: FrameLine, separator: str) -> tuple[bytes, list[str]]:
    """A file's text without its trailer record, and the trailer's cells."""
    body = text.rstrip()
    start = body.rfind(b"\n") + 1
    if not body[start:].startswith(trailer.begins.encode()):
        message = f"does not end with the trailer {trailer.begins!r}: it was torn"
        raise _refused(name, message)
    return body[:start], cells_of(body[start:].decode(), separator)


def _declared(cells: list[str], name: str, line: FrameLine) -> dict[str, int]:
    """The numbers that a header or trailer declares."""
    found: dict[str, int] = {}
    for what, column in (("records", line.records), ("seconds", line.seconds)):
        if column is None:
            continue
        text = cells[column - 1] if column <= len(cells) else ""
        if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
            message = f"declares no number of {what} in column {column} of {line.begins!r}"
            raise InputError(f"{name} is refused", [Problem(message, name, None, what, text[:40])])
        found[what] = int(text)
    return found


def _check_header(header: list[str], name: str, row: int, source: Source, preset: Preset) -> None:
    """Raise `InputError` when a line does not name the columns that are needed, each once."""
    known = _KNOWN if preset.named is None else header
    wrong = [cell for cell in header if cell not in known]
    missing = [cell for cell in preset.named or () if cell not in header]
    twice = sorted(cell for cell, times in Counter(header).items() if times > 1)
    message = ""
    if wrong:
        shown = ", ".join(repr(cell[:40]) for cell in wrong[:5])
        message = (
            f"is no header of the preset {source.preset}: {shown} is no column of it; "
            f"columns are {', '.join(known)}"
        )
    elif twice:
        message = f"names the column {', '.join(twice)[:200]} twice"
    elif missing:
        message = f"has not the columns {', '.join(missing)}"
    elif preset.named is None and (
        "service" not in header or not {"setup_time", "answer_time"} & set(header)
    ):
        message = "has not the columns service and setup_time or answer_time"
    if message:
        shown = ",".join(header)[:200]
        raise InputError(f"{name} is refused", [Problem(message, name, row, "header", shown)])


def _refused(name: str, message: str) -> InputError:
    return InputError(f"{name} is refused", [Problem(message, name)])
