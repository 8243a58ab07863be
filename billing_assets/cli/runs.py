"""`icb run`: take in what is new and bring rating and controls up to date."""

from datetime import date

from billing_assets.cli.output import console
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation


def run() -> None:
    """Load the reference folder, take in new files, rate their days, build the marts.

    The same assets as in the UI, as Dagster runs. Days are those that new files brought records
    of, and days that an earlier run left unrated; others are left alone.
    """
    from billing_assets.orchestration.runs import Runs  # noqa: PLC0415 - seconds to import

    with Runs.of(Settings()) as runs:
        before = landed_days(runs.installation)
        with console.status("taking in files"):
            runs.take_in()
        pending = runs.installation.registry.versions.pending_reference()
        if pending:
            console.print(
                f"reference version {pending.version} waits for approval: `icb reference impact`, "
                f"then another person `icb reference approve {pending.version}`"
            )
        after = landed_days(runs.installation)
        changed = {day for day, count in after.items() if before.get(day) != count}
        days = sorted(changed.union(runs.unrated(after)))
        if not days:
            console.print("nothing new came in")
            return
        with console.status(f"rating {len(days)} days"):
            runs.rate(days)
        months = sorted({day.isoformat()[:7] for day in days})
        with console.status(f"building the marts of {', '.join(months)}"):
            runs.marts(months)
        console.print(f"{len(days)} days rated, {days[0]} to {days[-1]}; see `icb status`")


def landed_days(home: Installation) -> dict[date, int]:
    """Records that landed by UTC day, from the file log."""
    found: dict[date, int] = {}
    for count in home.registry.files.counts(date.min, date.max):
        if count.landed:
            found[count.day] = found.get(count.day, 0) + count.landed
    return found
