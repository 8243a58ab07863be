"""`icb rerate`: price part of what was rated once more, and let open cycles follow."""

import csv
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from billing_assets.charging.cycles import registered_cycle
from billing_assets.cli.output import (
    JSON_HELP,
    check_writable,
    console,
    print_json,
    show,
    warn,
)
from billing_assets.cli.reference_changes import FROM, TO, compared
from billing_assets.core.errors import BillingError, StateError
from billing_assets.core.money import from_e10
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.invoicing.adjusting import open_adjustment
from billing_assets.lake.tables import RATED_LEG, XDR
from billing_assets.rating.history import price_history
from billing_assets.rating.impact import impact_of
from billing_assets.rating.requests import (
    CHANGE_COLUMNS,
    check_scope,
    dry_run,
    fields_of,
    taking_back,
)
from billing_assets.rating.scope import RatingScope
from billing_assets.reference.models import Leg, Service
from billing_assets.registry.cycles import ADJUSTMENT, FINALISED
from billing_assets.registry.rerates import Day, Request

app = typer.Typer(
    help="Price part of what was rated once more; open cycles follow.",
    invoke_without_command=True,
)


Json = Annotated[bool, typer.Option("--json", help=JSON_HELP)]
Number = Annotated[int, typer.Argument(help="a request's number, as `icb rerate list` shows it")]


@app.callback()
def rerate(
    context: typer.Context,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="first UTC day")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="last UTC day")
    ] = None,
    partner: Annotated[list[str] | None, typer.Option(help="repeatable; default all")] = None,
    direction: Annotated[list[Leg] | None, typer.Option(help="customer or supplier leg")] = None,
    service: Annotated[list[Service] | None, typer.Option(help="repeatable")] = None,
    destination: Annotated[list[str] | None, typer.Option(help="by name, repeatable")] = None,
    code: Annotated[list[str] | None, typer.Option(help="digits that codes begin with")] = None,
    agreement: Annotated[list[str] | None, typer.Option(help="agreement id, repeatable")] = None,
    reason: Annotated[str, typer.Option(help="why prices change; kept with the request")] = "",
    only_show: Annotated[
        bool, typer.Option("--dry-run", help="show what would change and write nothing")
    ] = False,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="write the changes to a CSV file too")
    ] = None,
    as_json: Json = False,
) -> None:
    """Rate a scope again by the reference data in force, and show money before and after.

    Rows outside the scope stay as they are. Drafted cycles of the partners concerned are run
    again; what final documents billed differently is billed by their next open cycle.
    """
    if context.invoked_subcommand:
        return
    if first is None or last is None:
        raise BillingError("a re-rating needs its days", hint="give --from and --to, UTC")
    home = Installation.open()
    scope = RatingScope(
        first.date(),
        last.date(),
        tuple(partner or ()),
        tuple(direction or ()),
        tuple(service or ()),
        tuple(destination or ()),
        tuple(code or ()),
        tuple(agreement or ()),
    )
    check_scope(scope, home.reference, home.lake, _now().date())
    if csv_file:
        check_writable(csv_file)
    with console.status("comparing prices"):
        tried = dry_run(scope, home.lake, home.reference, buckets=home.settings.buckets)
    if only_show:
        show_changes(tried, f"Would change: {scope.describe()}", csv_file=csv_file, as_json=as_json)
        return
    made = home.registry.rerates.make(fields_of(scope), reason, now=_now(), who=home.settings.user)
    rows = carry_out(made)
    show_changes(
        rows,
        f"Re-rate request {made.number}: {scope.describe()}",
        csv_file=csv_file,
        as_json=as_json,
    )


@app.command("list")
def list_requests(as_json: Json = False) -> None:
    """All re-rate requests, the newest first."""
    requests = Installation.open().registry.rerates.list()
    show([_row(one) for one in requests], "Re-rate requests", as_json=as_json)


@app.command("show")
def show_request(number: Number, as_json: Json = False) -> None:
    """A request, and what its runs did to each day."""
    registry = Installation.open().registry
    request, days = registry.rerates.get(number), registry.rerates.days(number)
    if as_json:
        print_json({**_row(request), "days": [vars(day) for day in days]})
        return
    show([_row(request)], f"Re-rate request {number}", as_json=False)
    changes = [{"run": day.run, **row} for day in days for row in _rows(day)]
    show(changes, "Changes", as_json=False, empty="nothing changed")


