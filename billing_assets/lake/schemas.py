"""Frames held against the contract of their table.

The one declaration is `Table.schema`; the columns of a lazy frame are known without running it.
"""

from collections.abc import Sequence

import polars as pl

from billing_assets.core.errors import BillingError
from billing_assets.lake.tables import Table


def conform(table: Table, frame: pl.LazyFrame, keep: Sequence[str] = ()) -> pl.LazyFrame:
    """The frame with its columns in contract order; Enum and Categorical may stand for String.

    `keep` are columns beside the contract that stay.

    Raises `BillingError` naming every column that is missing, too much or of another type.
    """
    schema = frame.collect_schema()
    wrong = [
        f"{name} is {_word(schema.get(name))}, not {dtype}"
        for name, dtype in table.schema.items()
        if not _fits(schema.get(name), dtype)
    ]
    wrong += [f"{name} is not a column" for name in schema if name not in [*table.schema, *keep]]
    if wrong:
        raise BillingError(
            f"rows do not fit table {table.name}: {'; '.join(wrong)}",
            hint="the table's contract is declared once, as its `Table`",
        )
    return frame.select(*table.schema.names(), *keep)


def _fits(dtype: pl.DataType | None, wanted: pl.DataType) -> bool:
    return dtype == wanted or (wanted == pl.String and isinstance(dtype, pl.Categorical | pl.Enum))


def _word(dtype: pl.DataType | None) -> str:
    return "missing" if dtype is None else "Enum" if isinstance(dtype, pl.Enum) else str(dtype)
