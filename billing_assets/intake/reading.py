"""From a file's bytes to columns of text cells, refusing what is no such file.

Lines that do not have the preset's columns are set aside one by one, with the line as it stood;
they never stop the rest and are never cut or padded in silence. What the cells mean is not known
here.
"""

import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
from isal import isal_zlib

from billing_assets.core.errors import InputError, Problem
from billing_assets.intake.quotes import LINE, NO_SIGN, Shape, mend_quotes

MAX_BYTES = 2 * 1024**3
"""A larger unpacked file is refused: it is a bomb or a mistake."""

MAX_RATIO = 500
"""Unpacked to packed bytes; mediation files pack ten to thirty times."""

_CHUNK = 16 * 1024 * 1024
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# the library's types declare an instance where it has the class
_DAMAGED = cast("type[Exception]", isal_zlib.IsalError)
_MARK = b"\xef\xbb\xbf"
_AS_WRITTEN = r'(\w":\s*)(-?(?:[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]+|[0-9]{19,}))(\s*[,}])'
"""A number with an exponent, or beyond 64 bits, after a key; within a text, a quote has a
backslash before it."""


@dataclass(frozen=True)
class Lines:
    """Text cells of the well-formed lines, and the lines that are not.

    `columns` has the named columns as text, and `row` (line of the file, from 1); `ragged` has
    row, payload (the line as it stood) and `found` (number of columns; null: its quotes do not
    match, or it is no object).
    """

    columns: pl.DataFrame
    ragged: pl.DataFrame

    @staticmethod
    def nothing() -> pl.DataFrame:
        """No ragged line."""
        return pl.DataFrame(schema={**LINE, "found": pl.Int64})


def unpack(content: bytes, name: str, encoding: str = "utf-8") -> bytes:
    """The text of a plain, gzip or zstd file, as UTF-8 without a byte order mark.

    Raises `InputError` for an empty, torn, oversized, binary or wrongly encoded one.
    """
    text = content
    if content.startswith(_GZIP):
        text = _joined(_gunzip(content, name), len(content), name)
    elif content.startswith(_ZSTD):
        text = _joined(_unzstd(content, name), len(content), name)
    if len(text) > MAX_BYTES:
        raise _refused(name, f"is larger than {MAX_BYTES:,} bytes")
    text = text.removeprefix(_MARK)
    if not text or text.isspace():
        raise _refused(name, "is empty")
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _not_utf8(name, text, 0, "is UTF-16, not UTF-8")
    if b"\0" in text:
        raise _refused(name, "is binary, not text")
    if text.isascii():
        return text
    if encoding != "utf-8":
        return text.decode(encoding).encode()
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        message = "is not UTF-8; a source that writes Latin-1 says so by its option encoding"
        raise _not_utf8(name, text, error.start, message) from error
    return text


def _gunzip(content: bytes, name: str) -> Iterator[bytes]:
    """The parts of one or several gzip members."""
    rest = content
    try:
        while rest:
            member = isal_zlib.decompressobj(wbits=31)
            while not member.eof:
                part = member.decompress(rest, _CHUNK)
                rest = member.unconsumed_tail
                if not part and not rest and not member.eof:
                    raise _refused(name, "is torn: the gzip stream ends too early")
                yield part
            # some writers fill their last block with zeros
            rest = member.unused_data.lstrip(b"\0")
    except _DAMAGED as error:
        raise _refused(name, f"is torn: {error}") from error


def _unzstd(content: bytes, name: str) -> Iterator[bytes]:
    stream = pa.input_stream(pa.BufferReader(content), compression="zstd")
    try:
        while part := stream.read(_CHUNK):
            yield part
    except OSError as error:
        raise _refused(name, "is torn: the zstd stream ends too early or is damaged") from error


def _joined(parts: Iterator[bytes], packed: int, name: str) -> bytes:
    """Unpacked parts, as long as they keep within bounds."""
    limit = min(MAX_BYTES, max(packed, 1024) * MAX_RATIO)
    kept: list[bytes] = []
    size = 0
    for part in parts:
        size += len(part)
        if size > limit:
            raise _refused(name, f"unpacks to more than {limit:,} bytes")
        kept.append(part)
    return b"".join(kept)


