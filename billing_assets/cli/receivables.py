"""`icb receivables`: open items of a list by age, and the interest that is due on them."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from billing_assets.cli.lists import amount_of, currency_of, day_of, decimal_of, read_rows
from billing_assets.cli.output import JSON_HELP, print_json, show
from billing_assets.core.errors import BillingError
from billing_assets.settlement.receivables import (
    BUCKETS,
    Basis,
    ageing,
    bucket,
    days_late,
    late_interest,
)

COLUMNS = ("item", "amount", "currency", "due")


def receivables(
    items: Annotated[Path, typer.Argument(help="CSV: item, amount, currency, due (YYYY-MM-DD)")],
    at: Annotated[str, typer.Option(help="day at whose end it is asked, YYYY-MM-DD")],
    annual: Annotated[str, typer.Option(help="interest, percent a year, such as 12.15")] = "0",
    basis: Annotated[int, typer.Option(help="days of a year: 365 or 360")] = 365,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Open items by days past due, with late interest; sums by currency and bucket.

    The list is yours (an export of the ledger): payments are not known here. A credit is a
    negative amount and bears no interest.
    """
    day, percent = day_of(at), decimal_of(annual)
    if basis not in (360, 365):
        raise BillingError(f"a year of {basis} days is not known", hint="--basis 365 or 360")
    if not 0 <= percent <= 1000:
        raise BillingError(f"{annual}% a year is no rate of interest", hint="--annual 12.15")
    year: Basis = 360 if basis == 360 else 365
    rows = []
    for row in read_rows(items, COLUMNS, _checked):
        due, amount = row["due"], row["amount"]
        late = days_late(due, day)
        rows.append(
            {
                **row,
                "days late": late,
                "bucket": bucket(due, day),
                "interest": late_interest(amount, percent, late, row["currency"], basis=year),
            }
        )
    sums = [
        {
            "currency": currency,
            **ageing(((r["due"], r["amount"]) for r in rows if r["currency"] == currency), day),
            "interest": sum((r["interest"] for r in rows if r["currency"] == currency), Decimal(0)),
        }
        for currency in sorted({row["currency"] for row in rows})
    ]
    if as_json:
        print_json({"items": rows, "sums": sums, "buckets": BUCKETS})
        return
    show(rows, f"Open items at {day}", as_json=False, empty="no item is open")
    show(sums, "By age", as_json=False, empty="")


def _checked(row: dict[str, str]) -> dict:
    due: date = day_of(row["due"])
    currency = currency_of(row["currency"])
    return {
        "item": row["item"],
        "amount": amount_of(row["amount"], currency),
        "currency": currency,
        "due": due,
    }
