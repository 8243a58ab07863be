"""SQL over the lake: a DuckDB with every table as a view, at its newest or at a pinned version."""

from collections.abc import Iterable, Mapping

import duckdb

from billing_assets.core.money import SCALE
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import Table


def connect(
    lake: Lake, tables: Iterable[Table], pins: Mapping[str, int] | None = None
) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with a view for each table; filters and columns reach the files.

    Beside each scaled integer `x_e10` stands the exact decimal `x`. With `pins`, tables are
    read at those versions and tables without a pin are left out; a table that was never written
    is an empty view.
    """
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for table in tables:
        if pins is not None and table.name not in pins:
            continue
        version = None if pins is None else pins[table.name]
        source = lake.dataset(table, version)
        connection.register(f"_{table.name}", source)
        connection.execute(f"CREATE VIEW {table.name} AS {_select(table)}")
    return connection


def _select(table: Table) -> str:
    columns = []
    for name in table.schema:
        columns.append(f'"{name}"')
        if name.endswith("_e10"):
            unit = f"CAST(0.{'0' * (SCALE - 1)}1 AS DECIMAL({SCALE}, {SCALE}))"
            columns.append(f'CAST("{name}" AS DECIMAL(19, 0)) * {unit} AS "{name[:-4]}"')
    return f'SELECT {", ".join(columns)} FROM "_{table.name}"'
