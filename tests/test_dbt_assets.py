from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.orchestration.dbt import mart_assets
from billing_assets.orchestration.dbt_manifest import mart_tables
from billing_assets.orchestration.groups import Group
from billing_assets.orchestration.partitions import CYCLES, MONTHS, PARTNERS, USAGE_DAYS
from billing_assets.reference.load import Reference
from billing_assets.registry.files import DayCount, FileFacts
from billing_assets.registry.schema import FileState
from tests.registry_support import NOW
from tests.support.month import (
    FIFTH,
    FOURTH,
    NORTH,
    SOUTH,
    south,
    write_fates,
    write_legs,
    write_month,
)
from tests.support.references import reference

UPSTREAM = {
    "charged_vs_invoiced": {"charge", "invoice"},
    "completeness_by_partner_day": {"completeness_daily", "reference_data", "usage_daily"},
    "expected_vs_billed": {"charge", "usage_daily"},
    "margin_by_destination": {"usage_daily"},
    "anomalies": {
        "margin_by_route",
        "quality_by_partner_day",
        "reference_data",
        "traffic_hourly",
    },
    "margin_by_route": {"margin_daily"},
    "quality_by_partner_day": {"traffic_hourly"},
    "record_balance": {"mediation_files", "record_fate"},
    "record_balance_by_day": {"record_balance"},
    "record_balance_by_stage": {"record_balance", "record_fate"},
    "suspense_by_reason": {"suspense"},
    "traffic": {"rated_leg"},
    "traffic_by_destination": {"usage_daily"},
    "traffic_by_partner_day": {"usage_daily"},
}


class HomeWithReference(Installation):
    """A real home, but for the reference data, which is made in memory."""

    @property
    def reference(self) -> Reference:
        return reference()


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    home = HomeWithReference.open(Settings(home=tmp_path))
    write_month(home.lake)
    for sha256, source, counts in (
        (NORTH, "north", [DayCount(FOURTH, 9, 7, 1, 1), DayCount(FIFTH, 1, 1)]),
        (SOUTH, "south", [DayCount(FIFTH, 2, 2)]),
    ):
        home.registry.files.assign_file_key(sha256, now=NOW, who="ana")
        facts = FileFacts(
            sha256=sha256,
            name=f"{source}.csv",
            source=source,
            preset="canonical",
            size=1,
            state=FileState.LANDED,
        )
        home.registry.files.record(facts, counts, now=NOW, who="ana")
    return home


def run(home: Installation, month: str, *marts: str) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        mart_assets(),
        partition_key=month,
        selection=list(marts) or None,
        resources={"installation": home},
        instance=dg.DagsterInstance.ephemeral(),
        raise_on_error=False,
    )


def test_marts_depend_on_the_assets_that_write_their_tables():
    [marts] = mart_assets()
    specs = {spec.key.to_user_string(): spec for spec in marts.specs}
    assert {
        name: {dep.asset_key.to_user_string() for dep in spec.deps} for name, spec in specs.items()
    } == UPSTREAM
    assert {spec.group_name for spec in specs.values()} == {Group.AGGREGATES, Group.CONTROLS}
    assert all(spec.description for spec in specs.values())


def test_each_data_test_is_a_check_and_only_the_invoice_gate_may_let_a_warning_pass():
    [marts] = mart_assets()
    checks = {check.name: check for check in marts.check_specs}
    assert len(checks) >= 29
    assert {name for name, check in checks.items() if not check.blocking} == {
        "anomalies_no_high_risk_and_no_loss",
        "anomalies_nothing_unusual",
        "charged_vs_invoiced_is_equal",
        "completeness_by_partner_day_is_counted",
        "expected_vs_billed_is_equal",
        "margin_by_route_is_known",
    }
    assert all(check.description for check in checks.values())


def test_a_month_depends_on_its_days_and_on_its_cycles():
    @dg.asset(partitions_def=USAGE_DAYS)
    def usage_daily() -> None: ...

    @dg.asset(partitions_def=CYCLES)
    def charge() -> None: ...

    graph = dg.Definitions(
        assets=[*mart_assets(), usage_daily, charge], resources={"installation": object()}
    ).resolve_asset_graph()
    traffic, compared = dg.AssetKey("traffic_by_destination"), dg.AssetKey("expected_vs_billed")
    march = MONTHS.subset_with_partition_keys(["2026-03"])
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions(PARTNERS.name or "", ["P01", "P02"])

    def upstream(mart: dg.AssetKey, parent: str) -> list[str]:
        mapping = graph.get_partition_mapping(mart, dg.AssetKey(parent))
        result = mapping.get_upstream_mapped_partitions_result_for_partitions(
            march,
            MONTHS,
            {"usage_daily": USAGE_DAYS, "charge": CYCLES}[parent],
            dynamic_partitions_store=instance,
        )
        return sorted(result.partitions_subset.get_partition_keys())

    days = upstream(traffic, "usage_daily")
    assert (len(days), days[0], days[-1]) == (31, "2026-03-01", "2026-03-31")
    assert upstream(compared, "charge") == ["2026-03|P01", "2026-03|P02"]


def test_a_run_publishes_the_month_and_shows_rows_and_checks(home: Installation):
    result = run(home, "2026-03")
    assert result.success
    published = {
        event.asset_key.to_user_string(): event
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }
    assert set(published) == set(UPSTREAM)
    balance = published["record_balance"].materialization
    assert balance.metadata["dagster/row_count"].value == 3
    assert "| difference |" in str(balance.metadata["rows"].value)
    stored = home.lake.scan(mart_tables()["record_balance"]).collect()
    assert stored["month"].to_list() == ["2026-03"] * 3
    checks = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert len(checks) >= 29
    assert [name for name, check in checks.items() if not check.passed] == [
        "expected_vs_billed_is_equal"
    ]
    assert balance.tags is not None
    assert len(balance.tags["dagster/data_version"]) == 64


def test_a_lost_record_fails_the_blocking_check_and_its_mart_is_published(home: Installation):
    write_legs(home.lake, (FIFTH, south(2), "customer", "P01"))
    write_fates(home.lake)
    result = run(home, "2026-03", "record_balance")
    failed = [e for e in result.get_asset_check_evaluations() if not e.passed]
    assert [e.check_name for e in failed] == ["record_balance_difference_is_zero"]
    assert failed[0].metadata["failing rows"].value == 1
    assert failed[0].severity is dg.AssetCheckSeverity.ERROR
    stored = home.lake.scan(mart_tables()["record_balance"]).collect()
    assert stored.filter(pl.col("difference") != 0)["file"].to_list() == [SOUTH]
