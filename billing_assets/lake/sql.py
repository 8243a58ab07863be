"""SQL over the lake: a DuckDB with every table as a view, at its newest or at a pinned version."""

from collections.abc import Iterable, Mapping

import duckdb

from billing_assets.core.errors import BillingError
from billing_assets.core.money import SCALE
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import Table


def connect(
    lake: Lake, tables: Iterable[Table], pins: Mapping[str, int] | None = None
) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with a view for each table; filters and columns reach the files.

    Beside each scaled integer `x_e10` stands the exact decimal `x`. With `pins`, tables are
    read at those versions and tables without a pin are left out; a table that was never written
    is an empty view. Raises `NotFound` for a pinned version that does not exist, `BillingError` for
    a table that was written with other columns.
    """
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for table in tables:
        if pins is not None and table.name not in pins:
            continue
        version = None if pins is None else pins[table.name]
        dataset = lake.dataset(table, version)
        missing = sorted(set(table.schema) - set(dataset.schema.names))
        if missing:
            raise BillingError(
                f"table {table.name} has no {', '.join(missing)}: an earlier version wrote it",
                hint="begin with a new home, or make the table's days again",
            )
        rows = connection.from_arrow(dataset)
        rows.project(", ".join(_columns(table))).create_view(table.name)
    return connection


def _columns(table: Table) -> list[str]:
    columns = []
    for name in table.schema:
        columns.append(f'"{name}"')
        if name.endswith("_e10"):
            # int64 is at most 19 digits; a product of decimals is exact, a quotient is a DOUBLE
            unit = f"CAST(0.{'0' * (SCALE - 1)}1 AS DECIMAL({SCALE}, {SCALE}))"
            columns.append(f'CAST("{name}" AS DECIMAL(19, 0)) * {unit} AS "{name[:-4]}"')
    return columns
