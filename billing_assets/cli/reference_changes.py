"""`icb reference diff|impact|schema`: what a version changes, what that does to rated usage."""

import csv
import json
from datetime import date
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from billing_assets.cli.output import JSON_HELP, console, print_json, show
from billing_assets.cli.reference import app
from billing_assets.core.errors import BillingError, NotFound
from billing_assets.core.money import decimal_of_e10
from billing_assets.installation import Installation
from billing_assets.rating.impact import Impact, impact_of
from billing_assets.rating.staleness import stale_days
from billing_assets.reference.differences import differences
from billing_assets.reference.load import Reference
from billing_assets.reference.schemas import FORMS, json_schema
from billing_assets.reference.versions import as_claimed

FROM = typer.Option("--from", help="current, pending, a number, or a moment: what was known then")
TO = typer.Option("--to", help="the same; by default the version that waits, else the current one")
MOST = 60


@app.command("diff")
def diff(
    from_version: Annotated[str, FROM] = "",
    to_version: Annotated[str, TO] = "",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """What differs between two versions: terms by field, rates by code and time."""
    home = Installation.open()
    found = differences(*compared(home, from_version, to_version))
    prices = [decimal_of_e10(pl.col(f"{side}_e10")).alias(side) for side in ("before", "after")]
    rates = found.rates.with_columns(prices).drop("before_e10", "after_e10")
    terms = [vars(change) for change in found.terms]
    if as_json:
        print_json(
            {"from": found.before, "to": found.after, "terms": terms, "rates": rates.to_dicts()}
        )
        return
    show(terms, "Terms", as_json=False, empty="no term differs")
    shown = rates.head(MOST).with_columns(
        pl.col("valid_from", "valid_to").cast(pl.String).str.head(16)
    )
    show(shown.to_dicts(), "Rates (times in UTC)", as_json=False, empty="no rate differs")
    if rates.height > MOST:
        console.print(f"{rates.height - MOST:,} more; --json has all")


@app.command("impact")
def impact(
    from_version: Annotated[str, FROM] = "",
    to_version: Annotated[str, TO] = "",
    claimed: Annotated[
        bool,
        typer.Option(
            "--as-claimed",
            help="against changes as of the day that sheets ask for: what late notices may cost",
        ),
    ] = False,
    first: Annotated[str, typer.Option("--first", help="first UTC day")] = "",
    last: Annotated[str, typer.Option("--last", help="last UTC day")] = "",
    partner: Annotated[list[str] | None, typer.Option(help="only these partners")] = None,
    to_csv: Annotated[
        Path | None, typer.Option("--csv", help="write every row, by day, to this file")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """What a change would do to usage: days, partners, destinations, records, money.

    Legs that it can touch are priced under both versions; nothing is written.
    """
    home = Installation.open()
    if claimed:
        after = home.reference_as(to_version or "current")
        before, after = after, as_claimed(after, home.blobs)
    else:
        before, after = compared(home, from_version, to_version)
    found = impact_of(
        home.lake,
        before,
        after,
        first=_day(first, date.min),
        last=_day(last, date.max),
        partners=partner,
    )
    if to_csv:
        _write_csv(to_csv, found.by(*_BY_DAY))
    if as_json:
        print_json(
            {
                "from": found.differences.before,
                "to": found.differences.after,
                "days looked at": len(found.days),
                "days": found.changed_days,
                "partners": found.partners,
                "records": found.records,
                "difference": found.total(),
                "usage": found.by(*_BY_DAY).to_dicts(),
            }
        )
        return
    _print(found)


_BY_DAY = ("day", "local_day", "partner", "leg", "service", "agreement", "destination")


_SHORT = {
    "records_before": "legs",
    "records_after": "legs then",
    "suspended_before": "in suspense",
    "suspended_after": "suspense then",
    "amount_before": "before",
    "amount_after": "after",
}
"""Headings of the printed table, where those of the columns are long."""


def _print(found: Impact) -> None:
    table = found.by("partner", "leg", "agreement", "destination")
    rows = [
        {_SHORT.get(name, name): value for name, value in row.items()}
        for row in table.head(MOST).to_dicts()
    ]
    show(rows, "Impact on rated usage", as_json=False, empty="no rated usage changes")
    if table.height > MOST:
        console.print(f"{table.height - MOST:,} more destinations; --csv has all")
    days = found.changed_days
    span = f", {days[0]} to {days[-1]}" if days else ""
    console.print(
        f"{found.records:,} legs of {len(days)} days change{span}; "
        f"{len(found.days)} days were looked at"
    )
    for currency, amount in found.total().items():
        console.print(f"difference: {amount:,f} {currency or '(in suspense)'}", highlight=False)


def compared(home: Installation, before: str, after: str) -> tuple[Reference, Reference]:
    """The two versions that are compared.

    By default: what is in force, and what waits for approval; when nothing waits, what was in
    force before, and what is now.
    """
    versions = home.registry.versions
    if not after:
        after = "pending" if versions.pending_reference() else "current"
    if not before:
        before = "current"
        if after == "current":
            held = [one for one in versions.reference_loads() if one.in_force_from is not None]
            if len(held) < 2:
                raise NotFound("there is one reference version alone", hint="icb reference history")
            before = str(held[-2].version)
    return home.reference_as(before), home.reference_as(after)


def _day(text: str, otherwise: date) -> date:
    try:
        return date.fromisoformat(text) if text else otherwise
    except ValueError as error:
        raise BillingError(f"{text!r} is not a day such as 2026-03-10") from error


def _write_csv(path: Path, frame: pl.DataFrame) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(frame.columns)
        for row in frame.iter_rows():
            writer.writerow("" if value is None else str(value) for value in row)


@app.command("stale")
def stale(as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False) -> None:
    """Rated days that stand on older terms than those in force, and whose terms changed since."""
    home = Installation.open()
    days = stale_days(home.lake, home.registry, home.blobs, home.reference)
    rows = [vars(one) | {"partners": ", ".join(one.partners)} for one in days]
    show(rows, "Days rated on older terms", as_json=as_json, empty="no day")


@app.command("schema")
def schema(
    form: Annotated[str, typer.Argument(help=f"one of {', '.join(FORMS)}")] = "",
    out: Annotated[
        Path | None, typer.Option(help="write NAME.schema.json of every form to this folder")
    ] = None,
) -> None:
    """The JSON Schema of a form of reference file, for editors that complete and check."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name in FORMS:
            text = json.dumps(json_schema(name), indent=2, ensure_ascii=False)
            (out / f"{name}.schema.json").write_text(text + "\n", encoding="utf-8")
        console.print(f"{len(FORMS)} schemas in {out}", highlight=False)
    elif form in FORMS:
        print(json.dumps(json_schema(form), indent=2, ensure_ascii=False))  # noqa: T201
    elif form:
        raise NotFound(f"no form {form!r}", hint=f"known: {', '.join(FORMS)}")
    else:
        rows = [{"form": name, "files": files} for name, (files, _) in FORMS.items()]
        show(rows, "Forms", as_json=False)
