"""The dbt project's manifest, as it is kept in git: definitions load from it without dbt.

It holds what describes models and tests, and nothing of the machine or the moment at which it
was written, so the same project always gives the same bytes. `make manifest` writes it.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from billing_assets.lake.tables import Table
from billing_assets.orchestration.dbt_types import PROJECT

MANIFEST = PROJECT / "manifest" / "manifest.json"

_METADATA = ("dbt_schema_version", "dbt_version", "project_name", "adapter_type")
_DESCRIBED = ("nodes", "sources", "groups", "parent_map", "child_map")
_EMPTY = ("exposures", "metrics", "semantic_models", "saved_queries", "selectors", "unit_tests")
_OF_THE_MOMENT = ("created_at", "build_path", "compiled_path")

_TYPES = {"varchar": pl.String(), "date": pl.Date(), "bigint": pl.Int64(), "boolean": pl.Boolean()}


def describe_project() -> str:
    """Parse the dbt project and return its manifest, stripped, as JSON text."""
    # dbt takes seconds to import, and whoever only reads the manifest should not pay them
    from billing_assets.orchestration.dbt_runner import open_project  # noqa: PLC0415

    with TemporaryDirectory() as scratch, open_project(Path(scratch), {}, {}) as project:
        full = json.loads(project.parse().read_bytes())
    unit_tests = set(full["unit_tests"])
    stripped: dict[str, Any] = {name: {} for name in _EMPTY}
    stripped["metadata"] = {name: full["metadata"][name] for name in _METADATA}
    for section in _DESCRIBED:
        stripped[section] = {
            key: _without_the_moment(value, unit_tests)
            for key, value in sorted(full[section].items())
            if key not in unit_tests
        }
    return json.dumps(stripped, indent=1, ensure_ascii=False) + "\n"


def _without_the_moment(value: Any, unit_tests: set[str]) -> Any:
    if isinstance(value, list):
        return sorted(name for name in value if name not in unit_tests)
    return {key: item for key, item in value.items() if key not in _OF_THE_MOMENT}


def write_manifest(path: Path = MANIFEST) -> None:
    """Write the stripped manifest; equal projects give equal bytes."""
    path.write_text(describe_project(), encoding="utf-8")


@cache
def read_manifest() -> Mapping[str, Any]:
    """The manifest that is kept in git."""
    return json.loads(MANIFEST.read_bytes())


@cache
def mart_tables() -> Mapping[str, Table]:
    """The lake tables of the marts, as their dbt contracts declare them, by name.

    A mart's grain is the first sentence of its description; its rows are ordered by the columns
    of its grain test; its slices are months.
    """
    manifest = read_manifest()
    grains = {
        node["attached_node"]: tuple(node["test_metadata"]["kwargs"]["columns"])
        for node in manifest["nodes"].values()
        if (node.get("test_metadata") or {}).get("name") == "unique_grain"
    }
    return {
        node["name"]: Table(
            name=node["name"],
            grain=node["description"].partition(". ")[0],
            schema=pl.Schema(
                {name: _type(column["data_type"]) for name, column in node["columns"].items()}
            ),
            partition_by=("month",),
            order=grains[key],
            about={
                name: column["description"]
                for name, column in node["columns"].items()
                if column["description"]
            },
        )
        for key, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and "marts" in node["fqn"]
    }


def _type(declared: str) -> pl.DataType:
    decimal = re.fullmatch(r"decimal\(([0-9]+), ([0-9]+)\)", declared)
    if decimal:
        return pl.Decimal(int(decimal[1]), int(decimal[2]))
    return _TYPES[declared]


if __name__ == "__main__":
    write_manifest()
