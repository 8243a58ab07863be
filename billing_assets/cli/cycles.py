"""`icb cycle`: list, show, open, hold, run and finalise billing cycles; their calendar."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer
from rich.text import Text

from billing_assets.charging.cycles import (
    ad_hoc_cycle,
    calendar,
    is_closed,
    registered_cycle,
)
from billing_assets.cli.output import JSON_HELP, console, print_json, show
from billing_assets.core.errors import BillingError
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.invoicing.adjusting import open_adjustment
from billing_assets.invoicing.run import cycle_named, due_cycles, open_cycle, report
from billing_assets.invoicing.trial import trial_of
from billing_assets.registry.cycles import standing
from billing_assets.registry.schema import CycleState

app = typer.Typer(help="Billing cycles: their state, exceptions and money.", no_args_is_help=True)

What = Annotated[
    str, typer.Argument(help="month in which the cycles end, YYYY-MM; or one cycle, P03/2026-W11")
]
CycleId = Annotated[str, typer.Argument(help="cycle, such as P14/2026-03 or P03/2026-W11")]
Partners = Annotated[
    list[str] | None, typer.Option("--partner", "-p", help="only this partner; may be repeated")
]
AsJson = Annotated[bool, typer.Option("--json", help=JSON_HELP)]
IssueDate = Annotated[str, typer.Option(help="date on the documents, YYYY-MM-DD; default today")]


_STEPS = {
    CycleState.OPEN: 0,
    CycleState.RATED: 1,
    CycleState.BLOCKED: 1,
    CycleState.VALIDATED: 2,
    CycleState.DRAFT: 3,
    CycleState.APPROVED: 4,
    CycleState.FINAL: 5,
    CycleState.DELIVERED: 6,
    CycleState.SETTLED: 7,
}
"""How many steps a cycle has behind it."""


@app.command("list")
def list_cycles(
    month: Annotated[str, typer.Option(help="only this month, YYYY-MM")] = "",
    as_json: AsJson = False,
) -> None:
    """Every cycle with its state, how far it is, who brought it there, exceptions and money."""
    home = Installation.open()
    rows = []
    chosen = _month(month) if month else None
    for cycle in home.registry.cycles.list(month=chosen, corrections=True):
        money = [f"{name} {value}" for name, value in cycle.totals.items() if " " in name]
        findings = (*cycle.findings, *home.registry.deliveries.findings(cycle.id))
        waived = {one.rule for one in home.registry.cycles.waivers(cycle.id)}
        rows.append(
            {
                "cycle": cycle.id,
                "period": str(cycle.period),
                "state": cycle.state.value + (" (held)" if cycle.held else ""),
                "progress": f"{_STEPS[cycle.state]}/{_STEPS[CycleState.SETTLED]}",
                "by": cycle.updated_by,
                "runs": cycle.runs,
                "exceptions": len(findings),
                "blocking": len(standing(findings, waived)),
                "net": ", ".join(money),
            }
        )
    show(rows, "Cycles", as_json=as_json, empty="no cycle yet: `icb cycle run YYYY-MM`")


@app.command("show")
def show_cycle(
    cycle: CycleId,
    as_json: AsJson = False,
) -> None:
    """One cycle: exceptions, documents, totals, files, and what its last trial run changed."""
    home = Installation.open()
    known = home.registry.cycles.get(cycle)
    partner = home.reference.partner(known.partner)
    run = report(home, registered_cycle(known))
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
    waivers = {one.rule: one for one in home.registry.cycles.waivers(cycle)}
    findings = [
        {
            "rule": one.rule,
            "severity": one.severity or ("blocking" if one.blocks else "warning"),
            "finding": one.message,
            "owner": one.owner,
            "waived": f"{waivers[one.rule].who}: {waivers[one.rule].reason}"
            if one.rule in waivers
            else "",
            "evidence": one.query,
        }
        for one in (*known.findings, *home.registry.deliveries.findings(cycle))
    ]
    files = [str(path) for path in run.files]
    trial = trial_of(home, cycle)
    changes = [{**vars(one), "difference": one.difference} for one in trial.changes]
    if as_json:
        print_json(
            {
                "cycle": cycle,
                "state": known.state,
                "period": str(known.period),
                "totals": dict(run.totals),
                "findings": findings,
                "waivers": [vars(one) for one in waivers.values()],
                "documents": documents,
                "run": trial.run,
                "compared with run": trial.against,
                "changes": changes,
                "files": files,
            }
        )
        return
    standing_at = f"  {partner.name}  {known.period}  state {known.state.value}"
    console.print(Text.assemble((cycle, "bold"), standing_at))
    for name, amount in run.totals.items():
        console.print(f"  net {name} {amount:,f} in {run.lines} charges")
    show(findings, "Exceptions", as_json=False, empty="  no exceptions")
    show(documents, "Documents", as_json=False, empty="  no issued document")
    if trial.against is not None:
        title = f"Run {trial.run} against run {trial.against}"
        show(changes, title, as_json=False, empty=f"  {title}: nothing changed")
    for path in files:
        console.print(f"  {path}", highlight=False)


@app.command("calendar")
def show_calendar(
    first: Annotated[
        str, typer.Option("--from", help="first closing day; default a week ago")
    ] = "",
    last: Annotated[str, typer.Option("--to", help="last closing day; default in five weeks")] = "",
    partner: Partners = None,
    as_json: AsJson = False,
) -> None:
    """What closes when: every cycle of the partners' calendars, and ad hoc ones, by last day."""
    home = Installation.open()
    now = datetime.now(UTC)
    begin = as_date(first) or now.date() - timedelta(days=7)
    end = as_date(last) or now.date() + timedelta(days=35)
    partners = [home.reference.partner(name) for name in partner or home.reference.partners]
    known = {cycle.id: cycle for cycle in home.registry.cycles.list()}
    cycles = {cycle.cycle: cycle for one in partners for cycle in calendar(one, begin, end)}
    names = {one.partner for one in partners}
    for one in map(registered_cycle, known.values()):
        if one.partner in names and begin <= one.period.last_day <= end:
            cycles[one.cycle] = one
    rows = [
        {
            "cycle": cycle.cycle,
            "cadence": cycle.cadence,
            "first day": cycle.period.start,
            "last day": cycle.period.last_day,
            "zone": cycle.period.zone,
            "closes (UTC)": cycle.period.end_utc,
            "state": known[cycle.cycle].state.value
            if cycle.cycle in known
            else ("due" if is_closed(cycle, now) else "running"),
        }
        for cycle in sorted(cycles.values(), key=lambda c: (c.period.end_utc, c.cycle))
    ]
    show(rows, "Calendar", as_json=as_json, empty=f"nothing closes from {begin} to {end}")