def _refused(name: str, message: str) -> InputError:
    return InputError(f"{name} is refused", [Problem(message, name)])


def _not_utf8(name: str, text: bytes, at: int, message: str) -> InputError:
    row = text.count(b"\n", 0, at) + 1
    byte = text[at : at + 1].hex()
    return InputError(f"{name} is refused", [Problem(message, name, row, "byte", byte)])


def numbered_lines(text: bytes) -> pl.DataFrame:
    """Every line that is not blank, with its number from 1: columns row, payload."""
    return (
        pl.DataFrame({"payload": text.decode("utf-8").split("\n")}, schema={"payload": pl.String})
        .with_row_index("row", offset=1)
        .with_columns(pl.col("row").cast(pl.Int64), pl.col("payload").str.strip_chars_end("\r"))
        .filter(pl.col("payload").str.strip_chars() != "")
    )


def read_table(
    text: bytes,
    names: Sequence[str],
    separator: str,
    *,
    wanted: Collection[str] | None = None,
    first_row: int = 1,
    quoted: bool = True,
    fewest: int | None = None,
) -> Lines:
    """Read separated text into columns of the given names, lines from `first_row` on.

    Only the `wanted` columns are returned, where that is given. With `fewest`, a line may have
    so few columns, and further ones are left out (formats that newer releases append to). Text of
    one shape is read in one go; only text with a line of another is gone through line by line.
    """
    shape = Shape(len(names), separator, fewest)
    columns = _read_uniform(text, names, shape, wanted, first_row=first_row, quoted=quoted)
    if columns is None:
        lines = numbered_lines(text).filter(pl.col("row") >= first_row)
        read = read_separated(lines, names, separator, quoted=quoted, fewest=fewest)
        return Lines(read.columns.drop("payload"), read.ragged)
    rows = pl.int_range(first_row, first_row + columns.height, dtype=pl.Int64, eager=True)
    return Lines(_trimmed_of(columns, text).with_columns(rows.alias("row")), Lines.nothing())


def _read_uniform(
    text: bytes,
    names: Sequence[str],
    shape: Shape,
    wanted: Collection[str] | None,
    *,
    first_row: int,
    quoted: bool,
) -> pl.DataFrame | None:
    """The wanted columns of all lines, if each has the right number of cells; else None.

    The reader fills up a line with too few cells and overlooks further ones where it reads only
    some columns. So where few of many are wanted, lines are proved by their separators first;
    else all columns are read, which refuses a line with too many, and a right total of
    separators proves that none has too few.
    """
    start = _start_of(text, first_row)
    if len(text) <= start:
        return pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    quotes = quoted and b'"' in text
    chosen = [name for name in names if wanted is None or name in wanted]
    read = partial(pl.scan_csv, text, has_header=False, skip_lines=first_row - 1)
    cut = partial(read, separator=shape.separator, quote_char='"' if quotes else None)
    try:
        if shape.fewest is None and (quotes or 2 * len(chosen) > len(names)):
            schema = pl.Schema(dict.fromkeys(names, pl.String))
            columns = cut(schema=schema).collect(engine="streaming")
            # a line break inside quotes makes one record of several lines
            if columns.height != _count(text, b"\n", start) + (not text.endswith(b"\n")):
                return None
            if columns[names[-1]].null_count() and not _is_whole(
                columns, text, shape, start, quotes=quotes
            ):
                return None
            return columns.select(chosen)
        line = pl.col("line")
        cells = line.str.count_matches(shape.separator, literal=True) + 1
        # every line is one cell, as no text has this sign; a blank one fits nothing
        lines = read(
            separator=NO_SIGN, quote_char=None, schema=pl.Schema({"line": pl.String})
        ).select(
            shape.of_cells(cells).fill_null(False).all().alias("fit"),
            cells.max().alias("widest"),
            pl.len().alias("lines"),
        )
        fit, widest, height = lines.collect(engine="streaming").row(0)
        # separators in quotes are counted with the others: then only any number fits for sure
        if not fit or (quotes and shape.fewest != 1):
            return None
        wide = [*names, *(f"further_{n}" for n in range(widest - shape.width))]
        schema = pl.Schema(dict.fromkeys(wide, pl.String))
        columns = cut(schema=schema).select(chosen).collect(engine="streaming")
        return columns if columns.height == height else None
    except (pl.exceptions.ComputeError, pl.exceptions.SchemaError):
        return None


