"""`icb deals`: where every commitment and deal stands."""

from dataclasses import asdict
from datetime import date
from typing import Annotated

import typer

from billing_assets.charging.deals import as_table, chart, last_rated_day, live_positions
from billing_assets.cli.output import JSON_HELP, console, fail, print_json, show
from billing_assets.core.errors import BillingError
from billing_assets.installation import Installation


def deals(
    on: Annotated[str, typer.Option(help="at the end of this day; default the last rated")] = "",
    partner: Annotated[str, typer.Option(help="of this partner alone")] = "",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Commitments and deals: used, due by now, needed a day, forecast, thresholds passed."""
    try:
        home = Installation.open()
        try:
            day = date.fromisoformat(on) if on else last_rated_day(home.lake)
        except ValueError as error:
            raise BillingError(f"{on!r} is not a day such as 2026-03-10") from error
        found = live_positions(home.reference, home.lake, day, partner)
    except BillingError as error:
        fail(error)
        raise typer.Exit(2) from error
    if as_json:
        print_json([asdict(one) for one in found])
        return
    title = f"Deals and commitments at the end of {day}"
    show(as_table(found).to_dicts(), title, as_json=False, empty="no deal holds")
    console.print(chart(found), highlight=False)
