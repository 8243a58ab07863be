"""`icb deliver` and `icb delivery`: send issued documents, see what arrived."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from billing_assets.cli.output import JSON_HELP, show
from billing_assets.core.errors import NotFound
from billing_assets.installation import Installation
from billing_assets.invoicing.delivery.run import deliver as deliver_documents
from billing_assets.registry.deliveries import Delivery
from billing_assets.registry.schema import DeliveryState

app = typer.Typer(help="Deliveries: what went where, and what did not.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help=JSON_HELP)]
Named = Annotated[str, typer.Argument(help="delivery, such as P14/2026-03/invoice-EUR/portal")]


def deliver(
    what: Annotated[
        str,
        typer.Argument(help="a cycle, or a document's number or id; default all that is due"),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Deliver issued documents by their partners' channels; exit 1 when one did not arrive.

    What was delivered is never sent again; what failed is tried again.
    """
    home = Installation.open()
    found = deliver_documents(
        home, what=what, clock=lambda: datetime.now(UTC), who=home.settings.user
    )
    show(_rows(found), "Deliveries", as_json=as_json, empty="nothing to deliver")
    if any(one.state is not DeliveryState.DELIVERED for one in found):
        raise typer.Exit(1)


@app.command("list")
def list_deliveries(
    cycle: Annotated[str, typer.Option(help="only this cycle")] = "",
    partner: Annotated[str, typer.Option("--partner", "-p", help="only this receiver")] = "",
    failed: Annotated[bool, typer.Option("--failed", help="only what did not arrive")] = False,
    as_json: AsJson = False,
) -> None:
    """Every delivery with its state, attempts and receipt or reason."""
    home = Installation.open()
    found = home.registry.deliveries.list(cycle=cycle or None, partner=partner or None)
    if failed:
        found = [one for one in found if one.state is not DeliveryState.DELIVERED]
    show(_rows(found), "Deliveries", as_json=as_json, empty="no delivery")


@app.command("show")
def show_delivery(delivery: Named, as_json: AsJson = False) -> None:
    """Every attempt of a delivery."""
    home = Installation.open()
    one = _find(home, delivery)
    attempts = home.registry.deliveries.attempts(one.document, one.channel)
    rows = [
        {k: v for k, v in vars(a).items() if k not in ("document", "channel")} for a in attempts
    ]
    show(rows, f"{one.id}: {one.state.value}", as_json=as_json, empty="not tried yet")


@app.command("resolve")
def resolve(
    delivery: Named,
    arrived: Annotated[
        bool, typer.Option("--arrived/--again", help="it arrived, or: try it again")
    ],
    reason: Annotated[str, typer.Option(help="how you know")],
) -> None:
    """Say whether a delivery whose answer was lost arrived; without an answer it stays put."""
    home = Installation.open()
    one = _find(home, delivery)
    home.registry.deliveries.resolve(
        one.document,
        one.channel,
        arrived=arrived,
        reason=reason,
        now=datetime.now(UTC),
        who=home.settings.user,
    )
    list_deliveries(cycle=one.cycle)


def _find(home: Installation, name: str) -> Delivery:
    document, _, channel = name.rpartition("/")
    for one in home.registry.deliveries.list(document=document or "-"):
        if one.channel == channel:
            return one
    raise NotFound(f"there is no delivery {name}", hint="`icb delivery list`")


def _rows(found: list[Delivery]) -> list[dict[str, object]]:
    return [
        {
            "delivery": one.id,
            "to": one.address,
            "state": one.state.value,
            "tries": one.attempts,
            "files": len(one.files),
            "receipt or reason": one.message
            or ", ".join(f"{name} {value}" for name, value in one.receipt.items()),
        }
        for one in found
    ]