def _start_of(text: bytes, row: int) -> int:
    """Where a line of a text begins."""
    start = 0
    for _ in range(row - 1):
        start = text.find(b"\n", start) + 1
    return start


def _count(text: bytes, sign: bytes, start: int) -> int:
    """How often a byte stands in a text from a place on; three times faster than `bytes.count`."""
    data = np.frombuffer(text, np.uint8)[start:]
    parts = range(0, len(data), _BLOCK)
    return sum(int(np.count_nonzero(data[at : at + _BLOCK] == sign[0])) for at in parts)


_BLOCK = 1 << 20


def _is_whole(
    columns: pl.DataFrame, text: bytes, shape: Shape, start: int, *, quotes: bool
) -> bool:
    """Whether no line had too few cells, though its last cell is empty.

    The reader refuses a line with too many; so a right total of separators outside the cells
    means that none has too few.
    """
    found = _count(text, shape.separator.encode(), start)
    if quotes:
        inside = columns.select(pl.all().str.count_matches(shape.separator, literal=True).sum())
        found -= sum(inside.row(0))
    return found == (shape.width - 1) * columns.height


def read_separated(
    lines: pl.DataFrame,
    names: Sequence[str],
    separator: str,
    *,
    quoted: bool = True,
    fewest: int | None = None,
) -> Lines:
    """Split numbered lines into text columns of the given names, and `payload`.

    A quoted field may hold separators, quotes written twice, and line breaks.
    """
    width = len(names)
    shape = Shape(width, separator, fewest)
    unreadable = pl.DataFrame(schema=LINE)
    bare = pl.col("payload")
    if quoted:
        lines, unreadable = mend_quotes(lines, shape)
        bare = bare.str.replace_all(r'"[^"]*"', "")
    found = bare.str.count_matches(separator, literal=True).cast(pl.Int64) + 1
    counted = lines.with_columns(found.alias("found"))
    fits = shape.of_cells(pl.col("found"))
    good = counted.filter(fits)
    unreadable = unreadable.with_columns(pl.lit(None, pl.Int64).alias("found"))
    ragged = pl.concat([counted.filter(~fits), unreadable]).sort("row")
    if good.is_empty():
        return Lines(pl.DataFrame(schema={**dict.fromkeys(names, pl.String), **LINE}), ragged)
    widest = good["found"].to_list()
    further = [f"further_{n}" for n in range(max(widest) - width)]
    columns = pl.read_csv(
        "\n".join(good["payload"].to_list()).encode(),
        has_header=False,
        separator=separator,
        quote_char='"' if quoted else None,
        schema=pl.Schema(dict.fromkeys([*names, *further], pl.String)),
        missing_columns="insert",
    ).select(names)
    return Lines(trimmed(columns).hstack(good.select("row", "payload")), ragged)


def read_objects(text: bytes, names: Sequence[str]) -> Lines:
    """Read JSON lines: an object a line, its values as text; other lines are set aside.

    So is an object with a name that is none of `names`: its value would be lost. A number that
    is written with an exponent, or is beyond 64 bits, stays as it is written, for its digits may
    have been rounded.
    """
    plain = _read_plain_objects(text, names)
    if plain is not None:
        rows = pl.int_range(1, plain.height + 1, dtype=pl.Int64, eager=True)
        return Lines(_trimmed_of(plain, text).with_columns(rows.alias("row")), Lines.nothing())
    lines = numbered_lines(text).with_columns(
        pl.col("payload").str.replace_all(_AS_WRITTEN, '$1"$2"$3').alias("object")
    )
    # a key that is not known, or a line that is no object, is seen before anything is read
    with duckdb.connect() as connection:
        connection.register("lines", lines.to_arrow())
        fits = connection.execute(
            """
            select
                case
                    when not json_valid(object) then false
                    when json_type(object) <> 'OBJECT' then false
                    else
                        list_has_all($names, json_keys(object))
                        and len(list_distinct(json_keys(object))) = len(json_keys(object))
                end as fits
            from lines
            """,
            {"names": list(names)},
        ).pl()["fits"]
    good, wrong = lines.filter(fits), lines.filter(~fits)
    try:
        columns = _objects(good["object"], names)
    except pl.exceptions.ComputeError:
        # some lines are right to one reader and not to the other
        strict = good["object"].map_elements(_is_strict, return_dtype=pl.Boolean)
        good, wrong = good.filter(strict), pl.concat([wrong, good.filter(~strict)]).sort("row")
        columns = _objects(good["object"], names)
    return Lines(
        trimmed(columns).hstack(good.select("row")),
        wrong.select("row", "payload", pl.lit(None, pl.Int64).alias("found")),
    )


