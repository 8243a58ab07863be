"""`icb controls`: the latest results of all controls of a month, worst first."""

from typing import Annotated, Literal, get_args

import polars as pl
import typer

from billing_assets.cli.output import JSON_HELP, print_json, show
from billing_assets.controls.results import (
    Result,
    anomaly_results,
    balance_results,
    completeness_results,
    cycle_results,
    invoiced_results,
)
from billing_assets.core.periods import month_period
from billing_assets.installation import Installation
from billing_assets.orchestration.dbt_manifest import mart_tables

Severity = Literal["error", "warning", "info", "passed"]
"""How bad what a control says is, the worst first."""


def controls(
    month: Annotated[str, typer.Argument(help="billing month, YYYY-MM; default the last one")] = "",
    partner: Annotated[str, typer.Option("--partner", "-p", help="only this partner")] = "",
    severity: Annotated[Severity | None, typer.Option(help="only this severity")] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """What the controls found: balances, anomalies, negative routes, cycles' exceptions.

    Exit 1 when an error stands that nobody waived.
    """
    home = Installation.open()
    chosen = month or max((cycle.month for cycle in home.registry.cycles.list()), default="")
    if not chosen:
        show([], "", as_json=as_json, empty="nothing was billed or controlled yet: `icb run`")
        return
    month_period(chosen)
    if partner:
        home.reference.partner(partner)
    tables = mart_tables()

    def mart(name: str) -> pl.DataFrame:
        return home.lake.scan(tables[name], part={"month": chosen}).collect()

    results = [
        *balance_results(mart("record_balance_by_stage"), chosen),
        *completeness_results(mart("completeness_by_partner_day")),
        *invoiced_results(mart("charged_vs_invoiced")),
        *anomaly_results(mart("anomalies")),
        *cycle_results(home.registry, chosen),
    ]
    found = [
        one
        for one in results
        if (not partner or one.partner == partner) and (not severity or one.severity == severity)
    ]
    found.sort(key=lambda one: get_args(Severity).index(one.severity))
    if as_json:
        print_json([vars(one) for one in found])
    else:
        show(
            [_row(one) for one in found],
            f"Controls of {chosen}",
            as_json=False,
            empty=f"no control found anything in {chosen}",
        )
    if any(one.severity == "error" and not one.waived for one in found):
        raise typer.Exit(1)


def completeness(
    month: Annotated[str, typer.Argument(help="month, YYYY-MM")],
    partner: Annotated[str, typer.Option("--partner", "-p", help="only this partner")] = "",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Voice by day, partner and leg: counted by switches, received, rated; calls and minutes."""
    month_period(month)
    home = Installation.open()
    table = mart_tables()["completeness_by_partner_day"]
    rows = home.lake.scan(table, part={"month": month}).collect()
    if partner:
        home.reference.partner(partner)
        rows = rows.filter(pl.col("partner") == partner)
    minutes = [
        (pl.col(f"{name}_ms") / 60_000).round(2).alias(f"{name} minutes")
        for name in ("counted", "received", "rated")
    ]
    shown = rows.sort("day", "partner", "leg").select(
        "day",
        "partner",
        "leg",
        *(
            one
            for name, time in zip(("counted", "received", "rated"), minutes, strict=True)
            for one in (pl.col(name), time)
        ),
        "amount",
        "currency",
        pl.col("missing_value").alias("missing about"),
        pl.when("outside").then(pl.lit("outside")).otherwise(pl.lit("")).alias("tolerance"),
    )
    show(
        list(shown.iter_rows(named=True)),
        f"Completeness of {month}",
        as_json=as_json,
        empty=f"no voice in {month}, or its marts are not built yet: `icb run`",
    )


def _row(one: Result) -> dict[str, object]:
    return {
        "control": one.control,
        "severity": one.severity,
        "partner": one.partner,
        "where": one.where,
        "finding": one.finding,
        "owner": one.owner,
        "waived": one.waived,
    }
