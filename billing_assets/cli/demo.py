"""`icb demo`: the demo carrier, from generated files to issued invoices, through Dagster runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from billing_assets.charging.cycles import ad_hoc_cycle, registered_cycle
from billing_assets.cli.demo_correction import correction
from billing_assets.cli.output import JSON_HELP, console, print_json, show
from billing_assets.cli.reference import approve_version, load_folder
from billing_assets.core.errors import BillingError
from billing_assets.core.money import Rounding, minor_units, round_amount
from billing_assets.core.settings import Settings
from billing_assets.demo.caught import caught
from billing_assets.demo.expected import ExpectedResult, expected_results
from billing_assets.demo.generate import generate
from billing_assets.demo.scenario import FigureKind, Model
from billing_assets.installation import Installation
from billing_assets.invoicing.document import Document
from billing_assets.invoicing.run import folder_of, open_cycle
from billing_assets.lake.tables import CHARGE
from billing_assets.orchestration.dbt_manifest import mart_tables
from billing_assets.registry.cycles import FINALISED
from billing_assets.registry.schema import CycleState

MONTH = "2026-03"
ISSUE_DATE = date(2026, 4, 5)
AD_HOC, AD_HOC_DAYS = "P14", (date(2026, 3, 1), date(2026, 3, 31))
RUNS_IT, APPROVES_IT = "demo.analyst", "demo.manager"
NEW_TRUNK = "P03", "OPO2/voxhansa", "OPO2/sbc-new-7"
"""Whose the unmapped trunk is, and beside which trunk it is mapped."""
WAIVED = "P15", "suspense", "satellite calls are billed when their rate is agreed"
"""What the manager lets pass, so that the rest of P15's month is billed."""

BUILT = frozenset(
    {
        Model.USAGE,
        Model.BANDS,
        Model.ORIGINS,
        Model.FEES,
        Model.RECURRING,
        Model.SMS,
        Model.DATA,
        Model.REVERSE,
        Model.LATE,
        Model.PARTIALS,
        Model.ONE_TIME,
        Model.CAPACITY,
        Model.TIER,
        Model.REBATE,
        Model.COMMITMENT,
        Model.PAY_OR_PLAY,
        Model.SWAP,
        Model.BILL_AND_KEEP,
        Model.SHARE,
        Model.TAX,
        Model.WITHHOLDING,
        Model.FX,
    }
)
"""Models that the product has; figures that need any other are shown as not yet billed."""


app = typer.Typer(
    help="The demo carrier: its month generated, billed and compared.", invoke_without_command=True
)
app.command()(correction)


