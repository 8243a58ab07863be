"""`icb archive`: a final cycle as one folder that needs no product."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from billing_assets.cli.output import JSON_HELP, console, show
from billing_assets.core.errors import BillingError
from billing_assets.installation import Installation
from billing_assets.invoicing.archive import export_cycle
from billing_assets.invoicing.retention import expire

app = typer.Typer(help="What is kept, for how long, and how it leaves.", no_args_is_help=True)


@app.callback()
def archive() -> None:
    """What is kept, for how long, and how it leaves."""


@app.command("export")
def export(
    cycle: Annotated[str, typer.Argument(help="a final cycle, such as P14/2026-03")],
    out: Annotated[Path | None, typer.Option(help="folder to write below")] = None,
) -> None:
    """Write a cycle's documents, lines, usage, reference data and log into one hashed folder."""
    home = Installation.open()
    target = out if out is not None else home.settings.root / "exports"
    with console.status(f"writing {cycle}"):
        folder = export_cycle(home, cycle, target)
    console.print(str(folder), highlight=False)


@app.command("retention")
def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
    today: Annotated[str, typer.Option(help="as of this day, YYYY-MM-DD; default today")] = "",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Delete or pseudonymise records past the rules of retention.yaml; say what was done.

    Days under a legal hold or of an open cycle are left. Documents, charges and usage by day stay.
    """
    home = Installation.open()
    now = datetime.now(UTC)
    try:
        day = date.fromisoformat(today) if today else now.date()
    except ValueError as error:
        raise BillingError(f"{today!r} is not a date such as 2026-04-05") from error
    rules = home.reference.retention
    found = expire(home, rules, day, now=now, who=home.settings.user, dry_run=dry_run)
    done = "would be" if dry_run else "is"
    rows = [
        {
            "table": one.table,
            "day": one.day,
            "records": one.records,
            "what": f"left: {one.kept_for}" if one.kept_for else f"{done} {one.action}d",
        }
        for one in found
    ]
    show(rows, "Retention", as_json=as_json, empty="nothing is past its rule")
