"""The itemised annex of a PDF: a document's records behind its summary, where they are few enough.

The records are those of the itemised CSV, masked as the partner's terms say; a document with more
of them than its partner wants printed has the CSV alone.
"""

from io import BytesIO
from typing import Final

import polars as pl
from babel.numbers import get_decimal_symbol

from billing_assets.invoicing.document import Document
from billing_assets.invoicing.layout import locale_of

COLUMNS: Final = (
    "time_local", "a_number", "b_number", "destination", "duration_s", "rate", "amount",
)  # fmt: skip
"""Cells of a row, in the order of the layout's columns."""

_NUMBERS: Final = ("duration_s", "rate", "amount")


def annex_of(document: Document, itemised: bytes | None) -> str | None:
    """The annex as CSV text of COLUMNS, written in the document's language; None without one.

    `itemised` is the content of the itemised CSV.
    """
    if not document.annex_records or itemised is None:
        return None
    rows = pl.read_csv(BytesIO(itemised), infer_schema=False, n_rows=document.annex_records + 1)
    if not 0 < rows.height <= document.annex_records:
        return None
    point = get_decimal_symbol(locale_of(document.language)[0])
    return (
        rows.select(COLUMNS)
        .with_columns(
            pl.col("time_local").str.slice(0, 19).str.replace("T", " "),
            pl.col(_NUMBERS).str.replace(".", point, literal=True),
        )
        .write_csv(include_header=False)
    )
