from pathlib import Path

import polars as pl
import pytest

from billing_assets.core.settings import PROJECT_ROOT
from billing_assets.lake.tables import TABLES
from billing_assets.orchestration.dbt_manifest import (
    MANIFEST,
    describe_project,
    mart_tables,
    read_manifest,
)
from billing_assets.orchestration.dbt_runner import DbtError, Verdict, open_project
from billing_assets.orchestration.marts import CYCLES, FILE_COUNTS

UNIT_TESTS = {
    "balance_gives_every_row_of_a_file_one_fate",
    "balance_shows_a_leg_that_no_file_brought",
    "expected_follows_the_cycles_and_shows_what_nobody_billed",
    "margin_sets_both_legs_of_a_destination_against_each_other",
    "suspense_adds_estimates_exactly_and_counts_what_has_none",
}

NOTHING = {
    **{name: pl.DataFrame(schema=table.schema).to_arrow() for name, table in TABLES.items()},
    "file_count": pl.DataFrame(schema=FILE_COUNTS).to_arrow(),
    "cycle": pl.DataFrame(schema=CYCLES).to_arrow(),
    "own_trunk": pl.DataFrame(schema={"trunk": pl.String}).to_arrow(),
}


def test_the_manifest_in_git_is_that_of_the_project():
    assert describe_project() == MANIFEST.read_text(encoding="utf-8"), "run `make manifest`"


def test_the_manifest_holds_no_path_of_a_machine_and_no_moment():
    text = MANIFEST.read_text(encoding="utf-8")
    assert str(PROJECT_ROOT) not in text
    assert str(Path.home()) + "/" not in text
    for word in ("created_at", "generated_at", "invocation_id", "root_path"):
        assert word not in text


def test_models_pass_their_unit_tests(tmp_path: Path):
    with open_project(tmp_path, NOTHING, {}) as project:
        project.run("billing")
        outcomes = project.test("billing", unit=True)
    assert {outcome.test for outcome in outcomes} == UNIT_TESTS
    assert {outcome.message for outcome in outcomes if outcome.verdict is not Verdict.PASSED} == (
        set()
    )


def test_a_source_that_is_missing_names_the_models_that_need_it(tmp_path: Path):
    sources = {name: table for name, table in NOTHING.items() if name != "charge"}
    with open_project(tmp_path, sources, {}) as project, pytest.raises(DbtError, match="charge"):
        project.run("+expected_vs_billed")


def test_every_mart_declares_its_grain_its_order_and_exact_money():
    tables = mart_tables()
    assert len(tables) == 7
    for table in tables.values():
        assert " x " in table.grain, table.name
        assert table.partition_by == ("month",)
        assert set(table.order) <= set(table.schema)
        assert not any(dtype.is_float() for dtype in table.schema.dtypes())


def test_every_source_of_the_lake_is_a_table_of_the_lake():
    sources = read_manifest()["sources"].values()
    assert {s["name"] for s in sources if s["source_name"] == "lake"} <= set(TABLES)
