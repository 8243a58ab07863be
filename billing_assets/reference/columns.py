"""Our names of the columns of a rate sheet."""

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