def history(
    record: Annotated[int, typer.Argument(help="a record id")], as_json: Json = False
) -> None:
    """Every price that a record had, with the re-rating that gave it and why."""
    home = Installation.open()
    rows = []
    for price in price_history(record, home.lake, home.registry):
        leg = price.leg or {}
        rate, amount = (leg.get(name) for name in ("rate_e10", "amount_e10"))
        rows.append(
            {
                "leg": price.side,
                "since": price.since,
                "request": price.request,
                "reason": price.reason or "first rating",
                "agreement": leg.get("agreement"),
                "destination": leg.get("destination"),
                "billed": leg.get("billed_units"),
                "rate": None if rate is None else from_e10(int(str(rate))).normalize(),
                "amount": None if amount is None else from_e10(int(str(amount))).normalize(),
                "currency": leg.get("currency"),
                "plan": str(leg.get("plan", ""))[:12],
            }
        )
    show(rows, f"Prices of record {record}", as_json=as_json, empty="it was never priced")


@app.command()
def propose(
    from_version: Annotated[str, FROM] = "",
    to_version: Annotated[str, TO] = "",
    reason: Annotated[str, typer.Option(help="why; default: the versions and the money")] = "",
) -> None:
    """Propose to rate again what a change of reference data affects; another person approves.

    By default the change is from the version that was in force before to the one in force now.
    """
    home = Installation.open()
    before, after = compared(home, from_version, to_version)
    if after.version != home.reference.version:
        raise BillingError(
            "usage is rated again by the version in force, and this one is not",
            hint="see what it would do by `icb reference impact`, and approve it first",
        )
    with console.status("pricing what the change can touch"):
        impact = impact_of(home.lake, before, after)
    days = impact.changed_days
    if not days:
        console.print("no rated usage changes: nothing is proposed")
        return
    scope = RatingScope(
        days[0],
        days[-1],
        partners=tuple(name for name in impact.partners if name),
        destinations=tuple(sorted(set(impact.usage["destination"]) - {""})),
    )
    money = ", ".join(f"{amount:+,f} {name}" for name, amount in impact.total().items())
    made = home.registry.rerates.make(
        fields_of(scope),
        reason
        or f"reference {before.version[:12]} to {after.version[:12]}: "
        f"{impact.records:,} legs, {money}",
        proposed=True,
        now=_now(),
        who=home.settings.user,
    )
    console.print(f"re-rate request {made.number} is proposed: {scope.describe()}")
    console.print(f"another person approves and runs it: `icb rerate approve {made.number}`")


@app.command()
def approve(
    number: Number,
    refuse: Annotated[bool, typer.Option("--refuse", help="refuse it instead")] = False,
) -> None:
    """Decide on a proposed request, as another person than the one who made it, and run it."""
    home = Installation.open()
    decided = home.registry.rerates.decide(
        number, approve=not refuse, now=_now(), who=home.settings.user
    )
    if refuse:
        console.print(f"re-rate request {number} is refused")
        return
    show_changes(carry_out(decided), f"Re-rate request {number}")


@app.command()
def resume(number: Number) -> None:
    """Carry on with a request whose run died: its days, then the cycles that follow it.

    Days that are done change no more, so it may be run on any request that was begun.
    """
    request = Installation.open().registry.rerates.get(number)
    show_changes(carry_out(request), f"Re-rate request {number}")


@app.command()
def rollback(
    number: Number,
    reason: Annotated[str, typer.Option(help="why it is taken back; kept with the request")] = "",
) -> None:
    """Take a request back: its legs get the prices that they had before it.

    What a later request priced since stays: take that one back first. Drafted cycles follow.
    """
    home = Installation.open()
    taken = home.registry.rerates.get(number)
    scope = taking_back(number, home.registry)
    made = home.registry.rerates.make(
        scope, reason or f"taken back: {taken.reason}", now=_now(), who=home.settings.user
    )
    rows = carry_out(made)
    show_changes(rows, f"Re-rate request {made.number} takes {number} back")


