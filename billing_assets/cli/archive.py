"""`icb archive`: a final cycle as one folder that needs no product."""

from pathlib import Path
from typing import Annotated

import typer

from billing_assets.cli.output import console
from billing_assets.installation import Installation
from billing_assets.invoicing.archive import export_cycle

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
