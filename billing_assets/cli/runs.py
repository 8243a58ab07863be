"""`icb run`: take in what is new and bring rating and controls up to date."""

from datetime import date

import polars as pl

from billing_assets.cli.output import console
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.orchestration.dbt_manifest import mart_tables


def run() -> None:
    """Load the reference folder, take in new files, rate their days, build the marts.

    The same assets as in the UI, as Dagster runs. Days are those whose records have not their
    fates: new files brought them, or an earlier run ended before; others are left alone.
    """
    from billing_assets.orchestration.runs import Runs  # noqa: PLC0415 - seconds to import

    with Runs.of(Settings()) as runs:
        home = runs.installation
        with console.status("taking in files"):
            runs.take_in()
        pending = home.registry.versions.pending_reference()
        if pending:
            console.print(
                f"reference version {pending.version} waits for approval: `icb reference impact`, "
                f"then another person `icb reference approve {pending.version}`"
            )
        outside = runs.outside()
        for day in outside:
            console.print(
                f"[yellow]records of {day} wait: it is outside the days that usage is kept for[/]"
            )
        days = runs.to_make()
        if days:
            with console.status(f"rating {len(days)} days"):
                runs.rate(days)
        stale = stale_days(home).difference(outside)
        months = sorted({f"{day:%Y-%m}" for day in stale.union(days)})
        if months:
            with console.status(f"building the marts of {', '.join(months)}"):
                runs.marts(months)
        if days:
            console.print(f"{len(days)} days rated, {days[0]} to {days[-1]}; see `icb status`")
        else:
            console.print(
                "nothing new to rate; see `icb status`" if months else "nothing new came in"
            )


def stale_days(home: Installation) -> set[date]:
    """UTC days on which another number of rows was received than the balance shows."""
    balance = home.lake.scan(mart_tables()["record_balance"])
    shown = dict(balance.group_by("day").agg(pl.col("received").sum()).collect().iter_rows())
    received: dict[date, int] = {}
    for count in home.registry.files.counts(date.min, date.max):
        received[count.day] = received.get(count.day, 0) + count.received
    days = shown.keys() | received.keys()
    return {day for day in days if shown.get(day, 0) != received.get(day, 0)}
