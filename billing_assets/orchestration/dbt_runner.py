"""Runs dbt inside this process, on a DuckDB file of the run's own.

A dbt process takes three seconds to begin; in here that is paid once, and the parsed project
passes from command to command. dbt keeps its adapter and its flags global, so runs within one
process wait for each other; runs in other processes share nothing with it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.artifacts.schemas.results import NodeStatus
from dbt.artifacts.schemas.run import RunExecutionResult, RunResult
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest

from billing_assets.orchestration.dbt_plugin import hand_over
from billing_assets.orchestration.dbt_types import (
    PROJECT,
    DbtError,
    Source,
    TestOutcome,
    Verdict,
)

_one_at_a_time = RLock()


class DbtProject:
    """The project, parsed for one scratch folder, as `open_project` gives it."""

    def __init__(self, scratch: Path, variables: Mapping[str, object]) -> None:
        """Parse the project; raises `DbtError` where it does not parse."""
        self._scratch = scratch
        self._variables = json.dumps({**variables, "scratch": str(scratch)})
        parsed = self._invoke(dbtRunner(), "parse").result
        if not isinstance(parsed, Manifest):
            raise DbtError("dbt gave no manifest")
        self._dbt = dbtRunner(manifest=parsed)

    @property
    def manifest_file(self) -> Path:
        """The manifest that parsing wrote."""
        return self._scratch / "target" / "manifest.json"

    @property
    def database(self) -> Path:
        """The DuckDB file of the scratch folder."""
        return self._scratch / "scratch.duckdb"

    def run(self, *select: str) -> None:
        """Build models; raises `DbtError` that names each one that failed."""
        failed = [
            f"{result.node.name}: {result.message}"
            for result in self._results("run", "--select", *select)
            if result.status == NodeStatus.Error
        ]
        if failed:
            raise DbtError("dbt could not build " + "\n".join(failed))

    def test(self, *select: str, unit: bool = False) -> list[TestOutcome]:
        """Run the data tests (or the unit tests) whose models are all selected.

        Raises `DbtError` for a test that could not run; a test that fails is an outcome.
        """
        verdicts = {
            NodeStatus.Pass: Verdict.PASSED,
            NodeStatus.Warn: Verdict.WARNED,
            NodeStatus.Fail: Verdict.FAILED,
        }
        results = self._results(
            "test",
            *("--select", *select, "--indirect-selection", "cautious"),
            *("--resource-type", "unit_test" if unit else "test"),
        )
        broken = [f"{r.node.name}: {r.message}" for r in results if r.status not in verdicts]
        if broken:
            raise DbtError("dbt could not test " + "\n".join(broken))
        return [
            TestOutcome(
                test=result.node.name,
                verdict=verdicts[NodeStatus(result.status)],
                failures=result.failures or 0,
                message=result.message or "",
            )
            for result in results
        ]

    def _results(self, *command: str) -> list[RunResult]:
        result = self._invoke(self._dbt, *command).result
        return list(result.results) if isinstance(result, RunExecutionResult) else []

    def _invoke(self, dbt: dbtRunner, command: str, *arguments: str) -> dbtRunnerResult:
        invoked = dbt.invoke(
            [
                command,
                *("--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)),
                *("--target-path", str(self._scratch / "target")),
                *("--log-path", str(self._scratch / "logs")),
                *("--vars", self._variables),
                *("--log-level", "none", "--no-use-colors"),
                *arguments,
            ]
        )
        if isinstance(invoked.exception, Exception):
            raise DbtError(f"dbt {command}: {invoked.exception}")
        if invoked.exception is not None:
            # an interrupt, which dbt catches on its way
            raise invoked.exception
        return invoked


@contextmanager
def open_project(
    scratch: Path, sources: Mapping[str, Source], variables: Mapping[str, object]
) -> Iterator[DbtProject]:
    """Parse the project for a run that reads `sources`, by name, and writes only to `scratch`.

    Raises `DbtError` where the project does not parse.
    """
    with _one_at_a_time, hand_over(scratch, sources):
        try:
            yield DbtProject(scratch, variables)
        finally:
            DuckDBConnectionManager.close_all_connections()
