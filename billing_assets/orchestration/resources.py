"""What assets need of the world: the opened installation, and the clock."""

from datetime import UTC, datetime
from functools import lru_cache

import dagster as dg

from billing_assets.core.settings import Settings
from billing_assets.installation import Installation

Home = dg.ResourceParam[Installation]
"""What an asset asks for to work on the installation of its process."""


def installation_resource(settings: Settings | None = None) -> dg.ResourceDefinition:
    """The stores of a home, opened when a run first needs them; settings default to the
    environment."""
    return dg.ResourceDefinition(lambda _: _opened(settings or Settings()))


@lru_cache(maxsize=1)
def _open(key: str) -> Installation:
    return Installation.open(Settings.model_validate_json(key))


def _opened(settings: Settings) -> Installation:
    """One installation a process: runs of one process share its connections."""
    return _open(settings.model_dump_json())


def now() -> datetime:
    """The moment of the run, in UTC."""
    return datetime.now(UTC)
