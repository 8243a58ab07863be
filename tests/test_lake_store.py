"""One writer and its readers: slices, contracts, versions, pins, vacuum."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from billing_assets.core.errors import BillingError, NotFound
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import TABLES, Table
from tests.support.lake_writers import LEG, MARCH, legs

FIRST, SECOND = {"day": MARCH[0]}, {"day": MARCH[1]}

WORD = Table("word", "a word", pl.Schema({"key": pl.String, "word": pl.String}), ("key",))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def data_files(lake: Lake) -> set[Path]:
    return set(Path(lake.uri).rglob("*.parquet"))


def test_a_table_never_written_is_empty_and_has_its_columns(lake: Lake):
    for table in TABLES.values():
        assert lake.scan(table).collect().equals(pl.DataFrame(schema=table.schema))
    assert not lake.exists(LEG)
    assert lake.version(LEG) is None
    assert lake.pins([LEG]) == {}
    assert lake.vacuum(LEG, []) == []


def test_rows_come_back_as_they_were_in_contract_order(lake: Lake):
    frame = legs(MARCH[0], count=50, amount_e10=-(2**63)).with_columns(
        pl.lit(Decimal("-1234567890123456789012345678.0000000001"), pl.Decimal(38, 10)).alias("fee")
    )
    assert lake.replace_slice(LEG, frame.select(reversed(frame.columns)), FIRST) == 1
    assert lake.scan(LEG).collect().equals(frame.sort(LEG.order))


def test_replacing_a_slice_leaves_the_others_alone(lake: Lake):
    lake.replace_slice(LEG, legs(MARCH[0], amount_e10=1), FIRST)
    lake.replace_slice(LEG, legs(MARCH[1], amount_e10=2), SECOND)
    untouched = {file for file in data_files(lake) if "day=2026-03-02" in str(file)}
    lake.replace_slice(LEG, legs(MARCH[0], count=3, amount_e10=3), FIRST)
    amounts = lake.scan(LEG).group_by("day").agg(pl.col("amount_e10").sum()).sort("day")
    assert amounts.collect().rows() == [(MARCH[0], 9), (MARCH[1], 20)]
    assert untouched == {
        Path(uri) for uri in DeltaTable(f"{lake.uri}/leg").file_uris() if "03-02" in uri
    }


def test_a_day_is_replaced_with_all_its_buckets(lake: Lake):
    lake.replace_slice(LEG, pl.concat(legs(MARCH[0], bucket=b) for b in range(4)), FIRST)
    lake.replace_slice(LEG, pl.concat(legs(MARCH[0], bucket=b) for b in (1, 5)), FIRST)
    assert sorted(lake.scan(LEG).collect()["bucket"].unique()) == [1, 5]
    lake.replace_slice(LEG, legs(MARCH[0], bucket=5, count=2), {**FIRST, "bucket": 5})
    counts = lake.scan(LEG).group_by("bucket").len().sort("bucket").collect()
    assert counts.rows() == [(1, 10), (5, 2)]


def test_a_slice_may_list_values(lake: Lake):
    frame = pl.concat(legs(day) for day in MARCH[:3])
    lake.replace_slice(LEG, frame, {"day": MARCH[:3]})
    lake.replace_slice(LEG, legs(MARCH[1], count=2), {"day": MARCH[:2]})
    assert lake.scan(LEG).collect()["day"].unique().sort().to_list() == MARCH[1:3]
    assert lake.scan(LEG, part={"day": MARCH[:2]}).collect().height == 2


def test_an_empty_frame_empties_the_slice(lake: Lake):
    nothing = legs(MARCH[0]).clear()
    lake.replace_slice(LEG, nothing, FIRST)
    assert lake.scan(LEG).collect().equals(nothing)
    lake.replace_slice(LEG, legs(MARCH[0]), FIRST)
    lake.replace_slice(LEG, legs(MARCH[1]), SECOND)
    lake.replace_slice(LEG, nothing.lazy(), FIRST)
    assert lake.scan(LEG).collect()["day"].unique().to_list() == [MARCH[1]]
    version = lake.version(LEG)
    assert lake.replace_slice(LEG, nothing, FIRST) == version


@pytest.mark.parametrize("words", [pl.Categorical(), pl.Enum([f"P{n}" for n in range(7)])])
def test_words_are_written_as_dictionaries_and_read_as_strings(lake: Lake, words: pl.DataType):
    frame = legs(MARCH[0], count=500)
    lake.replace_slice(LEG, frame.lazy().with_columns(pl.col("partner").cast(words)), FIRST)
    lake.replace_slice(LEG, frame.with_columns(pl.lit(MARCH[1]).alias("day")), SECOND)
    first = lake.scan(LEG).filter(pl.col("day") == MARCH[0]).drop("day").collect()
    second = lake.scan(LEG).filter(pl.col("day") == MARCH[1]).drop("day").collect()
    assert first.sort("record_id").equals(second.sort("record_id"))
    assert lake.scan(LEG).filter(pl.col("partner") == "P3").collect().height == 2 * 71


def test_a_frame_is_sorted_by_the_tables_order(lake: Lake):
    lake.replace_slice(LEG, legs(MARCH[0], count=200).reverse(), FIRST)
    written = pl.read_parquet(data_files(lake).pop())
    assert written.select(LEG.order).equals(written.select(LEG.order).sort(LEG.order))


def test_a_frame_of_another_schema_is_refused_with_every_difference(lake: Lake):
    frame = legs(MARCH[0]).with_columns(pl.col("amount_e10").cast(pl.Float64), extra=1)
    with pytest.raises(BillingError) as refusal:
        lake.replace_slice(LEG, frame.drop("partner"), FIRST)
    assert refusal.value.message == (
        "rows do not fit table leg: partner is missing, not String; "
        "amount_e10 is Float64, not Int64; extra is not a column"
    )
    assert not lake.exists(LEG)


def test_a_table_that_another_contract_created_is_not_written_to(lake: Lake):
    grown = replace(LEG, schema=pl.Schema({**LEG.schema, "tax": pl.Decimal(38, 10)}))
    frame = legs(MARCH[0]).with_columns(pl.lit(Decimal(0), pl.Decimal(38, 10)).alias("tax"))
    lake.replace_slice(grown, frame, FIRST)
    with pytest.raises(BillingError, match=r"other columns than its contract: tax decimal"):
        lake.replace_slice(LEG, legs(MARCH[0]), FIRST)
    assert lake.version(LEG) == 1


def test_a_table_gains_the_columns_of_its_contract_and_old_versions_stay_readable(lake: Lake):
    lake.replace_slice(LEG, legs(MARCH[0]), FIRST)
    tax = pl.Decimal(38, 10)
    columns = dict(LEG.schema)
    first = next(iter(columns))
    grown = replace(LEG, schema=pl.Schema({first: columns.pop(first), "tax": tax, **columns}))
    assert lake.scan(grown).collect()["tax"].null_count() == lake.scan(LEG).collect().height
    frame = legs(MARCH[1]).with_columns(pl.lit(Decimal(1), tax).alias("tax"))
    lake.replace_slice(grown, frame, {**FIRST, "day": MARCH[1]})
    now = lake.scan(grown).collect()
    assert now.columns == grown.schema.names()
    assert now.filter(pl.col("day") == MARCH[0])["tax"].null_count() == legs(MARCH[0]).height
    assert (now.filter(pl.col("day") == MARCH[1])["tax"] == 1).all()
    assert lake.scan(LEG, 1).collect().height == legs(MARCH[0]).height
    assert lake.dataset(grown).to_table().num_rows == now.height


@pytest.mark.parametrize("lazy", [False, True])
def test_a_row_outside_the_slice_is_refused_and_changes_nothing(lake: Lake, lazy: bool):
    lake.replace_slice(LEG, legs(MARCH[0], amount_e10=1), FIRST)
    frame = pl.concat([legs(MARCH[0], amount_e10=2), legs(MARCH[1])])
    with pytest.raises(BillingError, match="day=2026-03-02 is outside the slice day=2026-03-01"):
        lake.replace_slice(LEG, frame.lazy() if lazy else frame, FIRST)
    assert lake.version(LEG) == 1
    assert lake.scan(LEG).collect()["amount_e10"].unique().to_list() == [1]


def test_a_slice_is_by_partition_columns(lake: Lake):
    with pytest.raises(BillingError, match="a slice of leg is by day, bucket, not by partner"):
        lake.replace_slice(LEG, legs(MARCH[0]), {"partner": "P1"})
    with pytest.raises(BillingError, match="not by nothing"):
        lake.replace_slice(LEG, legs(MARCH[0]), {})


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_row_without_a_partition_value_is_refused(lake: Lake, nothing: str | None):
    frame = pl.DataFrame({"key": [nothing], "word": ["x"]}, schema=WORD.schema)
    with pytest.raises(BillingError, match="a partition column may not be empty"):
        lake.replace_slice(WORD, frame, {"key": "a"})


def test_a_partition_value_may_hold_any_character(lake: Lake):
    keys = ["P05/2026-03", "100% a=b & c", "día:ü", "x*[1]?", "a#b", "001", "null", "a\\b"]
    for key in keys:
        frame = pl.DataFrame({"key": [key], "word": [f"of {key}"]})
        lake.replace_slice(WORD, frame, {"key": key})
        lake.replace_slice(WORD, frame, {"key": key})
    expected = sorted((key, f"of {key}") for key in keys)
    assert sorted(lake.scan(WORD).collect().rows()) == expected
    for key in keys:
        assert lake.scan(WORD, part={"key": key}).collect().height == 1
        assert lake.scan(WORD).filter(pl.col("key") == key).collect().height == 1
    read = lake.dataset(WORD).to_table().select(["key", "word"]).to_pylist()
    assert sorted(tuple(row.values()) for row in read) == expected


@pytest.mark.parametrize("folder", ["a b", "env=prod/lake", "q[1]*", "ä#?"])
def test_the_lake_may_lie_in_any_folder(tmp_path: Path, folder: str):
    lake = Lake(str(tmp_path / folder))
    lake.replace_slice(LEG, legs(MARCH[0]), FIRST)
    lake.replace_slice(LEG, legs(MARCH[0], count=3), FIRST)
    assert lake.scan(LEG).collect()["day"].to_list() == [MARCH[0]] * 3
    assert lake.dataset(LEG).count_rows() == 3


def test_the_lakes_folder_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    lake = Lake("home/lake/")
    lake.replace_slice(LEG, legs(MARCH[0]), FIRST)
    assert lake.scan(LEG).collect().height == 10
    assert lake.dataset(LEG).count_rows() == 10


def test_a_pinned_version_reads_the_same_after_later_writes_and_a_vacuum(lake: Lake):
    lake.replace_slice(LEG, legs(MARCH[0], amount_e10=1), FIRST)
    pins = lake.pins([LEG])
    for amount in (2, 3):
        lake.replace_slice(LEG, legs(MARCH[0], amount_e10=amount), FIRST)
    assert len(data_files(lake)) == 3
    deleted = lake.vacuum(LEG, [pins["leg"]], older_than_hours=0)
    assert len(deleted) == 1
    for version, amount in ((pins["leg"], 1), (None, 3)):
        assert lake.scan(LEG, version).collect()["amount_e10"].to_list() == [amount] * 10
        assert lake.dataset(LEG, version).count_rows() == 10
    with pytest.raises(FileNotFoundError):
        lake.scan(LEG, 2).collect()


def test_a_vacuum_spares_the_files_of_a_write_that_still_runs(lake: Lake):
    lake.replace_slice(LEG, legs(MARCH[0]), FIRST)
    old, young = (Path(lake.uri) / f"leg/day=2026-03-01/{name}.parquet" for name in ("old", "new"))
    for file in (old, young):
        file.write_bytes(b"not committed yet")
    three_days_ago = (datetime.now(UTC) - timedelta(days=3)).timestamp()
    os.utime(old, (three_days_ago, three_days_ago))
    lake.vacuum(LEG, [])
    assert not old.exists()
    assert young.exists()
    assert lake.scan(LEG).collect().height == 10


def test_a_version_that_does_not_exist_is_named(lake: Lake):
    with pytest.raises(NotFound, match="leg was never written"):
        lake.scan(LEG, 1)
    lake.replace_slice(LEG, legs(MARCH[0]), FIRST)
    with pytest.raises(NotFound, match="leg has no version 7"):
        lake.dataset(LEG, 7)


def test_a_table_keeps_its_history_for_years(lake: Lake):
    lake.replace_slice(LEG, legs(MARCH[0]), FIRST)
    configuration = DeltaTable(f"{lake.uri}/leg").metadata().configuration
    assert configuration["delta.logRetentionDuration"] == "interval 3650 days"
    assert configuration["delta.deletedFileRetentionDuration"] == "interval 3650 days"


def test_reading_a_slice_opens_no_file_of_another(lake: Lake):
    for day in MARCH[:2]:
        lake.replace_slice(LEG, legs(day), {"day": day})
    for file in data_files(lake):
        if "day=2026-03-02" in str(file):
            file.unlink()
    assert lake.scan(LEG, part=FIRST).collect().height == 10
    assert lake.scan(LEG).filter(pl.col("day") == date(2026, 3, 1)).collect().height == 10
    assert lake.dataset(LEG, part=FIRST).count_rows() == 10


def test_a_lake_reads_what_others_commit_between_its_own_reads_and_writes(lake: Lake):
    other = Lake(lake.uri)
    for number in range(1, 4):
        assert lake.replace_slice(LEG, legs(MARCH[0], amount_e10=number), FIRST) == 2 * number - 1
        assert other.replace_slice(LEG, legs(MARCH[1], amount_e10=number), SECOND) == 2 * number
        for version in (2 * number, 2 * number - 1, None, 1, 2 * number):
            of_first, of_second = (
                lake.scan(LEG, version, part).select(pl.col("amount_e10").max()).collect().item()
                for part in (FIRST, SECOND)
            )
            newest = 2 * number if version is None else version
            assert (of_first, of_second) == ((newest + 1) // 2, newest // 2 or None)
        assert lake.version(LEG) == other.version(LEG) == 2 * number


def test_threads_on_one_lake_read_whole_versions_while_it_is_written(lake: Lake):
    part = {"day": MARCH[:2]}

    def amounts(_: int) -> int:
        version = lake.version(LEG)
        found = lake.scan(LEG, version).select(pl.col("amount_e10").unique()).collect()
        assert found["amount_e10"].to_list() == [version]
        return len(found)

    lake.replace_slice(LEG, legs(MARCH[0], amount_e10=1), part)
    with ThreadPoolExecutor(4) as pool:
        reads = pool.map(amounts, range(60))
        for number in range(2, 20):
            lake.replace_slice(LEG, legs(MARCH[number % 2], amount_e10=number), part)
        assert sum(reads) == 60
