"""Runs dbt inside this process, on a DuckDB file of the run's own.

A dbt process takes three seconds to begin, and parsing the project five: in here both are paid
once, and the parsed project passes from command to command and from run to run. dbt keeps its
adapter and its flags global, so runs within one process wait for each other; runs in other
processes share nothing with it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
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
_parsed: dict[int, Manifest] = {}
"""The project as it was last parsed, by the state of its files: no variable of a run has a say in
what it says, only in its SQL."""


class DbtProject:
    """The project with one scratch folder, as `open_project` gives it.

    Its methods raise `DbtError` where the project does not parse.
    """

    def __init__(self, scratch: Path, variables: Mapping[str, object]) -> None:
        self._scratch = scratch
        self._variables = json.dumps({**variables, "scratch": str(scratch)})

    def parse(self) -> Path:
        """Parse the project; returns the manifest's file."""
        self._parse()
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

    def _parse(self) -> Manifest:
        parsed = self._invoke(dbtRunner(), "parse").result
        if not isinstance(parsed, Manifest):
            raise DbtError("dbt gave no manifest")
        return parsed

    @cached_property
    def _dbt(self) -> dbtRunner:
        """A runner of the parsed project, whose commands write into their copy of it."""
        state = _state_of_files()
        if state not in _parsed:
            _parsed.clear()
            _parsed[state] = self._parse()
        return dbtRunner(manifest=_parsed[state].deepcopy())

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


def _state_of_files() -> int:
    """Tells whether any file of the project was changed, added or removed."""
    files = sorted(path for path in PROJECT.rglob("*") if path.suffix in (".sql", ".yml"))
    return hash(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files))


@contextmanager
def open_project(
    scratch: Path, sources: Mapping[str, Source], variables: Mapping[str, object]
) -> Iterator[DbtProject]:
    """The project for a run that reads `sources`, by name, and writes only to `scratch`."""
    with _one_at_a_time, hand_over(scratch, sources):
        try:
            yield DbtProject(scratch, variables)
        finally:
            DuckDBConnectionManager.close_all_connections()
