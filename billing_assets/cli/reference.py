"""`icb reference`: check the reference folder, and put it into force."""

from typing import Annotated

import typer

from billing_assets.cli.output import JSON_HELP, console, print_json, show
from billing_assets.core.settings import Settings
from billing_assets.reference.load import load_reference, read_folder

app = typer.Typer(help="Partners, agreements, rate sheets.", no_args_is_help=True)


@app.command("check")
def check(as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False) -> None:
    """List every problem of the reference folder; nothing is put into force. Exit 1 if any."""
    loaded = load_reference(read_folder(Settings().reference))
    rows = [vars(problem) for problem in loaded.problems]
    if as_json:
        print_json(rows)
    else:
        show(rows, "Problems", as_json=False, empty="no problem")
        reference = loaded.reference
        console.print(
            f"{len(reference.partners)} partners, {len(reference.agreements)} agreements, "
            f"{reference.rates().height:,} rates"
        )
    if rows:
        raise typer.Exit(1)
