"""`icb traffic`: the rated traffic of a month by the dimensions of a configured mart."""

import sys
from decimal import Decimal
from typing import Annotated

import polars as pl
import typer

from billing_assets.cli.output import JSON_HELP, console, print_json, show
from billing_assets.core.errors import NotFound
from billing_assets.core.periods import month_period
from billing_assets.installation import Installation
from billing_assets.orchestration.dbt_manifest import mart_tables

_MEASURES = ("records", "answered", "minutes", "billed_units", "fees", "amount")
_SHOWN = 200
"""Rows of the table for people; CSV and JSON hold all."""


def traffic(
    mart: Annotated[str, typer.Argument(help="a mart of traffic.yaml; default: list them")] = "",
    month: Annotated[str, typer.Option(help="YYYY-MM; default the last one built")] = "",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print CSV")] = False,
) -> None:
    """Traffic by partner, destination, trunk, hour or whatever the mart keeps; largest first."""
    home = Installation.open()
    table = mart_tables()["traffic"]
    marts = {one.mart: one for one in home.reference.traffic.marts}
    if not mart:
        listed = [{"mart": name, "dimensions": ", ".join(m.kept)} for name, m in marts.items()]
        show(listed, "Traffic marts", as_json=as_json)
        return
    if month:
        month_period(month)
    found = home.lake.scan(table, part={"month": month} if month else None)
    rows = found.filter(pl.col("mart") == mart).collect()
    chosen = month or rows["month"].max()
    if rows.is_empty():
        known = ", ".join(marts)
        if mart not in marts:
            raise NotFound(f"there is no traffic mart {mart}", hint=f"known: {known}")
        raise NotFound(
            f"traffic mart {mart} holds nothing{f' of {month}' if month else ''}",
            hint="materialise `traffic` of the month: `icb run`, or its partition in the UI",
        )
    rows = rows.filter(pl.col("month") == chosen)
    # as the month was built: the reference may name other dimensions since
    kept = str(rows["dimensions"][0]).split(", ")
    rows = rows.select(*kept, *_MEASURES).sort(pl.col("amount").abs(), *kept, descending=True)
    if as_csv:
        sys.stdout.write(rows.write_csv())
    elif as_json:
        print_json(rows.to_dicts())
    else:
        shown = [
            {name: v.normalize() if isinstance(v, Decimal) else v for name, v in row.items()}
            for row in rows.head(_SHOWN).to_dicts()
        ]
        show(shown, f"Traffic {mart} of {chosen}", as_json=False)
        if rows.height > _SHOWN:
            console.print(f"the first {_SHOWN} of {rows.height:,} rows; --csv prints all")
