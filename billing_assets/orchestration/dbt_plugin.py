"""The dbt-duckdb plugin through which the dbt project reads its sources.

dbt loads this module by the name that stands in `dbt_project/profiles.yml`. Tables are handed
over in memory, opened at one version each before dbt starts: one run sees one state of the lake,
no credential is written to a file, and a table that does not exist yet is an empty one.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.adapters.duckdb.utils import SourceConfig
from typing_extensions import override

from billing_assets.orchestration.dbt_types import Source

_handed_over: dict[str, Mapping[str, Source]] = {}


@contextmanager
def hand_over(scratch: Path, sources: Mapping[str, Source]) -> Iterator[None]:
    """Let the dbt runs of this process that use the scratch folder read `sources`, by name."""
    _handed_over[str(scratch)] = sources
    try:
        yield
    finally:
        del _handed_over[str(scratch)]


class Plugin(BasePlugin):
    """Gives dbt the handed-over table behind each of its sources."""

    @override
    def load(self, source_config: SourceConfig) -> Source:
        """Return the table of a source; DuckDB pushes columns and filters down into it."""
        return self._sources[source_config.identifier]

    @override
    def initialize(self, plugin_config: dict[str, str]) -> None:
        """Remember whose sources to give: `scratch` is the folder of the run."""
        self._sources = _handed_over[plugin_config["scratch"]]

    @override
    def default_materialization(self) -> Any:
        """Sources are views: nothing is copied."""
        return "view"
