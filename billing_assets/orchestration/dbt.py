"""The assets of the marts: aggregates and controls of a month, built by dbt.

A mart is one asset a month, and each dbt data test is a check on it. Staging views are no assets:
a mart depends on the tables behind them. What is built, and from what, stands in `marts`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import polars as pl
from dagster_dbt import DagsterDbtTranslator, DbtProject, dbt_assets
from typing_extensions import override

from billing_assets.core.ids import sha256_of
from billing_assets.orchestration.dbt_manifest import read_manifest
from billing_assets.orchestration.dbt_types import TestOutcome, Verdict
from billing_assets.orchestration.groups import Group
from billing_assets.orchestration.marts import build_marts, collect_inputs, publish_marts
from billing_assets.orchestration.partitions import MONTHS
from billing_assets.orchestration.resources import Home
from billing_assets.orchestration.tables import markdown


class MartTranslator(DagsterDbtTranslator):
    """Names dbt's models and sources as the assets of this project."""

    @override
    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetSpec:
        """A mart under its own name, below the assets whose tables its staging views read."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        if not unique_id.startswith("model."):
            return spec
        return spec.replace_attributes(
            deps=sorted(
                {self.get_asset_key(node) for node in _upstream_assets(manifest, unique_id)}
            )
        )

    @override
    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """The table's own name; a source that is no table names its asset in its `meta`."""
        named = dbt_resource_props["config"].get("meta", {}).get("dagster", {}).get("asset_key")
        return dg.AssetKey(named or [dbt_resource_props["name"]])

    @override
    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The group of the flow that bears the name of the model's group in dbt."""
        named = dbt_resource_props["config"].get("group")
        return Group[named.upper()].value if named else None

    @override
    def get_metadata(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, Any]:
        """Columns as declared; the table is the lake's, not the scratch database's."""
        metadata = super().get_metadata(dbt_resource_props)
        return {**metadata, "dagster/table_name": dbt_resource_props["name"]}

    @override
    def get_asset_check_spec(
        self,
        asset_spec: dg.AssetSpec,
        manifest: Mapping[str, Any],
        unique_id: str,
        project: DbtProject | None,
    ) -> dg.AssetCheckSpec | None:
        """A data test as a check on its mart; it blocks unless its severity is `warn`."""
        test = manifest["nodes"][unique_id]
        named = test["config"].get("meta", {}).get("dagster", {}).get("ref", {}).get("name")
        mart = named or test["attached_node"].rpartition(".")[2]
        if asset_spec.key != dg.AssetKey(mart):
            return None
        return dg.AssetCheckSpec(
            name=test["name"],
            asset=asset_spec.key,
            description=test["description"],
            blocking=test["config"]["severity"].lower() == "error",
        )


def mart_assets() -> Sequence[dg.AssetsDefinition]:
    """The marts as one step that builds whichever of them a run selects.

    Dagster splits the step in a run where other assets stand between two marts.
    """

    @dbt_assets(
        manifest=read_manifest(),
        name="marts",
        select="billing.marts",
        partitions_def=MONTHS,
        # a month a run: each month then has its own figures in the UI
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
        dagster_dbt_translator=MartTranslator(),
    )
    def marts(
        context: dg.AssetExecutionContext, installation: Home
    ) -> Iterator[dg.MaterializeResult]:
        """Build a month's marts in a scratch database, and publish them in the lake."""
        month = context.partition_key
        selected = {key.to_user_string() for key in context.selected_asset_keys}
        inputs = collect_inputs(
            installation.registry, installation.blobs, installation.reference, month
        )
        with TemporaryDirectory(prefix="icb-marts-") as scratch:
            build = build_marts(installation.lake, inputs, month, Path(scratch), selected)
        versions = publish_marts(installation.lake, build)
        checks = {key.name: key for key in context.selected_asset_check_keys}
        results = [
            _check_result(checks[outcome.test], outcome)
            for outcome in build.outcomes
            if outcome.test in checks
        ]
        for mart in _after_its_parents(build.frames):
            frame = build.frames[mart]
            key = dg.AssetKey(mart)
            yield dg.MaterializeResult(
                asset_key=key,
                metadata={
                    "dagster/row_count": frame.height,
                    "rows": markdown(_worst_first(frame)),
                    "lake version": versions[mart],
                    "versions read": dg.MetadataValue.json(dict(build.versions)),
                },
                data_version=_data_version(frame),
                check_results=[result for result in results if result.asset_key == key],
            )

    return [marts]


def _after_its_parents(marts: Iterable[str]) -> list[str]:
    """Marts in an order in which each comes after those that it selects from."""
    parents = {
        node["name"]: [parent.rpartition(".")[2] for parent in node["depends_on"]["nodes"]]
        for node in read_manifest()["nodes"].values()
        if node["resource_type"] == "model"
    }
    wanted = sorted(marts)
    graph = {name: [one for one in parents[name] if one in wanted] for name in wanted}
    return list(TopologicalSorter(graph).static_order())


def _upstream_assets(manifest: Mapping[str, Any], unique_id: str) -> Iterator[Mapping[str, Any]]:
    """The marts, and the sources behind the staging views, that a model selects from."""
    for upstream in manifest["nodes"][unique_id]["depends_on"]["nodes"]:
        if upstream.startswith("source."):
            yield manifest["sources"][upstream]
        elif "marts" in manifest["nodes"][upstream]["fqn"]:
            yield manifest["nodes"][upstream]
        else:
            yield from _upstream_assets(manifest, upstream)


def _worst_first(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows as a person wants to see them: those with a difference before all others."""
    if "difference" not in frame.columns:
        return frame
    return frame.sort(pl.col("difference").abs(), descending=True, maintain_order=True)


def _data_version(frame: pl.DataFrame) -> dg.DataVersion:
    return dg.DataVersion(sha256_of(frame.write_csv().encode()))


def _check_result(key: dg.AssetCheckKey, outcome: TestOutcome) -> dg.AssetCheckResult:
    warned = outcome.verdict is Verdict.WARNED
    return dg.AssetCheckResult(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=outcome.verdict is Verdict.PASSED,
        severity=dg.AssetCheckSeverity.WARN if warned else dg.AssetCheckSeverity.ERROR,
        metadata={"failing rows": outcome.failures},
    )
