"""`icb explain`, `icb verify`, `icb sql`: how a figure came about, proved and queried."""

from typing import Annotated

import typer
from rich.text import Text

from billing_assets.cli.output import JSON_HELP, console, print_json, show
from billing_assets.core.errors import BillingError
from billing_assets.installation import Installation
from billing_assets.invoicing.explain import LineExplained, explain_line, explain_record
from billing_assets.invoicing.prove import prove, prove_registry
from billing_assets.lake.sql import connect
from billing_assets.lake.tables import TABLES

AsJson = Annotated[bool, typer.Option("--json", help=JSON_HELP)]


def explain(
    what: Annotated[
        str,
        typer.Argument(
            help="a record id; or DOCUMENT:LINE with a document's number or id, such as "
            "'FT 2026/000010:3' or 'P14/2026-03/invoice-EUR:3'"
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Explain an invoice line down to records, rate row, sheet and file; or one record's price."""
    home = Installation.open()
    if what.isdecimal():
        _record(home, int(what), as_json)
        return
    document, _, number = what.rpartition(":")
    if not document or not number.isdecimal():
        raise BillingError(
            f"{what!r} is neither a record id nor DOCUMENT:LINE",
            hint="`icb cycle show CYCLE` names documents",
        )
    explained = explain_line(home, document, int(number))
    if as_json:
        print_json({**vars(explained), "line": explained.line.model_dump(mode="json")})
        return
    _line(explained)


def _line(explained: LineExplained) -> None:
    line = explained.line
    title = f"{explained.document} line {line.number}"
    console.print(Text.assemble((title, "bold"), f"  {line.description}"))
    console.print(f"  {line.agreement}, {line.first_day} to {line.last_day}: {line.amount}")
    for step in line.steps:
        console.print(f"  - {step}", highlight=False)
    if explained.inputs:
        counted = ", ".join(f"{name} {value}" for name, value in explained.inputs.items() if value)
        console.print(f"  by {explained.rule}: {counted}", highlight=False)
    if not explained.records:
        return
    console.print(f"  {explained.records:,} rated legs sum to {explained.amount}")
    show(
        [
            {
                "code": str(rate["code"]),
                "destination": rate["destination"],
                "band": rate["band"],
                "price_e10": rate["price_e10"],
                "increments": f"{rate['first_units']}/{rate['next_units']}",
                "sheet": f"{rate['sheet']}:{rate['row']}",
                "from": rate["valid_from"],
            }
            for rate in explained.rates[:20]
        ],
        "Rates",
        as_json=False,
        empty="  no rate row",
    )
    rows = []
    for leg in explained.sample:
        place = leg["place"]
        at = f"{getattr(place, 'file', '?')}:{getattr(place, 'row', '?')}"
        rows.append(
            {
                "record": str(leg["record_id"]),
                "time (UTC)": leg["event_time"],
                "billed": leg["billed_units"],
                "amount": leg["amount"],
                "file:line": at,
            }
        )
    show(rows, "First records", as_json=False, empty="  no records")


def _record(home: Installation, record_id: int, as_json: bool) -> None:
    explained = explain_record(home, record_id)
    if as_json:
        print_json(
            {
                "record": dict(explained.record),
                "place": vars(explained.place) if explained.place else None,
                "rated": explained.rated,
                "suspended": explained.suspended,
                "legs": [vars(leg) for leg in explained.legs],
                "billed": [vars(one) for one in explained.billed],
            }
        )
        return
    place = explained.place
    console.print(f"record {record_id}", style="bold")
    if place:
        console.print(f"  {place.file}, line {place.row} (source {place.source})")
        console.print(f"  {place.text}", highlight=False)
    for leg in explained.legs:
        console.print(Text.assemble((f"{leg.leg.value} leg", "bold"), f" {leg.partner}"))
        for number, step in enumerate(leg.steps, start=1):
            console.print(f"  {number}. {step}", highlight=False)
    for row in explained.rated:
        console.print(
            f"  rated {row['leg']}: {row['amount_e10']} x 10^-10 {row['currency']}, "
            f"plan {row['plan']}",
            highlight=False,
        )
    show(
        [{**vars(one), "number": one.number or "draft"} for one in explained.billed],
        "Billed by",
        as_json=False,
        empty="  billed by no document yet",
    )


def verify(
    document: Annotated[
        str, typer.Argument(help="an issued document's number or id; default the whole registry")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Prove a document: hashes, totals, and making it again from the versions that it pins.

    Without a document every row and file of the registry is held against the audit log. Exit 1
    when a check fails.
    """
    home = Installation.open()
    if document:
        numbered = home.registry.documents.with_number(document)
        checks = prove(home, numbered[0].id if numbered else document)
    else:
        checks = prove_registry(home)
    title = f"Checks of {document or 'the registry'}"
    show([check.model_dump() for check in checks], title, as_json=as_json)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def sql(
    query: Annotated[
        str, typer.Argument(help="one SQL statement; no argument lists the tables")
    ] = "",
    document: Annotated[
        str, typer.Option(help="read the versions that an issued document pins")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Query the lake with DuckDB: every table is a view, at today's or a document's versions."""
    from billing_assets.orchestration.dbt_manifest import mart_tables  # noqa: PLC0415

    home = Installation.open()
    tables = {**TABLES, **mart_tables()}
    pins = None
    if document:
        numbered = home.registry.documents.with_number(document)
        pins = dict((numbered[0] if numbered else home.registry.documents.get(document)).pins)
    if not query:
        show(
            [{"table": t.name, "one row is": t.grain} for t in tables.values()],
            "Tables",
            as_json=as_json,
        )
        return
    connection = connect(home.lake, tables.values(), pins)
    try:
        result = connection.execute(query)
        names = [column[0] for column in result.description or []]
        rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("duckdb", "_duckdb"):
            raise
        raise BillingError(f"DuckDB refuses the query: {error}") from error
    show(rows, "", as_json=as_json, empty="no row")