def carry_out(request: Request, *, records: bool = False) -> list[dict[str, object]]:
    """Run a request in Dagster, then the open cycles that it touches; its changes as rows.

    With `records` the records of its days are made anew first.
    """
    from billing_assets.orchestration.runs import Runs  # noqa: PLC0415 - seconds to import

    with Runs.of(Settings()) as runs:
        home = runs.installation
        scope_days = [
            day
            for day in sorted({*home.lake.days(XDR), *home.lake.days(RATED_LEG)})
            if str(request.scope["first"]) <= day.isoformat() <= str(request.scope["last"])
        ]
        with console.status(f"rating {len(scope_days)} days again"):
            runs.rerate(request.number, scope_days, records=records)
        rows = [row for day in home.registry.rerates.days(request.number) for row in _rows(day)]
        _open_adjustments(home, rows)
        for partner, month, cycles in _open_cycles(home, rows):
            with console.status(f"running {', '.join(cycles)} again"):
                runs.draft(month, [partner], None, cycles)
        if records:
            with console.status("balancing the records"):
                runs.marts(sorted({day.isoformat()[:7] for day in scope_days}))
        return rows


def _open_adjustments(home: Installation, changes: Sequence[dict[str, object]]) -> None:
    """Open adjustments of the final cycles of changed days, where the partner has them at once.

    Where terms count whole periods the partner's next cycle adjusts instead.
    """
    for partner, days in _changed_days(home, changes).items():
        terms = home.reference.partners.get(partner)
        if terms is None or terms.adjustments != "at_once":
            continue
        for known in home.registry.cycles.list(partner=partner):
            mine = known.state in FINALISED and known.cadence != ADJUSTMENT
            if not mine or not any(known.period.start <= day < known.period.end for day in days):
                continue
            try:
                open_adjustment(home, known.id, now=_now(), who=home.settings.user)
            except StateError as error:
                warn(error.message)


def _changed_days(home: Installation, changes: Sequence[dict[str, object]]) -> dict[str, set[date]]:
    """The local days of changes, by partner; those of a share are its other parties' too."""
    found: dict[str, set[date]] = {}
    for change in changes:
        if change["partner"] and change["local_day"]:
            day = date.fromisoformat(str(change["local_day"]))
            found.setdefault(str(change["partner"]), set()).add(day)
    for partner, days in list(found.items()):
        for other in home.reference.with_parts_of(partner):
            found.setdefault(other, set()).update(days)
    return found


def _open_cycles(
    home: Installation, changes: Sequence[dict[str, object]]
) -> list[tuple[str, str, list[str]]]:
    """Drafted or blocked cycles that hold a changed day, or bill what came late to one; and
    adjustments that were just opened."""
    found: dict[tuple[str, str], list[str]] = {}
    for partner, days in sorted(_changed_days(home, changes).items()):
        for known in home.registry.cycles.list(partner=partner):
            cycle = registered_cycle(known)
            waits = known.runs or known.cadence == ADJUSTMENT
            if known.state in FINALISED or not waits or known.held:
                continue
            if any(day < cycle.period.end for day in days):
                found.setdefault((partner, known.month), []).append(known.id)
    return [(partner, month, cycles) for (partner, month), cycles in found.items()]


def _rows(day: Day) -> list[dict[str, object]]:
    """The changes of a recorded day in the order and types in which they were found."""
    money = ("minutes", "before", "after", "difference")
    return [
        {name: change[name] for name in CHANGE_COLUMNS if name not in money}
        | {name: Decimal(str(change[name])) for name in money}
        for change in day.changes
    ]


def show_changes(
    rows: list[dict[str, object]],
    title: str,
    *,
    csv_file: Path | None = None,
    as_json: bool = False,
) -> None:
    """Print the changes of a request with their sums by currency, and write them as CSV."""
    if csv_file:
        with csv_file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list[str](CHANGE_COLUMNS))
            writer.writeheader()
            writer.writerows(rows)
    show(rows, title, as_json=as_json, empty=f"{title}: no price changes")
    if rows and not as_json:
        totals: dict[str, Decimal] = {}
        for row in rows:
            currency = str(row["currency"] or "")
            totals[currency] = totals.get(currency, Decimal(0)) + Decimal(str(row["difference"]))
        summed = ", ".join(f"{amount:+,f} {currency}" for currency, amount in totals.items())
        console.print(f"in all {summed}")
    sys.stdout.flush()


def _row(request: Request) -> dict[str, object]:
    words = ", ".join(
        f"{name} {'/'.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in request.scope.items()
    )
    return {
        "number": request.number,
        "state": request.state.value,
        "scope": words,
        "reason": request.reason,
        "made": request.made_at,
        "by": request.made_by,
        "decided by": request.decided_by,
        "ended": request.ended_at,
    }


def _now() -> datetime:
    return datetime.now(UTC)