def _objects(lines: pl.Series, names: Sequence[str]) -> pl.DataFrame:
    """The values of JSON objects as text columns."""
    schema = dict.fromkeys(names, pl.String)
    if lines.is_empty():
        return pl.DataFrame(schema=schema)
    return pl.read_ndjson(io.BytesIO("\n".join(lines.to_list()).encode()), schema=schema)


def _is_strict(line: str) -> bool:
    """Whether a line is JSON to the letter of its standard: no NaN, no comma at the end."""
    try:
        json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return False
    return True


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _read_plain_objects(text: bytes, names: Sequence[str]) -> pl.DataFrame | None:
    """The columns of a text in which every line is a flat object of known names; else None.

    A name that stands twice shows in the count of names, which is that of the values.
    """
    key = f'"(?:{"|".join(map(re.escape, names))})"'
    value = r'(?:"(?:[^"\\]|\\.)*"|-?[0-9]+(?:\.[0-9]+)?|true|false|null)'
    flat = rf"^\{{{key}:{value}(?:,{key}:{value})*\}}\r?$"
    line = pl.col("line")
    try:
        found = (
            pl.scan_csv(
                text,
                has_header=False,
                separator=NO_SIGN,
                quote_char=None,
                schema=pl.Schema({"line": pl.String}),
            )
            .select(
                line.str.contains(flat).fill_null(False).all().alias("flat"),
                line.str.count_matches(f"[{{,]{key}:").sum().alias("names"),
                line.str.count_matches(":null[,}]").sum().alias("nulls"),
            )
            .collect(engine="streaming")
            .row(0, named=True)
        )
        if not found["flat"]:
            return None
        columns = pl.read_ndjson(io.BytesIO(text), schema=dict.fromkeys(names, pl.String))
    except (pl.exceptions.ComputeError, pl.exceptions.SchemaError):
        return None
    values = columns.height * len(names) - sum(columns.null_count().row(0))
    return columns if found["names"] - found["nulls"] == values else None


def cells_of(line: str, separator: str = ",") -> list[str]:
    """The cells of one line, trimmed: a header. A line that is no such thing is one cell."""
    try:
        cells = next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        cells = [line]
    return [cell.strip() for cell in cells]


def trimmed(columns: pl.DataFrame) -> pl.DataFrame:
    """Cells without blanks at their ends; empty ones are null."""
    return columns.with_columns(pl.all().str.strip_chars()).with_columns(
        pl.when(pl.col(name) != "").then(name) for name in columns.columns
    )


def _trimmed_of(columns: pl.DataFrame, text: bytes) -> pl.DataFrame:
    """The same, touching only columns that have such cells: to look is cheaper than to trim."""
    signs = [sign for sign in (" ", "\t", "\r") if sign.encode() in text]
    names = columns.columns
    if text.isascii() and names:

        def edges(name: str) -> list[pl.Expr]:
            cell = pl.col(name).str
            return [
                edge for sign in signs for edge in (cell.starts_with(sign), cell.ends_with(sign))
            ]

        found = columns.select(
            pl.any_horizontal(pl.col(name) == "", *edges(name)).any().alias(name) for name in names
        ).row(0, named=True)
        names = [name for name in names if found[name]]
    return columns.with_columns(trimmed(columns.select(names))) if names else columns
