"""`icb fx`: fixings as the product reads them, conversions, and differences by exchange."""

from pathlib import Path
from typing import Annotated

import typer

from billing_assets.cli.lists import amount_of, currency_of, day_of, decimal_of, read_rows
from billing_assets.cli.output import JSON_HELP, console, print_json, show
from billing_assets.core.fx import Rate, difference
from billing_assets.core.fx import convert as converted
from billing_assets.core.money import Rounding, round_amount
from billing_assets.installation import Installation

app = typer.Typer(
    help="Exchange rates by the fixings in force: exact, by direction, never a rounded inverse.",
    no_args_is_help=True,
)

_ITEMS = ("item", "amount", "currency", "booked", "paid")

Source = Annotated[str, typer.Argument(help="currency to convert from, such as USD")]
Target = Annotated[str, typer.Argument(help="currency to convert to, such as EUR")]
Day = Annotated[str, typer.Argument(help="day of the fixing, YYYY-MM-DD")]
Until = Annotated[str, typer.Option(help="with it, the average of the fixings up to this day")]
Through = Annotated[str, typer.Option(help="currency to cross by where the pair is not quoted")]
AsJson = Annotated[bool, typer.Option("--json", help=JSON_HELP)]


@app.command()
def rate(
    source: Source,
    target: Target,
    day: Day,
    until: Until = "",
    through: Through = "",
    as_json: AsJson = False,
) -> None:
    """The rate between two currencies on a day, in the direction in which it is quoted."""
    found = _rate(source, target, day, until, through)
    told = {"rate": _digits(found), "of": found.currency, "per": found.base}
    if as_json:
        print_json(told)
    else:
        console.print(f"{told['rate']} {found.currency} per {found.base}", highlight=False)


@app.command()
def convert(
    amount: Annotated[str, typer.Argument(help="amount, such as 12345.67")],
    source: Source,
    target: Target,
    day: Day,
    until: Until = "",
    through: Through = "",
    as_json: AsJson = False,
) -> None:
    """An amount in another currency, rounded once to its minor unit."""
    found = _rate(source, target, day, until, through)
    result = converted(decimal_of(amount), found, source, target)
    if as_json:
        told = {"amount": result, "currency": target, "rate": _digits(found)}
        print_json({**told, "of": found.currency, "per": found.base})
    else:
        at = f"at {_digits(found)} {found.currency} per {found.base}"
        console.print(f"{result:,f} {target} ({at})", highlight=False)


@app.command()
def revalue(
    items: Annotated[Path, typer.Argument(help="CSV: item, amount, currency, booked, paid")],
    at: Annotated[str, typer.Option(help="closing day, YYYY-MM-DD")],
    through: Through = "",
    as_json: AsJson = False,
) -> None:
    """Differences of open and paid items in our currency: revaluation and realised.

    A receivable is a positive amount, a payable a negative one; a difference above zero is a
    gain. An item paid up to the closing day is realised at the fixing of its payment; any other
    is revalued at that of the closing day.
    """
    home = Installation.open().reference
    ours, closing = home.carrier.currency, day_of(at)
    rows = []
    for item in read_rows(items, _ITEMS, _checked):
        amount, currency = item["amount"], item["currency"]
        booked, paid = item["booked"], item["paid"]
        if booked > closing:
            continue
        is_paid = paid is not None and paid <= closing
        now = paid if paid is not None and is_paid else closing
        then_rate, now_rate = (
            home.rates_of_exchange.on(currency, ours, day, through) for day in (booked, now)
        )
        rows.append(
            {
                "item": item["item"],
                "amount": amount,
                "currency": currency,
                "booked": converted(amount, then_rate, currency, ours),
                "now": converted(amount, now_rate, currency, ours),
                "difference": difference(amount, then_rate, now_rate, currency, ours),
                "home": ours,
                "kind": "realised" if is_paid else "revaluation",
                "on": now,
            }
        )
    show(rows, f"Differences by exchange at {closing}", as_json=as_json, empty="no item is open")


def _checked(row: dict[str, str]) -> dict:
    currency = currency_of(row["currency"])
    return {
        "item": row["item"],
        "amount": amount_of(row["amount"], currency),
        "currency": currency,
        "booked": day_of(row["booked"]),
        "paid": day_of(row["paid"]) if row["paid"] else None,
    }


def _rate(source: str, target: str, day: str, until: str, through: str) -> Rate:
    for currency in (source, target, *([through] if through else [])):
        currency_of(currency)
    fixings = Installation.open().reference.rates_of_exchange
    first = day_of(day)
    if until:
        return fixings.average(source, target, first, day_of(until), through)
    return fixings.on(source, target, first, through)


def _digits(rate: Rate) -> str:
    """A rate to ten decimals; a cross or an average may have more."""
    return f"{round_amount(rate.units_per_base, 10, Rounding.HALF_UP).normalize():f}"
