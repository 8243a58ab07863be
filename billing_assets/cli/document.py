"""`icb document`: the itemised records of an issued document."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from billing_assets.cli.output import console
from billing_assets.core.errors import BillingError
from billing_assets.installation import Installation
from billing_assets.invoicing.itemised import save_itemised, save_unmasked

app = typer.Typer(help="Issued documents.", no_args_is_help=True)


@app.callback()
def documents() -> None:
    """Issued documents."""


@app.command("itemised")
def itemised(
    document: Annotated[str, typer.Argument(help="an issued document's number or id")],
    out: Annotated[Path, typer.Option(help="CSV file to write")],
    unmask: Annotated[
        bool, typer.Option("--unmask", help="numbers in full; is logged with the reason")
    ] = False,
    reason: Annotated[str, typer.Option(help="why the numbers are needed, such as a dispute")] = "",
) -> None:
    """Write a document's records as CSV: as issued, or with the numbers in full."""
    home = Installation.open()
    numbered = home.registry.documents.with_number(document)
    stored = numbered[0] if numbered else home.registry.documents.get(document)
    if not unmask:
        save_itemised(home, stored, out)
    elif not reason.strip():
        raise BillingError("unmasking needs a reason", hint="--reason 'dispute D-17'")
    else:
        save_unmasked(
            home, stored, out, reason=reason, now=datetime.now(UTC), who=home.settings.user
        )
    console.print(str(out), highlight=False)
