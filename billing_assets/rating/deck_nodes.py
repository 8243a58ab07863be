"""The codes of a deck as nodes of a tree, so that longest match is one read of a table."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from billing_assets.rating.codes import CodeIndex
from billing_assets.rating.timeline import Stretch


@dataclass(frozen=True)
class DeckNodes:
    """The codes of one deck as nodes 1 to n (0: none of them), shorter codes first.

    `of_code[code id]` is the node of the longest of these codes that the code begins with;
    `parents[node]` that of the next shorter one; `of_rows` are the nodes of the deck's rows.
    """

    number: int
    ids: np.ndarray
    of_code: np.ndarray
    parents: np.ndarray
    lengths: np.ndarray
    of_rows: np.ndarray

    @classmethod
    def of(cls, number: int, codes: np.ndarray, rows: np.ndarray, index: CodeIndex) -> Self:
        """Number the codes, and give every code of the plan its node; `rows` are the codes of the
        deck's rows."""
        ids = np.sort(index.ids_of(codes)).astype(np.int64)
        of_code = np.full(len(index.codes), -1, np.int32)
        of_code[ids] = np.arange(1, len(ids) + 1)
        inherit(of_code, index.parents, index.lengths)
        of_code[of_code == -1] = 0
        parents = np.concatenate([[0], of_code[index.parents[ids]]])
        lengths = np.concatenate([[0], index.lengths[ids]])
        return cls(number, ids, of_code, parents, lengths, of_code[index.ids_of(rows)])

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
class DeckRows:
    """The rows of a deck that hold in a stretch: their positions and nodes; `bands` are masks of
    them, those of every band before those of the stretch's own; `origins` is their column."""

    rows: np.ndarray
    nodes: np.ndarray
    bands: tuple[np.ndarray, ...]
    origins: pl.Series

    @classmethod
    def at(cls, stretch: Stretch, deck: pl.DataFrame, nodes: DeckNodes) -> Self:
        """Choose the rows that hold when a stretch begins."""
        begun, until = pl.col("valid_from") <= stretch.start, pl.col("valid_to")
        valid = deck.select("band", "origin", "valid_from", "valid_to").with_row_index()
        valid = valid.filter(begun & (until.is_null() | (until > stretch.start)))
        rows = valid["index"].to_numpy()
        return cls(
            rows=rows,
            nodes=nodes.of_rows[rows],
            bands=_for_all_and_for(stretch.band, valid["band"]),
            origins=valid["origin"],
        )

    def fitting(self, origin: str) -> Iterator[np.ndarray]:
        """Masks of the rows for a class of callers, the most specific last: the origin weighs
        more than the band."""
        for of_origin in _for_all_and_for(origin, self.origins):
            for of_band in self.bands:
                yield of_origin & of_band


def _for_all_and_for(name: str, words: pl.Series) -> tuple[np.ndarray, ...]:
    """Masks of the rows without a word and of those with the name's, if it is one."""
    return tuple((words == one).to_numpy() for one in dict.fromkeys(["", name]))


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
    small = all(row.max(initial=0) < 2**16 for row in rows)
    stacked = np.zeros((len(rows) + 1, width), np.uint16 if small else np.int32)
    for number, row in enumerate(rows, start=1):
        stacked[number] = row
    return stacked