@app.command("open")
def open_ad_hoc(
    partner: Annotated[str, typer.Argument(help="partner, such as P14")],
    first: Annotated[str, typer.Argument(help="first day, YYYY-MM-DD, in the partner's zone")],
    last: Annotated[str, typer.Argument(help="last day, YYYY-MM-DD")],
) -> None:
    """Open an ad hoc cycle of any days of one partner; `icb cycle run` then bills it."""
    settings = Settings()
    home = Installation.open(settings)
    begin, end = as_date(first), as_date(last)
    if begin is None or end is None or end < begin:
        raise BillingError(f"{first} to {last} is no period", hint="the first day comes first")
    opened = open_cycle(
        home,
        ad_hoc_cycle(home.reference.partner(partner), begin, end),
        now=datetime.now(UTC),
        who=settings.user,
    )
    console.print(f"{opened.id}  {opened.period}  {opened.state.value}", highlight=False)


@app.command("hold")
def hold(
    cycle: CycleId, reason: Annotated[str, typer.Option(help="why; the audit log keeps it")]
) -> None:
    """Keep a cycle from being approved and issued; it can still be run."""
    settings = Settings()
    if not reason.strip():
        raise BillingError("a hold needs a reason")
    registry = Installation.open(settings).registry
    held = registry.cycles.hold(cycle, reason, now=datetime.now(UTC), who=settings.user)
    console.print(f"{held.id} is on hold: {held.held_reason}", highlight=False)


@app.command("adjust")
def adjust(cycle: CycleId) -> None:
    """Open the adjustment of a final cycle: what its days have gained or lost since it was billed.

    Run and finalised like any cycle, it gives a credit note or a debit note to the cycle's
    document. Without one the partner's next cycle bills the difference.
    """
    settings = Settings()
    opened = open_adjustment(
        Installation.open(settings), cycle, now=datetime.now(UTC), who=settings.user
    )
    console.print(f"{opened.id} is open; next: `icb cycle run {opened.id}`", highlight=False)


