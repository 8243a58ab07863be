"""`icb price`: what usage would cost under agreement files, with nothing installed or taken in."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl
import typer

from billing_assets.charging.capacity import missing_samples
from billing_assets.charging.exchange import missing_rates
from billing_assets.charging.quote import quote_cycles
from billing_assets.charging.share_lines import unmet_takes
from billing_assets.cli.output import JSON_HELP, console, fail, print_json, show
from billing_assets.core.errors import BillingError
from billing_assets.core.money import minor_units
from billing_assets.core.periods import month_period
from billing_assets.rating.price import PriceRow, at_least, price_rows, price_usage
from billing_assets.rating.usage_checks import BEYOND, EARLIEST
from billing_assets.rating.usage_file import read_usage
from billing_assets.reference.standalone import standalone_reference

MOST_ROWS = 100
"""Legs that are printed for people; JSON has all."""


def price(
    agreement: Annotated[
        list[Path], typer.Option(help="agreement file, as in the reference data; repeat for more")
    ],
    usage: Annotated[Path, typer.Option(help="usage as canonical CSV or JSON lines")],
    calendar: Annotated[
        Path | None,
        typer.Option(help="calendars.yaml; by default the one beside or above the agreement"),
    ] = None,
    month: Annotated[
        str, typer.Option(help="bill this cycle (YYYY-MM), earlier usage as of a prior period")
    ] = "",
    zone: Annotated[str, typer.Option(help="time zone of stamps without an offset")] = "UTC",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Price usage under agreements: a row a leg, and the charge lines of its cycles.

    Every record is priced by each agreement of its service, or, where its trunks name accounts,
    by those alone. Exit 2 when the agreements or the usage cannot be used.
    """
    try:
        document = quote(agreement, usage, calendar=calendar, month=month, zone=zone)
    except BillingError as error:
        fail(error)
        raise typer.Exit(2) from error
    if as_json:
        print_json(document)
    else:
        _print(document)


def quote(
    agreements: Sequence[Path], usage: Path, *, calendar: Path | None, month: str, zone: str
) -> dict[str, list]:
    """What `icb price` prints as JSON: `legs`, `charges`, `totals`, `breaches` and `notes`.

    Raises `BillingError` that names what cannot be used.
    """
    try:
        ZoneInfo(zone)
        # Polars reads the stamps, and knows fewer names
        pl.select(pl.lit(EARLIEST).dt.convert_time_zone(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError, pl.exceptions.ComputeError) as error:
        raise BillingError(f"{zone!r} is not an IANA time zone") from error
    cycle = month or None
    if cycle:
        years = range(EARLIEST.year, BEYOND.year)
        if cycle[:4].isdecimal() and int(cycle[:4]) not in years:
            raise BillingError(f"month {cycle!r} is outside {years[0]} to {years[-1]}")
        month_period(cycle)
    try:
        content = usage.read_bytes()
    except OSError as error:
        raise BillingError(f"cannot read {usage}: {error.strerror}") from error
    reference = standalone_reference(agreements, calendar)
    services = {a.terms.service.value for a in reference.reference.agreements}
    priced = price_usage(reference, read_usage(content, str(usage), services=services, zone=zone))
    rows = price_rows(priced)
    charges = quote_cycles(priced, cycle)
    return {
        "legs": [asdict(row) for row in rows],
        "charges": [_charge(row) for row in charges.iter_rows(named=True)],
        "totals": _totals(rows, charges),
        "breaches": [asdict(breach) for breach in reference.reference.breaches],
        "notes": [
            *priced.notes,
            *missing_samples(charges),
            *unmet_takes(charges),
            *missing_rates(charges),
        ],
    }


def _charge(row: dict[str, object]) -> dict[str, object]:
    """A charge line for people: its money with the currency's decimals, its derivation read."""
    exact, amount, price, quantity = (
        row[name] for name in ("exact_amount", "amount", "price", "quantity")
    )
    assert isinstance(exact, Decimal) and isinstance(amount, Decimal)
    return {
        "cycle": row["cycle"],
        "kind": row["kind"],
        "section": row["section"],
        "agreement": row["agreement"],
        "leg": row["leg"],
        "description": row["description"],
        "records": row["records"],
        "quantity": at_least(quantity, 0) if isinstance(quantity, Decimal) else None,
        "unit": row["unit"],
        "price": at_least(price, 4) if isinstance(price, Decimal) else None,
        "exact_amount": at_least(exact, minor_units(str(row["priced_in"]))),
        "priced_in": row["priced_in"],
        "amount": at_least(amount, minor_units(str(row["currency"]))),
        "currency": row["currency"],
        "rule": row["rule"],
        "inputs": json.loads(str(row["inputs"])),
        "steps": json.loads(str(row["steps"])),
    }


def _totals(rows: Sequence[PriceRow], charges: pl.DataFrame) -> list[dict[str, object]]:
    """Records, priced or not, and charged money by leg and currency."""
    counts: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        count = counts.setdefault((row.leg, row.currency), [0, 0])
        count[1 if row.reason else 0] += row.records
    summed = charges.group_by("leg", "currency").agg(pl.col("amount").sum())
    money = {(leg, currency): amount for leg, currency, amount in summed.iter_rows()}
    return [
        {
            "leg": leg,
            "currency": currency,
            "priced": counts.get((leg, currency), [0, 0])[0],
            "unpriced": counts.get((leg, currency), [0, 0])[1],
            "amount": at_least(money[leg, currency], minor_units(currency))
            if (leg, currency) in money
            else None,
        }
        for leg, currency in sorted({*counts, *money})
    ]


_LEG_COLUMNS = (
    "line",
    "leg",
    "agreement",
    "records",
    "billed",
    "rate",
    "band",
    "origin",
    "code",
    "destination",
    "fees",
    "amount",
    "currency",
)
_CHARGE_COLUMNS = (
    "cycle",
    "leg",
    "description",
    "records",
    "quantity",
    "unit",
    "price",
    "amount",
    "currency",
)


def _print(document: dict[str, list]) -> None:
    legs = document["legs"]
    filled = [name for name in _LEG_COLUMNS if any(leg[name] not in ("", None) for leg in legs)]
    show(
        [
            {**{name: leg[name] for name in filled}, "result": leg["reason"] or leg["pricing"]}
            for leg in legs[:MOST_ROWS]
        ],
        "Legs",
        as_json=False,
        empty="no leg",
    )
    if len(legs) > MOST_ROWS:
        console.print(f"and {len(legs) - MOST_ROWS:,} more: --json prints all")
    show(
        [{name: charge[name] for name in _CHARGE_COLUMNS} for charge in document["charges"]],
        "Charge lines",
        as_json=False,
        empty="no charge",
    )
    show(document["totals"], "Totals", as_json=False)
    for breach in document["breaches"]:
        console.print(
            f"notice breached: {breach['file']}:{breach['row']} code {breach['code']} asked for "
            f"{breach['requested']}, loaded from {breach['loaded']}",
            highlight=False,
        )
    for note in document["notes"]:
        console.print(f"note: {note}", highlight=False)
