"""`icb suspense`: what waits, why, how long and how much it is worth; try it again."""

import csv
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

import polars as pl
import typer

from billing_assets.cli.output import JSON_HELP, print_json, show
from billing_assets.core.errors import BillingError
from billing_assets.core.ids import split_record_id
from billing_assets.core.money import Rounding, decimal_of_e10, round_amount
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.lake.tables import SUSPENSE, XDR

app = typer.Typer(help="Records and legs that wait for a cause to be mended.", no_args_is_help=True)

Reason = Annotated[str | None, typer.Option(help="this reason alone, such as UNKNOWN_TRUNK")]
OfPartner = Annotated[str | None, typer.Option("--partner", help="this partner alone")]
OnDay = Annotated[str | None, typer.Option("--day", help="this UTC day alone, YYYY-MM-DD")]


@app.command("list")
def list_(
    reason: Reason = None,
    partner: OfPartner = None,
    day: OnDay = None,
    legs: Annotated[bool, typer.Option("--legs", help="one row a leg, with file and row")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print CSV for spreadsheets")] = False,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """What waits by reason, trunk, partner and age, with the money at risk where it can be told."""
    home = Installation.open()
    rows = suspended(home, reason, partner, _day(day), legs=legs)
    if as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(rows[0] if rows else ())
        writer.writerows(row.values() for row in rows)
    elif as_json:
        print_json(rows)
    else:
        show(rows, "Suspense", as_json=False, empty="nothing in suspense")


def suspended(
    home: Installation, reason: str | None, partner: str | None, day: date | None, *, legs: bool
) -> list[dict[str, object]]:
    """Rows of suspense with the trunk that they came by; in groups, or leg by leg."""
    from billing_assets.orchestration.suspense import Waiting  # noqa: PLC0415 - seconds to import

    today = datetime.now(UTC).date()
    waiting = home.lake.scan(SUSPENSE).filter(Waiting(reason, partner, day).chosen).collect()
    ids = waiting["record_id"].unique().implode()
    days = waiting["day"].unique().to_list()
    records = (
        (
            home.lake.scan(XDR, part={"day": days})
            .filter(pl.col("record_id").is_in(ids))
            .select("record_id", "in_trunk", "out_trunk", "setup_time", "b_number")
            .collect()
        )
        if days
        else pl.DataFrame(schema={k: XDR.schema[k] for k in _OF_RECORD})
    )
    trunk = pl.when(pl.col("leg") == "supplier").then("out_trunk").otherwise("in_trunk")
    known = waiting.join(records, on="record_id", how="left").with_columns(
        trunk.alias("trunk"), (pl.lit(today) - pl.col("day")).dt.total_days().alias("age days")
    )
    if legs:
        return _by_leg(home, known)
    groups = (
        known.group_by("reason", "trunk", "partner", "currency")
        .agg(
            pl.len().cast(pl.Int64).alias("legs"),
            pl.col("day").min().alias("oldest"),
            pl.col("age days").max(),
            (pl.col("duration_ms").sum() // 60_000).alias("minutes"),
            decimal_of_e10(pl.col("at_risk_e10").sum()).alias("at risk"),
            pl.col("detail").first().alias("what to do"),
        )
        .sort("reason", "trunk", "partner", nulls_last=True)
    )
    return [{**row, "at risk": _money(row)} for row in groups.iter_rows(named=True)]


_OF_RECORD = ("record_id", "in_trunk", "out_trunk", "setup_time", "b_number")


def _by_leg(home: Installation, known: pl.DataFrame) -> list[dict[str, object]]:
    names: dict[int, str] = {}
    rows = []
    at_risk = decimal_of_e10(pl.col("at_risk_e10")).alias("at risk")
    for row in known.with_columns(at_risk).sort("day", "record_id").iter_rows(named=True):
        key, line = split_record_id(row["record_id"])
        if key not in names:
            entry = home.registry.files.by_key(key)
            names[key] = entry.name if entry else ""
        rows.append(
            {
                "reason": row["reason"],
                "day": row["day"],
                "age days": row["age days"],
                "leg": row["leg"],
                "trunk": row["trunk"],
                "partner": row["partner"],
                "b_number": None if row["b_number"] is None else str(row["b_number"]),
                "seconds": row["duration_ms"] // 1000,
                "at risk": _money(row),
                "currency": row["currency"],
                "file": names[key],
                "row": line,
                "record": str(row["record_id"]),
            }
        )
    return rows


def _money(row: dict[str, Any]) -> Decimal | None:
    """The row's money at risk, where its currency is known."""
    value = row["at risk"] if row["currency"] else None
    return None if value is None else round_amount(value, 2, Rounding.HALF_UP)


@app.command("retry")
def retry(
    reason: Reason = None,
    partner: OfPartner = None,
    day: OnDay = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Try again what waits, by the reference data in force: map the trunk or load the rate first.

    Legs that have a price stay as they are. Parts of calls are put together anew; a call whose
    last part never came is closed after its timeout.
    """
    from billing_assets.orchestration.suspense import (  # noqa: PLC0415 - seconds to import
        Waiting,
        retry_suspense,
    )

    done = retry_suspense(Settings(), Waiting(reason, partner, _day(day)))
    rows = [vars(one) for one in done]
    show(rows, "Tried again", as_json=as_json, empty="nothing waits")


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise BillingError(f"{text!r} is not a day such as 2026-03-10") from error
