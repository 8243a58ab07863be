"""Longest match as direct lookup: every number has one code id among all codes of a plan.

The first level is indexed by a number's first digits (seven where codes are many; shorter numbers
stand behind, by their own value), each further level by two more digits. A cell holds a code id,
or points to a block of the next level where longer codes begin. No search, no join, no string.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from billing_assets.intake.numbers import MAX_KEPT

HEAD = 7
"""Digits of the first level where codes are many and most of them longer than a country's."""
FEW_HEAD = 5
_MANY = 30_000
STEP = 2
BLOCK = 111
"""Cells of a block: 100 for two further digits, 10 for one, 1 for a number that ends before."""

NO_CODE = 0
_WIDE = 500
_POWERS = 10 ** np.arange(MAX_KEPT + 1, dtype=np.int64)


@dataclass(frozen=True)
class CodeIndex:
    """Codes of a plan by id, and the tables that find the longest one of a number.

    `codes[id]` is the code's digits as int64 (id 0: no code); `parents[id]` the id of the next
    shorter code that is its prefix; `levels[0]` has 1.1 * 10^head int32 cells, the others blocks.
    A negative cell -(b+1) points to block b of the next level.
    """

    head: int
    codes: np.ndarray
    parents: np.ndarray
    lengths: np.ndarray
    levels: tuple[np.ndarray, ...]

    def ids_of(self, codes: np.ndarray) -> np.ndarray:
        """Ids of codes that the index knows."""
        return self._order[np.searchsorted(self._ascending, codes)]

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.codes, kind="stable")

    @cached_property
    def _ascending(self) -> np.ndarray:
        return self.codes[self._order]

    def with_ids(self, frame: pl.LazyFrame, number: str, length: str, name: str) -> pl.LazyFrame:
        """Add column `name`: the code id (Int32) of a column of numbers with their lengths.

        Null numbers stay null; a number without any code has id 0. Each level is a column of its
        own making: nested in one expression, the levels would double it each.
        """
        digits, size = pl.col(number), pl.col(length)
        head = self.head
        # one product, then quotients by constants, which take a third of those by a column
        spare = (MAX_KEPT - size).clip(0, MAX_KEPT)
        frame = frame.with_columns((digits * _gather(_POWERS, spare)).alias("_aligned"))
        first = pl.col("_aligned") // int(_POWERS[MAX_KEPT - head])
        place = pl.when(size >= head).then(first).otherwise(digits + 10**head)
        frame = frame.with_columns(_gather(self.levels[0], place).alias(name))
        cell = pl.col(name)
        for depth, table in enumerate(self.levels[1:], start=1):
            known = head + STEP * depth
            two = pl.col("_aligned") // int(_POWERS[MAX_KEPT - known]) % 100
            place = (
                pl.when(size >= known)
                .then(two)
                .when(size == known - 1)
                .then(100 + two // 10)
                .otherwise(110)
            )
            points = cell < 0
            below = pl.when(points).then((-cell - 1).cast(pl.Int64) * BLOCK + place).otherwise(0)
            found = pl.when(points).then(_gather(table, below)).otherwise(cell)
            frame = frame.with_columns(found.alias(name))
        return frame


def _gather(table: np.ndarray, index: pl.Expr) -> pl.Expr:
    return pl.lit(pl.Series(table)).gather(index)


def build_code_index(codes: Iterable[np.ndarray], head: int | None = None) -> CodeIndex:
    """Index the union of some arrays of codes (int64 digits, 1 to 15 of them, no leading zero).

    `head` are the digits of the first level: fewer keep a table of few codes small (by default
    `HEAD` of them where codes are many).
    """
    parts = [pl.Series(np.asarray(part, np.int64)) for part in codes]
    union = pl.concat([pl.Series(dtype=pl.Int64), *parts]).unique().sort().to_numpy()
    head = head or (HEAD if len(union) > _MANY else FEW_HEAD)
    lengths = np.searchsorted(_POWERS, union, side="right").astype(np.int8)
    order = np.argsort(lengths, kind="stable")
    ids = np.concatenate([[0], union[order]]).astype(np.int64)
    sizes = np.concatenate([[0], lengths[order]]).astype(np.int8)
    return CodeIndex(head, ids, _parents(ids, sizes), sizes, _levels(ids, sizes, head))


def _parents(codes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """For each code the id of the longest shorter code that is its prefix (0: none)."""
    parents = np.zeros(len(codes), np.int32)
    for shorter in range(1, 15):
        of_length = np.flatnonzero(lengths == shorter)
        if not len(of_length):
            continue
        longer = np.flatnonzero(lengths > shorter)
        heads = codes[longer] // _POWERS[lengths[longer] - shorter]
        at = np.searchsorted(codes[of_length], heads)
        at[at == len(of_length)] = 0
        hit = codes[of_length[at]] == heads
        parents[longer[hit]] = of_length[at[hit]]
    return parents


def _paint(cells: np.ndarray, starts: np.ndarray, width: int, ids: np.ndarray) -> None:
    """Write each id into `width` cells from its start."""
    if width > _WIDE:  # few and wide: filled one by one, without their positions in memory
        for start, code in zip(starts, ids, strict=True):
            cells[start : start + width] = code
        return
    cells[(starts[:, None] + np.arange(width)).ravel()] = np.repeat(ids, width)


def _levels(codes: np.ndarray, lengths: np.ndarray, head: int) -> tuple[np.ndarray, ...]:
    first = np.zeros(10**head + 10 ** (head - 1), np.int32)
    for length in range(1, head + 1):
        ids = np.flatnonzero(lengths == length).astype(np.int32)
        _paint(first, codes[ids] * _POWERS[head - length], int(_POWERS[head - length]), ids)
        for short in range(length, head):
            width = int(_POWERS[short - length])
            _paint(first, 10**head + codes[ids] * width, width, ids)
    tables = [first]
    while (lengths > head + STEP * (len(tables) - 1)).any():
        tables.append(_next_level(tables, codes, lengths, head))
    return tuple(tables)


def _next_level(
    tables: list[np.ndarray], codes: np.ndarray, lengths: np.ndarray, head: int
) -> np.ndarray:
    """The blocks of the next two digits; points the cells of the level above at them."""
    base = head + STEP * (len(tables) - 1)
    longer = np.flatnonzero(lengths > base)
    heads = codes[longer] // _POWERS[lengths[longer] - base]
    unique_heads, block_of = np.unique(heads, return_inverse=True)
    cells = unique_heads // _POWERS[base - head]
    for depth, table in enumerate(tables[:-1]):
        below = head + STEP * (depth + 1)
        cells = (-table[cells].astype(np.int64) - 1) * BLOCK
        cells += unique_heads // _POWERS[base - below] % 100
    above = tables[-1]
    table = np.repeat(above[cells], BLOCK).astype(np.int32)
    above[cells] = -np.arange(1, len(cells) + 1, dtype=np.int32)
    one = np.flatnonzero(lengths[longer] == base + 1)
    digit = codes[longer[one]] % 10
    _paint(table, block_of[one] * BLOCK + digit * 10, 10, longer[one].astype(np.int32))
    table[block_of[one] * BLOCK + 100 + digit] = longer[one]
    two = np.flatnonzero(lengths[longer] == base + 2)
    table[block_of[two] * BLOCK + codes[longer[two]] % 100] = longer[two]
    return table
