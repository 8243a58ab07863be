"""`icb accruals`: what is owed and not billed at the end of a day, and what was billed of it."""

import sys
from datetime import UTC, date, datetime
from typing import Annotated

import polars as pl
import typer

from billing_assets.cli.output import JSON_HELP, console, print_json, show
from billing_assets.core.errors import BillingError, NotFound
from billing_assets.installation import Installation
from billing_assets.invoicing.accruals import (
    against_actual,
    journal,
    stored_accrual,
    sums,
    take_accrual,
)


def accruals(
    at: Annotated[str, typer.Option(help="day, YYYY-MM-DD; default the last one taken")] = "",
    again: Annotated[bool, typer.Option(help="take it anew, replacing the stored one")] = False,
    as_journal: Annotated[
        bool, typer.Option("--journal", help="print the postings and their reversal, CSV")
    ] = False,
    actual: Annotated[bool, typer.Option(help="beside what was billed since")] = False,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print CSV")] = False,
) -> None:
    """Accruals at the end of a day: taken and stored at the first call, shown at later ones."""
    home = Installation.open()
    try:
        day = date.fromisoformat(at) if at else None
    except ValueError as error:
        raise BillingError(f"{at!r} is not a day such as 2026-03-31") from error
    try:
        found = stored_accrual(home, day)
        taken = again
    except NotFound:
        if day is None:
            raise
        taken, found = True, None
    if taken or found is None:
        if day is None:
            raise BillingError("--again needs the day", hint="add --at DATE")
        if day > (today := datetime.now(UTC).date()):
            raise BillingError(f"{day} is still to come", hint=f"the last day is {today} (UTC)")
        found = take_accrual(home, day)
    if as_journal:
        if home.reference.ledger is None:
            raise BillingError("there is no ledger.yaml, so nothing can be posted")
        sys.stdout.write(journal(found, home.reference.ledger).decode())
        return
    table = against_actual(home, found) if actual else found.rows
    if as_csv:
        sys.stdout.write(table.write_csv())
    elif as_json:
        key = "compared" if actual else "rows"
        print_json(
            {
                "at": found.at,
                "reversed_on": found.reversed_on,
                "sums": sums(found).to_dicts(),
                "unknown": found.unknown,
                key: table.to_dicts(),
            }
        )
    else:
        shown = table if actual else sums(found)
        shown = shown.with_columns(pl.selectors.decimal().cast(pl.Decimal(38, 3)))
        title = f"Accrual at {found.at}" + (" against actual" if actual else "")
        show(shown.to_dicts(), title, as_json=False, empty="nothing is accrued")
        console.print(f"reversed on {found.reversed_on}", highlight=False)
        for said in found.unknown:
            console.print(f"not known: {said}", highlight=False)
