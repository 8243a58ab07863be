"""`icb cycle`: list, show, run and finalise billing cycles."""

from datetime import UTC, date, datetime
from typing import Annotated

import typer

from billing_assets.charging.cycles import monthly_cycle
from billing_assets.cli.output import JSON_HELP, console, print_json, show
from billing_assets.core.errors import BillingError
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.invoicing.run import report

app = typer.Typer(help="Billing cycles: their state, exceptions and money.", no_args_is_help=True)

Month = Annotated[str, typer.Argument(help="month in which the cycles end, YYYY-MM")]
Partners = Annotated[
    list[str] | None, typer.Option("--partner", "-p", help="only this partner; may be repeated")
]
AsJson = Annotated[bool, typer.Option("--json", help=JSON_HELP)]
IssueDate = Annotated[str, typer.Option(help="date on the documents, YYYY-MM-DD; default today")]


@app.command("list")
def list_cycles(
    month: Annotated[str, typer.Option(help="only this month, YYYY-MM")] = "",
    as_json: AsJson = False,
) -> None:
    """Every cycle with its state, runs, exceptions and net money."""
    home = Installation.open()
    rows = []
    for cycle in home.registry.cycles.list(month=month or None):
        money = [f"{name} {value}" for name, value in cycle.totals.items() if " " in name]
        rows.append(
            {
                "cycle": cycle.id,
                "period": str(cycle.period),
                "state": cycle.state.value + (" (held)" if cycle.held else ""),
                "runs": cycle.runs,
                "exceptions": len(cycle.findings),
                "blocking": sum(finding.blocks for finding in cycle.findings),
                "net": ", ".join(money),
            }
        )
    show(rows, "Cycles", as_json=as_json, empty="no cycle yet: `icb cycle run YYYY-MM`")


@app.command("show")
def show_cycle(
    cycle: Annotated[str, typer.Argument(help="cycle, such as P14/2026-03")],
    as_json: AsJson = False,
) -> None:
    """One cycle: its exceptions, documents, totals and where its files lie."""
    home = Installation.open()
    known = home.registry.cycles.get(cycle)
    partner = home.reference.partner(known.partner)
    run = report(home, monthly_cycle(partner, known.month))
    documents = [
        {
            "number": d.number_text,
            "net": d.net,
            "tax": d.tax,
            "gross": d.gross,
            "currency": d.currency,
            "due": d.due_date,
        }
        for d in home.registry.documents.of_cycle(cycle)
    ]
    findings = [vars(finding) for finding in known.findings]
    files = [str(path) for path in run.files]
    if as_json:
        print_json(
            {
                "cycle": cycle,
                "state": known.state,
                "period": str(known.period),
                "totals": dict(run.totals),
                "findings": findings,
                "documents": documents,
                "files": files,
            }
        )
        return
    console.print(f"[bold]{cycle}[/]  {partner.name}  {known.period}  state {known.state.value}")
    for name, amount in run.totals.items():
        console.print(f"  net {name} {amount:,f} in {run.lines} charges")
    show(findings, "Exceptions", as_json=False, empty="  no exceptions")
    show(documents, "Documents", as_json=False, empty="  no issued document")
    for path in files:
        console.print(f"  {path}", highlight=False)


@app.command("run")
def run_month(month: Month, partner: Partners = None, issue_date: IssueDate = "") -> None:
    """Charge, validate and draft the cycles of a month, through one Dagster run."""
    from billing_assets.orchestration.runs import Runs  # noqa: PLC0415 - seconds to import

    with Runs.of(Settings()) as runs:
        partners = partner or sorted(runs.installation.reference.partners)
        for name in partners:
            runs.installation.reference.partner(name)
        with console.status(f"drafting {len(partners)} cycles of {month}"):
            runs.draft(_month(month), partners, _date(issue_date))
    list_cycles(month=month)


@app.command("finalise")
def finalise(
    month: Month,
    approver: Annotated[str, typer.Option(help="who approves; not the one who ran the drafts")],
    partner: Partners = None,
    issue_date: IssueDate = "",
) -> None:
    """Approve drafted cycles and issue their documents: numbers, hashes, pins, for good."""
    from billing_assets.orchestration.runs import Runs  # noqa: PLC0415 - seconds to import

    with Runs.of(Settings()) as runs:
        partners = partner or _drafted(runs.installation, month)
        if not partners:
            raise BillingError(f"no cycle of {month} is drafted", hint=f"`icb cycle run {month}`")
        with console.status(f"issuing {len(partners)} cycles of {month}"):
            runs.issue(_month(month), partners, _date(issue_date), approver)
    list_cycles(month=month)


def _drafted(home: Installation, month: str) -> list[str]:
    return [
        cycle.partner
        for cycle in home.registry.cycles.list(month=month)
        if cycle.state in ("draft", "approved")
    ]


def _month(value: str) -> str:
    try:
        return datetime.strptime(value, "%Y-%m").replace(tzinfo=UTC).strftime("%Y-%m")
    except ValueError as error:
        raise BillingError(f"{value!r} is not a month such as 2026-03") from error


def _date(value: str) -> date | None:
    try:
        return date.fromisoformat(value) if value else None
    except ValueError as error:
        raise BillingError(f"{value!r} is not a date such as 2026-04-05") from error