@app.command("waive")
def waive(
    cycle: CycleId,
    rule: Annotated[str, typer.Argument(help="the rule that blocks, as `icb cycle show` names it")],
    reason: Annotated[str, typer.Option(help="why it may pass; kept with the cycle")],
    who: Annotated[str, typer.Option(help="who answers for it; default ICB_USER")] = "",
) -> None:
    """Let a blocked cycle pass one rule; the audit log keeps who and why. Then run it again."""
    settings = Settings()
    if not reason.strip():
        raise BillingError("a waiver needs a reason")
    cycles = Installation.open(settings).registry.cycles
    name = who.strip() or settings.user
    current = cycles.waive(cycle, rule, reason, now=datetime.now(UTC), who=name)
    console.print(f"{rule} of {cycle} is waived by {name}", highlight=False)
    left = standing(current.findings, {one.rule for one in cycles.waivers(cycle)})
    rules = ", ".join(sorted({one.rule for one in left}))
    console.print(f"still blocked by {rules}" if rules else f"next: `icb cycle run {cycle}`")


@app.command("release")
def release(cycle: CycleId) -> None:
    """End a cycle's hold."""
    settings = Settings()
    registry = Installation.open(settings).registry
    released = registry.cycles.release(cycle, now=datetime.now(UTC), who=settings.user)
    console.print(f"{released.id} is {released.state.value} and not on hold", highlight=False)


@app.command("run")
def run_cycles(what: What, partner: Partners = None, issue_date: IssueDate = "") -> None:
    """Charge, validate and draft the cycles of a month that are over, through one Dagster run."""
    from billing_assets.orchestration.runs import Runs  # noqa: PLC0415 - seconds to import

    with Runs.of(Settings()) as runs:
        home = runs.installation
        if "/" in what:
            cycle = cycle_named(home, what)
            month, partners, cycles = cycle.month, [cycle.partner], [cycle.cycle]
        else:
            month, partners, cycles = _month(what), partner or sorted(home.reference.partners), []
        now = datetime.now(UTC)
        due = [
            one
            for name in partners
            for one in due_cycles(home, home.reference.partner(name), month, now)
            if not cycles or one.cycle in cycles
        ]
        if not due:
            raise BillingError(
                f"no cycle of {what} is over",
                hint="`icb cycle calendar` shows what closes when; `icb cycle open` makes an ad "
                "hoc one",
            )
        with console.status(f"drafting {len(due)} cycles of {month}"):
            runs.draft(month, sorted({one.partner for one in due}), as_date(issue_date), cycles)
    list_cycles(month=month)


@app.command("finalise")
def finalise(
    what: What,
    approver: Annotated[str, typer.Option(help="who approves; not the one who ran the drafts")],
    partner: Partners = None,
    issue_date: IssueDate = "",
) -> None:
    """Approve drafted cycles and issue their documents: numbers, hashes, pins, for good."""
    from billing_assets.orchestration.runs import Runs  # noqa: PLC0415 - seconds to import

    with Runs.of(Settings()) as runs:
        cycles = runs.installation.registry.cycles
        one = cycles.get(what) if "/" in what else None
        month = one.month if one else _month(what)
        drafted = [
            cycle
            for cycle in ([one] if one else cycles.list(month=month))
            if cycle.state in ("draft", "approved")
            and not cycle.held
            and (partner is None or cycle.partner in partner)
        ]
        if not drafted:
            raise BillingError(
                f"no cycle of {what} is drafted and free", hint=f"`icb cycle run {what}`"
            )
        with console.status(f"issuing {len(drafted)} cycles of {month}"):
            runs.issue(
                month,
                sorted({cycle.partner for cycle in drafted}),
                as_date(issue_date),
                approver,
                [cycle.id for cycle in drafted],
            )
    list_cycles(month=month)


def _month(value: str) -> str:
    try:
        return datetime.strptime(value, "%Y-%m").replace(tzinfo=UTC).strftime("%Y-%m")
    except ValueError as error:
        raise BillingError(f"{value!r} is not a month such as 2026-03") from error


def as_date(value: str) -> date | None:
    """A day written YYYY-MM-DD, None for no text; raises `BillingError` for anything else."""
    try:
        return date.fromisoformat(value) if value else None
    except ValueError as error:
        raise BillingError(f"{value!r} is not a date such as 2026-04-05") from error
