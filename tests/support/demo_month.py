"""The demo carrier's month, drafted and issued through Dagster runs."""

from datetime import UTC, date, datetime
from pathlib import Path

from billing_assets.charging.cycles import ad_hoc_cycle
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.invoicing.run import open_cycle
from billing_assets.orchestration.runs import Runs

MONTH = "2026-03"
ISSUED = date(2026, 4, 5)


def settings(home: Path) -> Settings:
    return Settings(home=home, user="ana")


def landed_days(home: Installation) -> list[date]:
    counts = home.registry.files.counts(date.min, date.max)
    return sorted({count.day for count in counts if count.landed})


def open_ad_hoc(home: Installation) -> None:
    """P14 is billed ad hoc: here for the whole month."""
    cycle = ad_hoc_cycle(home.reference.partner("P14"), date(2026, 3, 1), date(2026, 3, 31))
    open_cycle(home, cycle, now=datetime.now(UTC), who="ana")


def draft(runs: Runs) -> None:
    """Draft all cycles of the month."""
    open_ad_hoc(runs.installation)
    runs.draft(MONTH, sorted(runs.installation.reference.partners), ISSUED)


def issue(runs: Runs) -> None:
    """Issue what is drafted."""
    drafted = [
        cycle
        for cycle in runs.installation.registry.cycles.list(month=MONTH)
        if cycle.state == "draft"
    ]
    partners = sorted({cycle.partner for cycle in drafted})
    runs.issue(MONTH, partners, ISSUED, "bruno", [cycle.id for cycle in drafted])
