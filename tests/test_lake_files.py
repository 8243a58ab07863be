"""What the log says of each data file, and what other readers of Delta make of it."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pa_fs
import pytest
from deltalake import DeltaTable

from billing_assets.lake.store import Lake
from billing_assets.lake.tables import UTC_TIME, Table
from tests.support.lake_writers import LEG, MARCH, legs

FIRST = {"day": MARCH[0]}

EVERY_TYPE = Table(
    "every_type",
    "one row",
    pl.Schema(
        {
            "day": pl.Date,
            "id": pl.Int64,
            "small": pl.Int8,
            "word": pl.String,
            "time": UTC_TIME,
            "date": pl.Date,
            "money": pl.Decimal(38, 10),
            "flag": pl.Boolean,
            "share": pl.Float64,
            "empty": pl.Int64,
        }
    ),
    ("day",),
    ("id",),
)


NOTHING = pa.scalar(Decimal("0E-10"), pa.decimal128(38, 10))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def stated(lake: Lake, table: Table) -> list[dict[str, Any]]:
    """The statistics that the newest commit of a table states, decimals exact."""
    log = sorted(Path(lake.uri, table.name, "_delta_log").glob("*.json"))[-1]
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    return [
        json.loads(action["add"]["stats"], parse_float=Decimal)
        for action in actions
        if "add" in action
    ]


@pytest.fixture
def rows() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "day": [MARCH[0]] * 3,
            "id": [1, 2, 3],
            "small": [-3, 4, None],
            "word": ["b", "ä", None],
            "time": [datetime(2026, 3, 1, 23, 59, 59, 999999, tzinfo=UTC)] * 3,
            "date": [MARCH[4], MARCH[2], None],
            "money": [Decimal("-0.0000000001"), Decimal("9007199254740993.0000000001"), None],
            "flag": [True, False, None],
            "share": [0.5, 0.25, None],
            "empty": [None] * 3,
        },
        schema=EVERY_TYPE.schema,
    )


def test_the_log_states_rows_nulls_and_exact_bounds_of_every_column(lake: Lake, rows: pl.DataFrame):
    lake.replace_slice(EVERY_TYPE, rows, FIRST)
    [statistics] = stated(lake, EVERY_TYPE)
    assert statistics == {
        "numRecords": 3,
        "minValues": {
            "id": 1,
            "small": -3,
            "word": "b",
            "time": "2026-03-01T23:59:59.999999Z",
            "date": "2026-03-03",
            "money": Decimal("-0.0000000001"),
            "flag": False,
            "share": Decimal("0.25"),
        },
        "maxValues": {
            "id": 3,
            "small": 4,
            "word": "ä",
            "time": "2026-03-01T23:59:59.999999Z",
            "date": "2026-03-05",
            # more digits than a double holds
            "money": Decimal("9007199254740993.0000000001"),
            "flag": True,
            "share": Decimal("0.5"),
        },
        "nullCount": {name: 1 for name in EVERY_TYPE.schema if name not in ("day", "id", "time")}
        | {"id": 0, "time": 0, "empty": 3},
    }


def test_a_bound_that_json_cannot_hold_is_left_out(lake: Lake, rows: pl.DataFrame):
    lake.replace_slice(EVERY_TYPE, rows.with_columns(share=float("inf")), FIRST)
    [statistics] = stated(lake, EVERY_TYPE)
    assert "share" not in statistics["minValues"]
    assert statistics["nullCount"]["share"] == 0


def test_a_long_text_is_within_its_bounds(lake: Lake, rows: pl.DataFrame):
    longest = "ü" * 500
    lake.replace_slice(EVERY_TYPE, rows.with_columns(word=pl.lit(longest)), FIRST)
    [statistics] = stated(lake, EVERY_TYPE)
    assert statistics["minValues"]["word"] <= longest <= statistics["maxValues"]["word"]


def test_bounds_are_over_all_row_groups(lake: Lake):
    frame = legs(MARCH[0], count=400_000).lazy()
    lake.replace_slice(LEG, frame, FIRST)
    [file] = Path(lake.uri).rglob("*.parquet")
    assert pl.scan_parquet(file).select(pl.len()).collect().item() == 400_000
    [statistics] = stated(lake, LEG)
    assert statistics["numRecords"] == 400_000
    assert statistics["minValues"]["record_id"] == 0
    assert statistics["maxValues"]["record_id"] == 399_999


def test_a_reader_of_the_log_skips_files_by_bounds(lake: Lake):
    buckets = [legs(MARCH[0], bucket=bucket, amount_e10=100 * bucket) for bucket in range(4)]
    lake.replace_slice(LEG, pl.concat(buckets), FIRST)
    delta = DeltaTable(f"{lake.uri}/leg")
    files = delta.file_uris(file_pruning_predicate="amount_e10 > 250")
    assert ["bucket=3" in file for file in files] == [True]
    assert delta.file_uris(file_pruning_predicate="amount_e10 > 300") == []


@pytest.mark.parametrize("bounds", [True, False])
@pytest.mark.parametrize(
    ("expression", "predicate", "count"),
    [
        (ds.field("empty").is_null(), pl.col("empty").is_null(), 3),
        (ds.field("small") > 0, pl.col("small") > 0, 1),
        (ds.field("word").is_null(), pl.col("word").is_null(), 1),
        (ds.field("word") == "ä", pl.col("word") == "ä", 1),
        (ds.field("money") < NOTHING, pl.col("money") < 0, 1),
        (ds.field("share") >= 0.5, pl.col("share") >= 0.5, 1),
        (ds.field("day") == MARCH[0], pl.col("day") == MARCH[0], 3),
        (ds.field("day") == MARCH[1], pl.col("day") == MARCH[1], 0),
    ],
)
def test_every_reader_finds_the_same_rows(
    lake: Lake,
    rows: pl.DataFrame,
    expression: ds.Expression,
    predicate: pl.Expr,
    count: int,
    bounds: bool,
):
    words = rows.with_columns(pl.col("word").cast(pl.Categorical))
    lake.replace_slice(replace(EVERY_TYPE, bounds=bounds), words, FIRST)
    assert found(lake, EVERY_TYPE, expression, predicate) == [count] * 4


def found(lake: Lake, table: Table, expression: ds.Expression, predicate: pl.Expr) -> list[int]:
    """How many rows each reader finds: Polars and Arrow by our own lists of files, and both by
    those of delta-rs."""
    location = f"{lake.uri}/{table.name}"
    local = pa_fs.SubTreeFileSystem(location, pa_fs.LocalFileSystem())
    whole = DeltaTable(location).to_pyarrow_dataset(filesystem=local)
    return [
        lake.scan(table).filter(predicate).collect().height,
        lake.dataset(table).to_table(filter=expression).num_rows,
        pl.scan_delta(location).filter(predicate).collect().height,
        whole.to_table(filter=expression).num_rows,
    ]


def test_a_table_that_no_longer_states_bounds_says_so_before_its_first_file(lake: Lake):
    lake.replace_slice(LEG, legs(MARCH[0], amount_e10=100), FIRST)
    bare = replace(LEG, bounds=False)
    lake.replace_slice(bare, legs(MARCH[1], amount_e10=200), {"day": MARCH[1]})
    [statistics] = stated(lake, LEG)
    assert statistics == {"numRecords": 10, "minValues": {}, "maxValues": {}, "nullCount": {}}
    for amount, count in ((200, 10), (100, 20)):
        expression, predicate = ds.field("amount_e10") >= amount, pl.col("amount_e10") >= amount
        assert found(lake, LEG, expression, predicate) == [count] * 4
    version = lake.version(LEG)
    lake.replace_slice(bare, legs(MARCH[2], amount_e10=300), {"day": MARCH[2]})
    assert lake.version(LEG) == (version or 0) + 1


def test_our_own_dataset_survives_a_bound_that_is_not_stated(lake: Lake, rows: pl.DataFrame):
    lake.replace_slice(EVERY_TYPE, rows.with_columns(share=float("nan")), FIRST)
    assert "share" not in stated(lake, EVERY_TYPE)[0]["minValues"]
    assert lake.dataset(EVERY_TYPE).to_table(filter=ds.field("share").is_valid()).num_rows == 3
    assert lake.dataset(EVERY_TYPE).to_table(filter=ds.field("share").is_nan()).num_rows == 3
