"""Quotes of separated lines: which stand right, which can be mended, and fields over lines.

Only lines whose quotes are odd are looked at, each once: a file may be full of them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

MAX_SPAN = 20
"""Lines that one record may span through line breaks in quoted fields."""

LINE: Mapping[str, type[pl.DataType]] = {"row": pl.Int64, "payload": pl.String}
"""Columns of numbered lines."""

NO_SIGN = "\x01"
"""A sign that no text has."""


@dataclass(frozen=True)
class Shape:
    """What a line must look like: its columns, and quotes only around whole fields."""

    width: int
    separator: str
    fewest: int | None

    @property
    def pattern(self) -> str:
        """A regular expression of lines whose quotes stand around whole fields, or nowhere."""
        mark = re.escape(self.separator)
        return rf'^(?:(?:"(?:[^"]|"")*"|[^"{mark}]*)(?:{mark}|$))*$'

    def is_of(self, cells: int) -> bool:
        """Whether a number of columns is right."""
        return cells == self.width if self.fewest is None else cells >= self.fewest

    def of_cells(self, cells: pl.Expr) -> pl.Expr:
        """The same for a column of numbers."""
        return cells == self.width if self.fewest is None else cells >= self.fewest

    def fits(self, payload: str) -> bool:
        """Whether a record, over however many lines, is well formed."""
        outside = payload.split('"')[::2]
        first, *middle, last = outside if len(outside) > 1 else ("", *outside)
        mark = self.separator
        return (
            payload.count('"') % 2 == 0
            and (not first or first.endswith(mark))
            # two quotes within a field have nothing between them
            and all(not one or (one[0] == mark and one[-1] == mark) for one in middle)
            and (not last or last.startswith(mark))
            and self.is_of(sum(one.count(mark) for one in outside) + 1)
        )

    def requoted(self, payload: str) -> str | None:
        """A line of quoted fields whose inner quotes were not doubled, as it should be.

        Such a line begins and ends with a quote and changes fields only at quote, separator,
        quote; with the right number of fields there is one way to read it. Where lines may have
        further columns, quotes may stand in the middle of a field too, in pairs.
        """
        if len(payload) < 2 or payload[0] != '"' or payload[-1] != '"':
            return self._paired(payload) if self.fewest is not None else None
        edge = f'"{self.separator}"'
        cells = payload[1:-1].split(edge)
        if not self.is_of(len(cells)):
            return None
        return f'"{edge.join(cell.replace(chr(34), chr(34) * 2) for cell in cells)}"'

    def _paired(self, payload: str) -> str | None:
        """A line in which pairs of quotes stand anywhere and keep their separators together."""
        parts = payload.split('"')
        if len(parts) % 2 == 0:
            return None
        inside = [part.replace(self.separator, NO_SIGN) for part in parts[1::2]]
        parts[1::2] = inside
        cells = '""'.join(parts).split(self.separator)
        if not self.is_of(len(cells)):
            return None
        return self.separator.join(f'"{cell}"' for cell in cells).replace(NO_SIGN, self.separator)


def mend_quotes(lines: pl.DataFrame, shape: Shape) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lines with well-formed quotes, and those that cannot be read.

    Only lines whose quotes are odd are looked at: a line of quoted fields with bare quotes in
    them is written anew, and lines over which one quoted field runs become one.
    """
    broken = lines.filter(
        pl.col("payload").str.contains('"', literal=True)
        & ~pl.col("payload").str.contains(shape.pattern)
    )
    if broken.is_empty():
        return lines, broken
    # a field may run on over the lines after it: no others are taken out of their columns
    row = pl.col("row")
    reach = broken.select(pl.int_ranges(row, row + MAX_SPAN).alias("row")).explode("row").unique()
    row_of = dict(lines.join(reach, on="row", how="semi").select(*LINE).iter_rows())
    anew: dict[int, str] = {}
    swallowed: set[int] = set()
    candidates = broken["row"].to_list()
    for row in candidates:
        if row in swallowed:
            continue
        written = shape.requoted(row_of[row])
        if written is None:
            span = _span(row_of, row)
            whole = "\n".join(row_of[n] for n in span)
            if shape.fits(whole):
                written = whole
                swallowed.update(span[1:])
        if written is not None:
            anew[row] = written
    taken = {*anew, *swallowed}
    mended = pl.DataFrame(list(anew.items()), schema=pl.Schema(LINE), orient="row")
    readable = pl.concat(
        [lines.filter(~pl.col("row").is_in(candidates) & ~pl.col("row").is_in(swallowed)), mended]
    ).sort("row")
    return readable, broken.filter(~pl.col("row").is_in(taken))


def _span(row_of: Mapping[int, str], row: int) -> list[int]:
    """A line and those over which a field that it leaves open may run: to the next odd quote."""
    span = [row]
    if row_of[row].count('"') % 2 == 0:
        return span
    for further in range(row + 1, row + MAX_SPAN):
        if further in row_of:
            span.append(further)
            if row_of[further].count('"') % 2:
                break
    return span
