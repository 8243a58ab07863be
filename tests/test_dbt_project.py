import os
from pathlib import Path

import polars as pl
import pytest

from billing_assets.controls.traffic import COLUMNS
from billing_assets.core.settings import PROJECT_ROOT
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import TABLES
from billing_assets.orchestration.dbt_manifest import (
    MANIFEST,
    describe_project,
    mart_tables,
    read_manifest,
)
from billing_assets.orchestration.dbt_runner import open_project
from billing_assets.orchestration.dbt_types import PROJECT, DbtError, Source, Verdict
from billing_assets.orchestration.marts import CYCLES, FILE_COUNTS, INVOICED, THRESHOLDS

UNIT_TESTS = {
    "anomalies_tell_a_spike_from_the_usual_and_name_high_risk",
    "anomalies_tell_shifts_short_calls_and_nights_that_jump",
    "balance_gives_every_row_of_a_file_one_fate",
    "charged_is_on_documents_charge_by_charge",
    "completeness_compares_what_was_counted_alone",
    "expected_follows_the_cycles_and_shows_what_nobody_billed",
    "margin_by_route_shows_what_is_sold_below_cost",
    "margin_sets_both_legs_of_a_destination_against_each_other",
    "quality_gives_asr_acd_and_ner",
    "suspense_adds_estimates_exactly_and_counts_what_has_none",
}


def empty_sources(folder: Path) -> dict[str, Source]:
    """The sources of a lake in which nothing was ever written."""
    lake = Lake(str(folder / "lake"))
    sources = {name: lake.dataset(table) for name, table in TABLES.items()}
    for name, schema in (
        ("file_count", FILE_COUNTS),
        ("cycle", CYCLES),
        ("threshold", THRESHOLDS),
        ("invoiced_line", INVOICED),
        ("traffic_day", COLUMNS),
    ):
        sources[name] = pl.DataFrame(schema=schema).to_arrow()
    return sources


def test_the_manifest_in_git_is_that_of_the_project():
    assert describe_project() == MANIFEST.read_text(encoding="utf-8"), "run `make manifest`"


def test_the_manifest_holds_no_path_of_a_machine_and_no_moment():
    text = MANIFEST.read_text(encoding="utf-8")
    assert str(PROJECT_ROOT) not in text
    assert str(Path.home()) + "/" not in text
    for word in ("created_at", "generated_at", "invocation_id", "root_path"):
        assert word not in text


def test_models_pass_their_unit_tests_and_build_on_an_empty_lake(tmp_path: Path):
    with open_project(tmp_path, empty_sources(tmp_path), {}) as project:
        project.run("billing")
        unit_tests = project.test("billing", unit=True)
        data_tests = project.test("billing")
    assert {outcome.test for outcome in unit_tests} == UNIT_TESTS
    broken = [o for o in unit_tests + data_tests if o.verdict is not Verdict.PASSED]
    assert [outcome.message for outcome in broken] == []
    assert len(data_tests) >= 29


def test_no_table_and_no_mart_keeps_a_binary_float():
    tables = [*TABLES.values(), *mart_tables().values()]
    kept = [(t.name, name) for t in tables for name, kind in t.schema.items() if kind.is_float()]
    assert kept == []
    assert len(tables) > len(TABLES)


def test_a_model_that_cannot_be_built_is_named(tmp_path: Path):
    sources = empty_sources(tmp_path)
    sources["charge"] = pl.DataFrame({"month": ["2026-03"]}).to_arrow()
    with (
        open_project(tmp_path, sources, {}) as project,
        pytest.raises(DbtError, match="could not build stg_charge"),
    ):
        project.run("stg_charge")


def test_every_mart_declares_its_grain_its_order_and_exact_money():
    tables = mart_tables()
    assert len(tables) >= 12
    for table in tables.values():
        assert " x " in table.grain, table.name
        assert table.partition_by == ("month",)
        assert set(table.order) <= set(table.schema)
        assert not any(dtype.is_float() for dtype in table.schema.dtypes())


def test_every_source_of_the_lake_is_a_table_of_the_lake():
    sources = read_manifest()["sources"].values()
    assert {s["name"] for s in sources if s["source_name"] == "lake"} <= set(TABLES)


def test_a_project_is_parsed_once_until_a_file_of_it_changes(tmp_path: Path):
    def parsed_for(month: str) -> bool:
        scratch = tmp_path / month
        scratch.mkdir()
        variables = {"month_start": f"{month}-01", "month_end": f"{month}-28"}
        with open_project(scratch, empty_sources(scratch), variables) as project:
            project.run("+expected_vs_billed")
        (built,) = (scratch / "target" / "run").rglob("expected_vs_billed.sql")
        assert f"{month}-01" in built.read_text(encoding="utf-8")
        return (scratch / "target" / "partial_parse.msgpack").exists()

    parsed_for("2026-01")
    assert not parsed_for("2026-02")
    os.utime(PROJECT / "dbt_project.yml")
    assert parsed_for("2026-03")
    assert not parsed_for("2026-04")
