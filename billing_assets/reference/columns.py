"""Our names of the columns of a rate sheet."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

TEXT_COLUMNS = (
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
"""What a row of a deck may say: the fields of RateRow."""

SHEET_COLUMNS = (*TEXT_COLUMNS, "currency", "previous_rate", "first", "next")
"""What a sheet may say besides: to be compared, and increments in two columns."""


def _our_column(name: str) -> str:
    if name not in SHEET_COLUMNS:
        raise ValueError(
            f"{name} is not a column of a rate sheet; known: {', '.join(SHEET_COLUMNS)}"
        )
    return name


OurColumn = Annotated[str, AfterValidator(_our_column)]
"""Our name of a sheet's column."""


def plain_name(name: str) -> str:
    """A name of theirs as it is compared: in lower case, with single blanks."""
    return " ".join(name.lower().split())


def claimed_twice(named: Iterable[tuple[str, str]]) -> str:
    """Which name of theirs stands for two of ours, in words; empty when none does."""
    first: dict[str, str] = {}
    for ours, theirs in named:
        before = first.setdefault(plain_name(theirs), ours)
        if before != ours:
            return f"{theirs!r} stands for {before} and for {ours}"
    return ""


def _distinct(columns: dict[str, str]) -> dict[str, str]:
    if twice := claimed_twice(columns.items()):
        raise ValueError(twice)
    return columns


ColumnNames = Annotated[dict[OurColumn, str], AfterValidator(_distinct)]
"""Their name of each of some columns of ours."""
