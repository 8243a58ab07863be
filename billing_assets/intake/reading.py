"""From a file's bytes to text columns and numbered lines, refusing what is no such file.

Lines that do not have the preset's columns are set aside one by one; they never stop the rest
and are never cut or padded in silence.
"""

import csv
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from billing_assets.core.errors import InputError, Problem

MAX_BYTES = 4 * 1024**3
"""A larger unpacked file is refused: it is a bomb or a mistake."""

MAX_RATIO = 500
"""Unpacked to packed bytes; mediation files pack ten to thirty times."""

_CHUNK = 16 * 1024 * 1024


@dataclass(frozen=True)
class Lines:
    """Text columns of the well-formed lines, and the lines that are not.

    `columns` has the preset's columns as text and `row` (line of the file, from 1), `payload`
    (the line as it stood); `ragged` has row, payload and `found` (number of columns).
    """

    columns: pl.DataFrame
    ragged: pl.DataFrame


def unpack(content: bytes, name: str) -> bytes:
    """The text of a plain or gzip file.

    Raises `InputError` for an empty, torn, oversized, binary or wrongly encoded one.
    """
    text = _gunzip(content, name) if content[:2] == b"\x1f\x8b" else content
    if not text.strip():
        raise _refused(name, "is empty")
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        row = text.count(b"\n", 0, error.start) + 1
        value = text[error.start : error.start + 1].hex()
        raise InputError(
            f"{name} is refused",
            [Problem("is not UTF-8; the file is in another encoding", name, row, "byte", value)],
        ) from error
    if b"\0" in text[:_CHUNK]:
        raise _refused(name, "is binary, not text")
    return text.removeprefix(b"\xef\xbb\xbf")


def _gunzip(content: bytes, name: str) -> bytes:
    """Unpack one or several gzip members, within bounds."""
    limit = min(MAX_BYTES, max(len(content), 1024) * MAX_RATIO)
    parts: list[bytes] = []
    size, rest = 0, content
    try:
        while rest:
            member = zlib.decompressobj(wbits=31)
            while not member.eof:
                part = member.decompress(rest, _CHUNK)
                rest = member.unconsumed_tail
                size += len(part)
                if size > limit:
                    raise _refused(name, f"unpacks to more than {limit:,} bytes")
                parts.append(part)
                if not part and not rest and not member.eof:
                    raise _refused(name, "is torn: the gzip stream ends too early")
            rest = member.unused_data
    except zlib.error as error:
        raise _refused(name, f"is torn: {error}") from error
    return b"".join(parts)


def _refused(name: str, message: str) -> InputError:
    return InputError(f"{name} is refused", [Problem(message, name)])


def numbered_lines(text: bytes) -> pl.DataFrame:
    """Every line that is not blank, with its number: columns row, payload."""
    return (
        pl.DataFrame({"payload": [text.decode("utf-8")]})
        .select(pl.col("payload").str.split("\n"))
        .explode("payload")
        .with_row_index("row", offset=1)
        .with_columns(pl.col("row").cast(pl.Int64), pl.col("payload").str.strip_chars_end("\r"))
        .filter(pl.col("payload").str.strip_chars() != "")
    )


def read_separated(
    lines: pl.DataFrame, names: Sequence[str], separator: str, *, at_least: bool = False
) -> Lines:
    """Split lines into text columns of the given names.

    A quoted field may hold separators. With `at_least`, further columns are allowed and left
    out (formats that newer releases append to).
    """
    width = len(names)
    found = pl.col("payload").str.count_matches(separator, literal=True).cast(pl.Int64) + 1
    counted = lines.with_columns(found.alias("found"))
    fits = pl.col("found") >= width if at_least else pl.col("found") == width
    quoted = pl.col("payload").str.contains('"', literal=True)
    unclear = counted.filter(quoted & ~fits)
    exact = {row: _csv_width(payload, separator) for row, payload, _ in unclear.iter_rows()}
    if exact:
        counted = counted.with_columns(
            pl.col("row").replace_strict(exact, default=pl.col("found")).alias("found")
        )
    good, ragged = counted.filter(fits), counted.filter(~fits)
    if good.is_empty():
        return Lines(
            pl.DataFrame(schema=pl.Schema({**dict.fromkeys(names, pl.String), **_LINE})), ragged
        )
    body = "\n".join(good["payload"].to_list()).encode()
    columns = pl.read_csv(
        io.BytesIO(body),
        has_header=False,
        separator=separator,
        infer_schema=False,
        truncate_ragged_lines=True,
    )
    columns = columns.select(columns.columns[:width])
    columns.columns = list(names)
    if columns.height != good.height:
        # a quote left open swallows lines: then each line is read alone
        return _read_alone(good, ragged, names, separator)
    return Lines(columns.hstack(good.select("row", "payload")), ragged)


_LINE: dict[str, type[pl.DataType]] = {"row": pl.Int64, "payload": pl.String}


def _csv_width(payload: str, separator: str) -> int:
    return len(next(csv.reader([payload], delimiter=separator), []))


def _read_alone(
    good: pl.DataFrame, ragged: pl.DataFrame, names: Sequence[str], separator: str
) -> Lines:
    """Read lines one by one: only for a file in which some quote is left open."""
    rows: list[list[str | None]] = []
    wrong: list[tuple[int, str, int]] = []
    for row, payload, found in good.iter_rows():
        cells = next(csv.reader([payload], delimiter=separator), [])
        if payload.count('"') % 2 or len(cells) < len(names):
            wrong.append((row, payload, found))
        else:
            rows.append([*(cell or None for cell in cells[: len(names)]), str(row), payload])
    schema = {**dict.fromkeys(names, pl.String), "row": pl.String, "payload": pl.String}
    columns = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        pl.col("row").cast(pl.Int64)
    )
    return Lines(
        columns, pl.concat([ragged, pl.DataFrame(wrong, schema=ragged.schema, orient="row")])
    )
