"""Layout templates: how a partner writes its rate sheets, and where the header stands.

A layout says what columns are called, not what prices mean (catalogue 2.1, RS1). The house's own
form has RateRow's names as its header; `layouts.yaml` of this package has what many carriers
use, a `layouts.yaml` in the reference folder adds a partner's own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, model_validator

from billing_assets.reference.columns import SHEET_COLUMNS, OurColumn, claimed_twice, plain_name
from billing_assets.reference.forms import Form, Name
from billing_assets.reference.grids import Grid
from billing_assets.reference.yamltext import Located

_HEAD_ROWS = 100
"""A header stands within so many rows from the top."""

Marker = Literal[
    "new", "increase", "decrease", "unchanged", "withdrawn", "blocked", "moved", "pending"
]


def _names(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


class PriceColumn(Form):
    """One of several price columns: what it prices."""

    column: Name
    origin: str = ""
    band: str = ""


class Layout(Form):
    """How a sheet is written.

    `columns` maps our names to theirs; `ignore` are columns that carry no term. `prices` are
    several price columns in place of `rate`. `rates` and `codes` name the worksheets of a
    workbook that has prices and codes apart, joined by destination; without names they are told
    by their headers. `dates` settles 03/04/2026 when the column alone does not; `words` are the
    sender's own words for a marker.
    """

    columns: dict[
        OurColumn, Annotated[tuple[Name, ...], BeforeValidator(_names), Field(min_length=1)]
    ] = Field(default_factory=dict)
    ignore: tuple[Name, ...] = ()
    prices: tuple[PriceColumn, ...] = ()
    rates: str = ""
    codes: str = ""
    dates: Literal["auto", "dmy", "mdy"] = "auto"
    decimal: Literal[".", ","] = "."
    words: dict[Marker, tuple[Name, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_kind_of_prices(self) -> "Layout":
        if self.prices and "rate" in self.columns:
            raise ValueError("prices stand in place of the column rate")
        return self

    @model_validator(mode="after")
    def _names_each_column_once(self) -> "Layout":
        named = [(ours, name) for ours, theirs in self.columns.items() for name in theirs]
        named += [("ignore", name) for name in self.ignore]
        named += [(f"prices.{n}", price.column) for n, price in enumerate(self.prices)]
        if twice := claimed_twice(named):
            raise ValueError(twice)
        words = [(ours, word) for ours, listed in self.words.items() for word in listed]
        if twice := claimed_twice(words):
            raise ValueError(twice)
        return self


HOUSE = Layout(columns={name: (name,) for name in SHEET_COLUMNS})
"""The header has our own names."""


@cache
def known_layouts() -> Mapping[str, Layout]:
    """The layouts that come with the product, by name."""
    path = Path(__file__).parent / "layouts.yaml"
    located = Located(path.read_bytes(), path.name)
    return TypeAdapter(dict[str, Layout]).validate_python(located.value)


def with_columns(layout: Layout, columns: Mapping[str, str]) -> Layout:
    """The layout with some of its columns called otherwise; their names mean nothing else then."""
    taken = {plain_name(name) for name in columns.values()}

    def free(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in names if plain_name(name) not in taken)

    renamed = {ours: free(theirs) for ours, theirs in layout.columns.items()}
    renamed |= {ours: (theirs,) for ours, theirs in columns.items()}
    return layout.model_copy(update={"columns": renamed, "ignore": free(layout.ignore)})


@dataclass(frozen=True)
class Header:
    """Where a header stands: its row's place in the grid, and our name of each column.

    A column of `prices` has the name 'price N'; one that is passed over, None. `unknown` are
    columns that the layout does not name.
    """

    grid: Grid
    at: int
    columns: list[str | None]
    unknown: list[str]

    @property
    def row(self) -> int:
        """Its row or line number."""
        return self.grid.rows[self.at][0]

    @property
    def has_prices(self) -> bool:
        """Whether prices stand below it."""
        return any(name == "rate" or (name or "").startswith("price ") for name in self.columns)

    @property
    def has_codes(self) -> bool:
        """Whether codes stand below it."""
        return "code" in self.columns


def find_header(grid: Grid, layout: Layout) -> Header | None:
    """The row near the top that has most columns of the layout, at least two or the only one."""
    ours = _by_their_name(layout)
    best: Header | None = None
    most = 0
    for at, (_, row) in enumerate(grid.rows[:_HEAD_ROWS]):
        texts = [plain_name(cell) if isinstance(cell, str) else "" for cell in row]
        columns = [ours.get(text) if text else None for text in texts]
        found = len({name for name in columns if name})
        if found > most and (found > 1 or len(columns) == 1):
            unknown = [
                str(cell)
                for cell, text in zip(row, texts, strict=True)
                if cell is not None and text not in ours
            ]
            names = [None if name == "ignore" else name for name in columns]
            best, most = Header(grid, at, names, unknown), found
    return best


def _by_their_name(layout: Layout) -> dict[str, str]:
    found = {plain_name(name): "ignore" for name in layout.ignore}
    for ours, theirs in layout.columns.items():
        for name in theirs:
            found[plain_name(name)] = ours
    for number, price in enumerate(layout.prices):
        found[plain_name(price.column)] = f"price {number}"
    return found
