"""The codes of a deck as nodes of a tree, so that longest match is one read of a table."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

import numpy as np
import polars as pl

from billing_assets.rating.codes import CodeIndex
from billing_assets.rating.timeline import Stretch

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class DeckNodes:
    """The codes of one deck as nodes 1 to n (0: none of them), shorter codes first.

    `of_code[code id]` is the node of the longest of these codes that the code begins with, in two
    bytes where those do; `parents[node]` that of the next shorter one.
    """

    number: int
    ids: np.ndarray
    of_code: np.ndarray
    parents: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, number: int, codes: np.ndarray, index: CodeIndex) -> Self:
        """Number the codes, and give every code of the plan its node."""
        ids = np.sort(index.ids_of(codes)).astype(np.int64)
        of_code = np.full(len(index.codes), -1, np.int32)
        of_code[ids] = np.arange(1, len(ids) + 1)
        inherit(of_code, index.parents, index.lengths)
        of_code[of_code == -1] = 0
        of_code = of_code.astype(np.uint16 if len(ids) < 2**16 else np.int32)
        parents = np.concatenate([[0], of_code[index.parents[ids]]])
        lengths = np.concatenate([[0], index.lengths[ids]])
        return cls(number, ids, of_code, parents, lengths)

    @property
    def size(self) -> int:
        """Number of nodes with the node 0."""
        return len(self.ids) + 1

    def nodes_of(self, codes: np.ndarray, index: CodeIndex) -> np.ndarray:
        """Nodes of codes of the deck."""
        return self.of_code[index.ids_of(codes)]

    def inherit(self, table: np.ndarray, none: int) -> None:
        """Give nodes without a value (-1) that of the next shorter code; the rest `none`."""
        inherit(table, self.parents, self.lengths)
        table[table == -1] = none


@dataclass(frozen=True)
class Words:
    """A column of words as numbers, which are compared many times a plan."""

    numbers: np.ndarray
    number_of: dict[str, int]

    @classmethod
    def of(cls, column: pl.Series) -> Self:
        """Number the words of a column; mostly it says one word alone."""
        words = column.head(1).to_list()
        if (column == pl.Series(words)).all():
            return cls(np.zeros(len(column), np.uint8), dict.fromkeys(words, 0))
        words = column.unique().to_list()
        numbers = column.cast(pl.Enum(words)).to_physical().to_numpy()
        return cls(numbers, {word: number for number, word in enumerate(words)})

    def for_all_and_for(self, word: str, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Masks of some rows without a word, and of those with this one, if it is one."""
        numbers = self.numbers[rows]
        return tuple(numbers == self.number_of.get(one, -1) for one in dict.fromkeys(["", word]))


@dataclass(frozen=True)
class DeckRows:
    """The rows of a deck: their nodes, when they begin and end in microseconds since 1970, and
    for what they hold."""

    nodes: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    bands: Words
    origins: Words

    @classmethod
    def of(cls, rows: pl.DataFrame, nodes: DeckNodes, index: CodeIndex) -> Self:
        """Read the rows of a deck (columns of table `rate`)."""
        return cls(
            nodes=nodes.nodes_of(rows["code"].to_numpy(), index),
            begins=rows["valid_from"].to_physical().to_numpy(),
            ends=rows["valid_to"].to_physical().fill_null(_NEVER).to_numpy(),
            bands=Words.of(rows["band"]),
            origins=Words.of(rows["origin"]),
        )

    def at(self, stretch: Stretch) -> "HeldRows":
        """The rows that hold when a stretch begins."""
        instant = (stretch.start - _EPOCH) // _MICROSECOND
        rows = np.flatnonzero((self.begins <= instant) & (self.ends > instant))
        bands = self.bands.for_all_and_for(stretch.band, rows)
        return HeldRows(rows, self.nodes[rows], bands, self.origins)


@dataclass(frozen=True)
class HeldRows:
    """The rows of a deck that hold in a stretch: their positions and nodes; `bands` are masks of
    them, those of every band before those of the stretch's own."""

    rows: np.ndarray
    nodes: np.ndarray
    bands: tuple[np.ndarray, ...]
    origins: Words

    def fitting(self, origin: str) -> Iterator[np.ndarray]:
        """Masks of the rows for a class of callers, the most specific last: the origin weighs
        more than the band."""
        for of_origin in self.origins.for_all_and_for(origin, self.rows):
            for of_band in self.bands:
                yield of_origin & of_band


def inherit(table: np.ndarray, parents: np.ndarray, lengths: np.ndarray) -> None:
    """Give each entry without a value (-1) that of its parent, shorter codes first.

    `lengths` are the codes' digits in ascending order, so that each length is one range.
    """
    for length in range(2, 16):
        first, end = np.searchsorted(lengths, (length, length + 1))
        part = table[first:end]
        missing = part == -1
        part[missing] = table[parents[first:end][missing]]


def stack_decks(decks: Iterable[DeckNodes], width: int) -> np.ndarray:
    """`[deck, code id] -> node`, in as few bytes as the largest deck needs."""
    rows = [deck.of_code for deck in decks]
    needed = max((row.dtype.itemsize for row in rows), default=2)
    stacked = np.zeros((len(rows) + 1, width), np.int32 if needed > 2 else np.uint16)
    for number, row in enumerate(rows, start=1):
        stacked[number] = row
    return stacked
