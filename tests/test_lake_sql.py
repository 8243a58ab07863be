"""SQL over the lake: exact money, pinned versions, filters that reach the files."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from billing_assets.core.errors import BillingError, NotFound
from billing_assets.lake.sql import connect
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import TABLES, Table
from tests.support.lake_writers import LEG, MARCH, legs

FIRST, SECOND = {"day": MARCH[0]}, {"day": MARCH[1]}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def test_scaled_integers_stand_beside_exact_decimals(lake: Lake):
    e10 = [1, -1, 2**63 - 1, -(2**63), 12_345_000_000_000, 0, None]
    frame = legs(MARCH[0], count=len(e10)).with_columns(pl.Series("amount_e10", e10, pl.Int64))
    lake.replace_slice(LEG, frame, FIRST)
    rows = connect(lake, [LEG]).sql("SELECT amount_e10, amount FROM leg ORDER BY record_id")
    assert rows.fetchall() == [
        (1, Decimal("0.0000000001")),
        (-1, Decimal("-0.0000000001")),
        (2**63 - 1, Decimal("922337203.6854775807")),
        (-(2**63), Decimal("-922337203.6854775808")),
        (12_345_000_000_000, Decimal("1234.5000000000")),
        (0, Decimal("0E-10")),
        (None, None),
    ]


def test_a_sum_of_money_is_a_decimal_and_exact(lake: Lake):
    # as doubles, 0.1 a thousand times is not 100
    lake.replace_slice(LEG, legs(MARCH[0], count=1000, amount_e10=10**9), FIRST)
    total = connect(lake, [LEG]).sql("SELECT sum(amount), typeof(sum(amount)) FROM leg")
    assert total.fetchall() == [(Decimal("100.0000000000"), "DECIMAL(38,10)")]


def test_a_connection_at_pins_sees_those_versions_and_no_other_table(lake: Lake):
    lake.replace_slice(LEG, legs(MARCH[0], amount_e10=1), FIRST)
    pins = lake.pins([LEG])
    lake.replace_slice(LEG, legs(MARCH[0], amount_e10=2), FIRST)
    tables = [LEG, *TABLES.values()]
    pinned = connect(lake, tables, pins)
    assert pinned.sql("SELECT DISTINCT amount_e10 FROM leg").fetchall() == [(1,)]
    assert pinned.sql("SHOW TABLES").fetchall() == [("leg",)]
    assert connect(lake, tables).sql("SELECT DISTINCT amount_e10 FROM leg").fetchall() == [(2,)]
    with pytest.raises(NotFound, match="leg has no version 9"):
        connect(lake, tables, {"leg": 9})


def test_every_table_of_the_contracts_is_a_view_before_it_is_written(lake: Lake):
    connection = connect(lake, TABLES.values())
    for name, table in TABLES.items():
        columns = connection.sql(f"SELECT * FROM {name}").columns
        assert len(columns) == len(set(columns))
        assert set(table.schema) <= set(columns)
        assert connection.sql(f"SELECT count(*) FROM {name}").fetchall() == [(0,)]


def test_a_table_declared_on_the_fly_is_a_view_too(lake: Lake):
    mart = Table(
        "margin",
        "a month and partner",
        pl.Schema({"month": pl.String, "partner": pl.String, "margin": pl.Decimal(38, 10)}),
        ("month",),
    )
    frame = pl.DataFrame(
        {"month": ["2026-03"], "partner": ["P01"], "margin": [Decimal("0.1")]}, schema=mart.schema
    )
    lake.replace_slice(mart, frame, {"month": "2026-03"})
    assert connect(lake, [mart]).sql("SELECT * FROM margin").fetchall() == [
        ("2026-03", "P01", Decimal("0.1000000000"))
    ]


def test_times_are_shown_in_utc(lake: Lake):
    lake.replace_slice(LEG, legs(MARCH[0]), FIRST)
    shown = connect(lake, [LEG]).sql("SELECT DISTINCT event_time::VARCHAR FROM leg").fetchall()
    assert shown == [("2026-03-01 00:00:00+00",)]


def test_filters_and_columns_reach_the_files(lake: Lake):
    for day in MARCH[:2]:
        lake.replace_slice(LEG, legs(day), {"day": day})
    connection = connect(lake, [LEG])
    query = "SELECT sum(amount) FROM leg WHERE day = '2026-03-01' AND partner = 'P3'"
    [(_, plan)] = connection.sql(f"EXPLAIN {query}").fetchall()
    scan = plan[plan.index("ARROW_SCAN") :]
    assert "partner='P3'" in scan
    assert "record_id" not in scan
    for file in Path(lake.uri).rglob("day=2026-03-02/**/*.parquet"):
        file.unlink()
    # records 3 of the ten: 3 is the only one whose remainder by 7 is 3
    assert connection.sql(query).fetchall() == [(Decimal("0.0000000001"),)]


def test_money_may_be_filtered_by(lake: Lake):
    frame = legs(MARCH[0]).with_columns(pl.col("record_id").alias("amount_e10"))
    lake.replace_slice(LEG, frame, FIRST)
    connection = connect(lake, [LEG])
    for condition in ("amount > 0.0000000007", "amount_e10 > 7", "amount - 7 * fee > 0"):
        assert connection.sql(f"SELECT count(*) FROM leg WHERE {condition}").fetchall() == [(2,)]
    assert connection.sql("SELECT count(*) FROM leg WHERE fee = 0.0000000001").fetchall() == [(10,)]


def test_a_table_that_was_written_with_other_columns_is_told(lake: Lake) -> None:
    lake.replace_slice(LEG, legs(MARCH[0]), FIRST)
    newer = replace(LEG, schema=pl.Schema({**LEG.schema, "late": pl.Int64}))
    with pytest.raises(BillingError, match="table leg has no late: an earlier version wrote it"):
        connect(lake, [newer])
