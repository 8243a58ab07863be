"""`icb status`: what came in, what became of it, and what waits; the balance must be zero."""

from datetime import date
from typing import Annotated

import polars as pl
import typer
from rich.text import Text

from billing_assets.cli.output import JSON_HELP, console, print_json, show
from billing_assets.core.money import Rounding, decimal_of_e10, round_amount
from billing_assets.installation import Installation
from billing_assets.intake.sequence import ranges, sequence_report
from billing_assets.lake.tables import SUSPENSE
from billing_assets.orchestration.dbt_manifest import mart_tables
from billing_assets.registry.schema import FileState

MEASURES = (
    "received",
    "rejected",
    "filtered",
    "merged",
    "duplicates",
    "suspense",
    "rated",
    "own",
    "difference",
)


def status(
    by_file: Annotated[bool, typer.Option("--files", help="one row a file and UTC day")] = False,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Where every record went: received = rated + suspense + duplicate + rejected + filtered
    (+ merged parts of calls + records that no partner has a side in), by file and day.

    Exit 1 when a difference is not zero, or when records came in that no balance was made for.
    """
    home = Installation.open()
    balance = home.lake.scan(mart_tables()["record_balance"]).collect()
    keys = ["source", "day"] if not by_file else ["source", "day", "file_key"]
    names = {
        e.file_key: e.name
        for s in home.registry.files.sources()
        for e in home.registry.files.of_source(s)
    }
    rows = balance.group_by(keys).agg(pl.col(MEASURES).sum()).sort(keys).rows(named=True)
    if by_file:
        rows = [
            {
                "file": names.get(row["file_key"], ""),
                "day": row["day"],
                **{name: row[name] for name in MEASURES},
            }
            for row in rows
        ]
    total = balance.select(pl.col(MEASURES).sum()).row(0, named=True)
    unbalanced = int(balance.select((pl.col("difference") != 0).sum()).item())
    received = sum(c.received for c in home.registry.files.counts(date.min, date.max))
    stale = received - total["received"]
    waiting = _suspense(home)
    refused = [
        {"file": e.name, "source": e.source, "reason": e.message}
        for s in home.registry.files.sources()
        for e in home.registry.files.of_source(s)
        if e.state is FileState.QUARANTINED
    ]
    gaps = [
        {
            "source": r.source,
            "files": r.files,
            "missing": ranges(r.missing),
            "seen twice": ranges(r.duplicate),
        }
        for r in _continuity(home)
    ]
    if as_json:
        print_json(
            {
                "balance": rows,
                "total": total,
                "not_balanced_yet": stale,
                "suspense": waiting,
                "refused_files": refused,
                "continuity": gaps,
            }
        )
    else:
        show(
            rows,
            "Balance of records by " + ("file and day" if by_file else "source and day"),
            as_json=False,
            empty="no balance yet: `icb run` or `icb demo` makes one",
        )
        show([total], "All", as_json=False)
        show(waiting, "Suspense", as_json=False, empty="nothing in suspense")
        show(refused, "Refused files (kept in quarantine)", as_json=False, empty="no refused file")
        show(gaps, "Continuity of file numbers", as_json=False, empty="no file yet")
        if stale:
            said = f"{stale:,} records came in since: materialise the marts"
            console.print(said, style="yellow")
        verdict = (f"{unbalanced} rows differ", "red") if unbalanced else ("difference 0", "green")
        console.print(Text.assemble("record balance by file and day: ", verdict))
    if unbalanced or stale:
        raise typer.Exit(1)


def _suspense(home: Installation) -> list[dict[str, object]]:
    """What waits, by reason and partner, with the money at risk where it can be told."""
    waiting = (
        home.lake.scan(SUSPENSE)
        .group_by("reason", "partner", "currency")
        .agg(
            pl.len().cast(pl.Int64).alias("legs"),
            pl.col("day").min().alias("oldest"),
            (pl.col("duration_ms").sum() // 60_000).alias("minutes"),
            decimal_of_e10(pl.col("at_risk_e10").sum()).alias("at risk"),
        )
        .sort("reason", "partner")
        .collect()
    )
    return [
        {**row, "at risk": round_amount(row["at risk"], 2, Rounding.HALF_UP)}
        if row["currency"]
        else {**row, "at risk": None}
        for row in waiting.iter_rows(named=True)
    ]


def _continuity(home: Installation):
    return sequence_report(home.registry, list(home.reference.sources.values()))
