"""`icb invoice`: what a partner's documents would look like now."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from billing_assets.cli.output import console
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.invoicing.document import Kind
from billing_assets.invoicing.preview import cycle_to_preview, preview, write_preview
from billing_assets.invoicing.run import cycle_named

app = typer.Typer(
    help="Documents as they would be now: previews, pro formas, usage declarations.",
    no_args_is_help=True,
)

Partner = Annotated[str, typer.Argument(help="partner, such as P14; or one cycle, P03/2026-W11")]
Out = Annotated[Path | None, typer.Option(help="folder; default ICB_HOME/previews")]


@app.command("preview")
def show_preview(partner: Partner, out: Out = None) -> None:
    """Render a partner's open cycle, or the one closed last, as draft PDF and PNG pictures."""
    _write(partner, None, out)


@app.command("pro-forma")
def pro_forma(partner: Partner, out: Out = None) -> None:
    """Render what a cycle would bill as a pro forma invoice: no number, asks for nothing."""
    _write(partner, Kind.PRO_FORMA, out)


@app.command("declaration")
def declaration(partner: Partner, out: Out = None) -> None:
    """Render a cycle's usage without money, for the partner to accept before it is invoiced."""
    _write(partner, Kind.DECLARATION, out)


def _write(what: str, kind: Kind | None, out: Path | None) -> None:
    settings = Settings()
    home = Installation.open(settings)
    now = datetime.now(UTC)
    cycle = cycle_named(home, what) if "/" in what else cycle_to_preview(home, what, now)
    documents = preview(home, cycle, kind, now.date())
    for path in write_preview(home, documents, out or settings.root / "previews" / cycle.cycle):
        console.print(str(path), highlight=False)
