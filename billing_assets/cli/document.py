"""`icb document`: list what was issued, correct it by notes, write its itemised records."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from billing_assets.cli.cycles import AsJson, IssueDate, as_date
from billing_assets.cli.output import console, show
from billing_assets.core.errors import BillingError
from billing_assets.core.money import parse_decimal
from billing_assets.core.periods import Period
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.invoicing.corrections import draft_credit_note, draft_debit_note
from billing_assets.invoicing.itemised import save_itemised, save_unmasked
from billing_assets.invoicing.pdf import render_statement_pdf
from billing_assets.invoicing.run import approve_and_issue, publish_drafts
from billing_assets.invoicing.statement import statements
from billing_assets.registry.cycles import Cycle

app = typer.Typer(
    help="Issued documents: list them, correct them by notes, write their records.",
    no_args_is_help=True,
)

DocumentName = Annotated[str, typer.Argument(help="number or id, such as 'FT 2026/000003'")]
Reason = Annotated[str, typer.Option(help="why; it stands on the note and in the audit log")]


@app.command("list")
def list_documents(
    month: Annotated[str, typer.Option(help="only cycles that end in this month, YYYY-MM")] = "",
    partner: Annotated[str, typer.Option("--partner", "-p", help="only this partner")] = "",
    as_json: AsJson = False,
) -> None:
    """Every issued document: number, kind, partner, dates and money."""
    registry = Installation.open().registry
    cycles = registry.cycles.list(month or None, partner or None, corrections=True)
    rows = [
        {
            "number": one.number_text,
            "kind": one.kind.value,
            "partner": one.partner,
            "cycle": one.cycle,
            "issued": one.issue_date,
            "due": one.due_date,
            "currency": one.currency,
            "net": one.net,
            "tax": one.tax,
            "gross": one.gross,
        }
        for cycle in cycles
        for one in registry.documents.of_cycle(cycle.id)
    ]
    show(rows, "Documents", as_json=as_json, empty="no document is issued yet")


@app.command("itemised")
def itemised(
    document: Annotated[str, typer.Argument(help="an issued document's number or id")],
    out: Annotated[Path, typer.Option(help="CSV file to write")],
    unmask: Annotated[
        bool, typer.Option("--unmask", help="numbers in full; is logged with the reason")
    ] = False,
    reason: Annotated[str, typer.Option(help="why the numbers are needed, such as a dispute")] = "",
) -> None:
    """Write a document's records as CSV: as issued, or with the numbers in full."""
    home = Installation.open()
    numbered = home.registry.documents.with_number(document)
    stored = numbered[0] if numbered else home.registry.documents.get(document)
    if not unmask:
        save_itemised(home, stored, out)
    elif not reason.strip():
        raise BillingError("unmasking needs a reason", hint="--reason 'dispute D-17'")
    else:
        save_unmasked(
            home, stored, out, reason=reason, now=datetime.now(UTC), who=home.settings.user
        )
    console.print(str(out), highlight=False)


@app.command("credit")
def credit(
    document: DocumentName,
    reason: Reason,
    line: Annotated[
        list[int] | None, typer.Option(help="only this line; may be repeated; default all")
    ] = None,
    amount: Annotated[
        str | None, typer.Option(help="only a part of the one line, such as 12.50")
    ] = None,
    issue_date: IssueDate = "",
) -> None:
    """Draft a credit note to an issued document; `icb document issue` takes a second person."""
    settings = Settings()
    home = Installation.open(settings)
    drafted = draft_credit_note(
        home,
        document,
        reason=reason,
        lines=line or (),
        amount=None if amount is None else _amount(amount),
        issue_date=as_date(issue_date) or _today(),
        now=datetime.now(UTC),
        who=settings.user,
    )
    _tell(home, drafted)


@app.command("debit")
def debit(
    document: DocumentName,
    reason: Reason,
    line: Annotated[int, typer.Option(help="the line that billed too little")],
    amount: Annotated[str, typer.Option(help="what is owed beyond it, such as 12.50")],
    issue_date: IssueDate = "",
) -> None:
    """Draft a debit note to a line; `icb document issue` takes a second person."""
    settings = Settings()
    home = Installation.open(settings)
    drafted = draft_debit_note(
        home,
        document,
        reason=reason,
        line=line,
        amount=_amount(amount),
        issue_date=as_date(issue_date) or _today(),
        now=datetime.now(UTC),
        who=settings.user,
    )
    _tell(home, drafted)


@app.command("issue")
def issue(
    correction: Annotated[str, typer.Argument(help="correction, such as P14/2026-03/C1")],
    approver: Annotated[str, typer.Option(help="who approves; not the one who drafted it")],
    issue_date: IssueDate = "",
) -> None:
    """Approve a drafted credit or debit note and issue it: number, hashes, for good."""
    settings = Settings()
    home = Installation.open(settings)
    if not home.registry.cycles.get(correction).is_correction:
        raise BillingError(f"{correction} is no correction", hint="see `icb cycle finalise`")
    issued = approve_and_issue(
        home,
        correction,
        approver=approver,
        issue_date=as_date(issue_date) or _today(),
        now=datetime.now(UTC),
        who=settings.user,
    )
    for one in issued:
        console.print(
            f"{one.number_text}  {one.kind.value}  {one.gross:,f} {one.currency}", highlight=False
        )


@app.command("statement")
def statement(
    partner: Annotated[str, typer.Argument(help="partner, such as P02")],
    first: Annotated[str, typer.Option("--from", help="first issue date, YYYY-MM-DD")],
    last: Annotated[str, typer.Option("--to", help="last issue date, YYYY-MM-DD")],
    out: Annotated[Path | None, typer.Option(help="folder; default ICB_HOME/statements")] = None,
) -> None:
    """Write a partner's statement of account as PDF and JSON, one a currency."""
    settings = Settings()
    home = Installation.open(settings)
    begin, end = as_date(first), as_date(last)
    if begin is None or end is None or end < begin:
        raise BillingError(f"{first} to {last} is no period", hint="the first day comes first")
    period = Period(begin, end + timedelta(days=1), home.reference.partner(partner).zone)
    folder = out or settings.root / "statements" / partner
    folder.mkdir(parents=True, exist_ok=True)
    for one in statements(home, partner, period, _today()):
        stem = f"statement-{partner}-{begin}--{end}-{one.currency}"
        contents = {"pdf": render_statement_pdf(one, home.templates), "json": one.canonical()}
        for extension, content in contents.items():
            path = folder / f"{stem}.{extension}"
            path.write_bytes(content)
            console.print(str(path), highlight=False)


def _tell(home: Installation, drafted: Cycle) -> None:
    for path in publish_drafts(home, drafted):
        console.print(str(path), highlight=False)
    console.print(
        f"{drafted.id} is drafted by {drafted.drafted_by}; look at it, then another person: "
        f"`icb document issue {drafted.id} --approver NAME`",
        highlight=False,
    )


def _today() -> date:
    return datetime.now(UTC).date()


def _amount(text: str) -> Decimal:
    try:
        return parse_decimal(text)
    except ValueError as error:
        raise BillingError(f"{text!r} is no amount such as 12.50") from error