@app.callback()
def demo(
    context: typer.Context,
    scale: Annotated[int, typer.Option(min=1, help="multiply the demo carrier's calls")] = 1,
    seed: Annotated[int, typer.Option(help="same seed, same bytes")] = 2026,
    defects: Annotated[bool, typer.Option(help="plant the seeded defects")] = True,
    drafts: Annotated[
        bool, typer.Option("--drafts", help="stop before anything is issued")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Generate the demo carrier's month, bill it, and compare with what must come out.

    Everything lands in the home (ICB_HOME). Run again, it takes in nothing twice, leaves final
    documents alone, and shows the same figures. Exit 1 when a figure differs.
    """
    if context.invoked_subcommand:
        return
    from billing_assets.orchestration.runs import Runs  # noqa: PLC0415 - seconds to import
    from billing_assets.orchestration.suspense import (  # noqa: PLC0415 - seconds to import
        Waiting,
        retry_suspense,
    )

    settings = Settings(user=RUNS_IT)
    started = time.monotonic()
    with (
        Progress(
            TextColumn("{task.description:<42}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=as_json,
        ) as progress,
        Runs.of(settings) as runs,
    ):
        home = runs.installation
        if _is_billed(home):
            console.print(f"{MONTH} is billed already in {settings.root}; taking in what is new")
        with _step(progress, "generate files") as task:
            manifest = generate(
                settings.root,
                scale=scale,
                seed=seed,
                defects=defects,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
        with _step(progress, "load and approve reference data"):
            _reference(home)
        with _step(progress, "take in files"):
            runs.take_in()
        days = runs.to_make()
        with _step(progress, f"rate {len(days)} days") as task:
            for first in range(0, len(days), 8):
                runs.rate(days[first : first + 8])
                progress.update(task, completed=min(first + 8, len(days)), total=len(days))
        if defects and _map_new_trunk(settings):
            with _step(progress, "map the new trunk, retry suspense"):
                _reference(home)
                retry_suspense(settings, Waiting(reason="UNKNOWN_TRUNK"))
        partners = sorted(home.reference.partners)
        open_cycle(
            home,
            ad_hoc_cycle(home.reference.partner(AD_HOC), *AD_HOC_DAYS),
            now=datetime.now(UTC),
            who=RUNS_IT,
        )
        with _step(progress, f"charge, validate, draft {len(partners)} partners"):
            _tolerate(progress, lambda: runs.draft(MONTH, partners, ISSUE_DATE))
            waived = _waive(home)
            if waived:
                _tolerate(progress, lambda: runs.draft(MONTH, waived, ISSUE_DATE))
        if drafts:
            progress.console.print(
                "drafts wait: `icb cycle list`, `icb demo correction`, `icb demo`"
            )
            return
        with _step(progress, "approve and issue"):
            drafted = [
                cycle
                for cycle in home.registry.cycles.list(month=MONTH)
                if cycle.state in ("draft", "approved")
            ]
            if drafted:
                issued = sorted({cycle.partner for cycle in drafted})
                runs.issue(MONTH, issued, ISSUE_DATE, APPROVES_IT, [c.id for c in drafted])
        with _step(progress, "deliver to the portal and the ledger"):
            final = [c for c in home.registry.cycles.list(month=MONTH) if c.state in FINALISED]
            receivers = sorted({cycle.partner for cycle in final})
            _tolerate(progress, lambda: runs.deliver(MONTH, receivers))
        with _step(progress, "build marts and controls"):
            runs.marts(sorted({day.isoformat()[:7] for day in days} | {MONTH}))
    rows = compare(home, at_scale=scale)
    anomalies = home.lake.scan(mart_tables()["anomalies"], part={"month": MONTH}).collect()
    seeds = caught(home, manifest, anomalies)
    if as_json:
        print_json({"figures": rows, "defects": seeds})
    else:
        _print(rows, home, time.monotonic() - started)
        show(seeds, "Seeded defects", as_json=False, empty="no defect was planted")
    if any(row["result"] == "DIFFERS" for row in rows) or any(
        seed["result"] == "MISSED" for seed in seeds
    ):
        raise typer.Exit(1)


def _reference(home: Installation) -> None:
    """Load the folder as the analyst, and approve what is new as the manager."""
    taken = load_folder(home, who=RUNS_IT)
    if home.registry.versions.reference_loads()[-1].approved_by is None:
        approve_version(home, taken.number, who=APPROVES_IT)


def _map_new_trunk(settings: Settings) -> bool:
    """Map the trunk that carried calls before anybody knew it: what a person does in its file."""
    file = settings.reference / "partners" / f"{NEW_TRUNK[0]}.yaml"
    text = file.read_text()
    known, new = (f"{{trunk: {trunk}, direction: in}}" for trunk in NEW_TRUNK[1:])
    if new in text:
        return False
    file.write_text(text.replace(known, f"{known}, {new}"))
    return True


def _waive(home: Installation) -> list[str]:
    """Let P15 pass though calls without a rate wait, in the manager's name; partners to run."""
    cycles = home.registry.cycles
    blocked = [
        one
        for one in cycles.list(month=MONTH, partner=WAIVED[0])
        if one.state is CycleState.BLOCKED and any(f.rule == WAIVED[1] for f in one.findings)
    ]
    for one in blocked:
        cycles.waive(one.id, *WAIVED[1:], now=datetime.now(UTC), who=APPROVES_IT)
    return sorted({one.partner for one in blocked})


def compare(home: Installation, *, at_scale: int = 1) -> list[dict[str, object]]:
    """Expected against billed, a row a figure; figures of models not built are 'not yet'.

    The figures hold at scale 1; scaled traffic is shown without a verdict.
    """
    charges = home.lake.scan(CHARGE, part={"month": MONTH}).collect()
    states: dict[str, list[str]] = {}
    for cycle in home.registry.cycles.list(month=MONTH):
        states.setdefault(cycle.partner, []).append(cycle.state.value)
    return [
        _row(
            one,
            _billed(home, one, charges),
            ", ".join(dict.fromkeys(states.get(one.partner, []))),
            at_scale,
        )
        for one in expected_results()
    ]


def _billed(home: Installation, one: ExpectedResult, charges: pl.DataFrame) -> Decimal | None:
    """What the charges of a figure came to, or what stands on the documents that bill them."""
    if one.kind in ("net", "margin"):
        billed = one.billed(charges)
    else:
        found = [
            _on_document(document, one.kind)
            for cycle in home.registry.cycles.list(month=MONTH, partner=one.partner)
            if not one.match.cycles or cycle.id in one.match.cycles
            for document in _documents(folder_of(home, registered_cycle(cycle)))
            if {key.partition("@")[0] for key in document.references.agreements}
            & set(one.match.agreements)
        ]
        billed = sum(found, Decimal(0)) if found else None
    if billed is None:
        return None
    return round_amount(billed, minor_units(one.currency), Rounding.HALF_UP)


def _documents(folder: Path) -> list[Document]:
    """The documents of a cycle as they stand in its folder, internal statements included."""
    return [
        Document.model_validate_json(path.read_bytes())
        for path in sorted(folder.glob("*.json"))
        if not path.name.endswith((".bill.json", ".journal.json"))
    ]


def _on_document(document: Document, kind: FigureKind) -> Decimal:
    """A figure of a document; what is paid is positive when it is paid to us."""
    if kind == "vat":
        return document.totals.tax + sum(row.tax for row in document.self_assessed)
    if kind == "gross":
        return document.totals.gross
    if kind == "home":
        return document.home_tax.gross if document.home_tax else document.totals.gross
    return document.payable if document.ours else -document.payable


def _row(
    one: ExpectedResult, billed: Decimal | None, state: str, at_scale: int
) -> dict[str, object]:
    missing = sorted(need.value for need in one.needs if need not in BUILT)
    row: dict[str, object] = {
        "partner": one.partner,
        "figure": one.label,
        "currency": one.currency,
        "expected": one.amount,
        "billed": billed,
        "difference": None if billed is None else billed - one.amount,
        "cycle": state,
    }
    if missing or billed is None:
        return row | {
            "billed": None,
            "difference": None,
            "result": f"not yet: {', '.join(missing) or one.kind}",
        }
    if at_scale != 1:
        return row | {"result": f"scaled x{at_scale}"}
    return row | {"result": "equal" if billed == one.amount else "DIFFERS"}


def _print(rows: list[dict[str, object]], home: Installation, seconds: float) -> None:
    table = Table(title=f"Expected against billed, {MONTH}", title_justify="left")
    for name in rows[0]:
        right = name in ("expected", "billed", "difference")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    colours = {"equal": "green", "DIFFERS": "bold red"}
    previous = None
    for row in rows:
        if previous not in (None, row["partner"]):
            table.add_section()
        previous = row["partner"]
        cells = [
            ""
            if value is None
            else f"{value:,f}"
            if name in ("expected", "billed", "difference")
            else str(value)
            for name, value in row.items()
        ]
        table.add_row(*cells, style=colours.get(str(row["result"]), "dim"))
    console.print(table)
    counts = {name: sum(row["result"] == name for row in rows) for name in ("equal", "DIFFERS")}
    later = len(rows) - sum(counts.values())
    console.print(
        f"{counts['equal']} figures equal, {counts['DIFFERS']} differ, {later} not yet, "
        f"in {seconds:.0f} s"
    )
    console.print(f"documents: {home.settings.documents / MONTH}", highlight=False)
    console.print("next: `icb status`, `icb cycle list`, `make ui`")


@contextmanager
def _step(progress: Progress, name: str) -> Iterator[TaskID]:
    task = progress.add_task(name, total=1)
    yield task
    total = progress.tasks[task].total
    progress.update(task, completed=total)


def _tolerate(progress: Progress, step: Callable[[], None]) -> None:
    """A partner that fails is told and does not stop the others."""
    try:
        step()
    except BillingError as error:
        progress.console.print(error.message, style="yellow")


def _is_billed(home: Installation) -> bool:
    cycles = home.registry.cycles.list(month=MONTH)
    return bool(cycles) and any(cycle.state in FINALISED for cycle in cycles)
