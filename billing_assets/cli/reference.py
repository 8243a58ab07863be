"""`icb reference`: check and load the reference folder, approve, look into versions and plans."""

from datetime import UTC, date, datetime
from typing import Annotated

import typer

from billing_assets.cli.output import JSON_HELP, console, print_json, show
from billing_assets.core.errors import BillingError
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.rating.compile import compile_plan
from billing_assets.reference.findings import Breach, rows_of
from billing_assets.reference.load import load_reference, read_folder
from billing_assets.reference.versions import Taken, approve_reference, take_reference
from billing_assets.registry.versions import ReferenceLoad

app = typer.Typer(help="Partners, agreements, rate sheets.", no_args_is_help=True)


@app.command("check")
def check(as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False) -> None:
    """Every problem of the reference folder, and what its sheets should be looked at for.

    Nothing is put into force. Exit 1 if there is a problem.
    """
    loaded = load_reference(read_folder(Settings().reference))
    reference = loaded.reference
    rows = [vars(problem) for problem in loaded.problems]
    breaches = [_breach_row(breach) for breach in reference.breaches]
    if as_json:
        print_json({"problems": rows, "notice": breaches, "findings": rows_of(reference.findings)})
    else:
        show(rows, "Problems", as_json=False, empty="no problem")
        if breaches:
            show(breaches, "Announced too late: for dispute", as_json=False)
        if reference.findings:
            show(rows_of(reference.findings), "To look at", as_json=False)
        console.print(
            f"{len(reference.partners)} partners, {len(reference.agreements)} agreements, "
            f"{reference.rates().height:,} rates"
        )
    if rows:
        raise typer.Exit(1)


def _breach_row(breach: Breach) -> dict[str, object]:
    return {
        "agreement": breach.agreement,
        "file": breach.file,
        "row": breach.row,
        "code": breach.code,
        "destination": breach.destination,
        "change": breach.change,
        "asked for": breach.requested,
        "valid from": breach.loaded,
    }


@app.command("load")
def load(as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False) -> None:
    """Load the folder as a new version. It waits for approval by a person other than ICB_USER.

    A file with a problem is refused and its last good version stays; the rest loads. Exit 1 if
    any was refused. The first version of a home is in force at once.
    """
    home = Installation.open()
    taken = load_folder(home, who=home.settings.user)
    problems = [vars(problem) for problem in taken.problems]
    if as_json:
        print_json(
            {"version": taken.number, "in force": taken.in_force, "problems": problems}
            | {"hash": taken.reference.version}
        )
    else:
        show(problems, "Refused", as_json=False, empty="no problem")
        console.print(
            f"version {taken.number} is in force"
            if taken.in_force
            else f"version {taken.number} waits for approval: `icb reference diff`, "
            f"`icb reference impact`, then another person `icb reference approve {taken.number}`"
        )
    if problems:
        raise typer.Exit(1)


@app.command("approve")
def approve(
    version: Annotated[int, typer.Argument(help="number of the version that waits")],
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Put the version that waits into force, in the name of ICB_USER, who has not loaded it."""
    from billing_assets.orchestration.runs import announce_in_force  # noqa: PLC0415 - slow

    home = Installation.open()
    row = _load_row(approve_version(home, version, who=home.settings.user))
    announce_in_force(home)
    if as_json:
        print_json(row)
    else:
        console.print(f"version {version} is in force, approved by {row['approved by']}")


@app.command("history")
def history(as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False) -> None:
    """Every load of the reference data: when, by whom, approved by whom, in force since when."""
    loads = Installation.open().registry.versions.reference_loads()
    show([_load_row(one) for one in loads], "Loads", as_json=as_json, empty="nothing loaded yet")


def _load_row(one: ReferenceLoad) -> dict[str, object]:
    return {
        "load": one.number,
        "version": one.version,
        "hash": one.hash[:12],
        "loaded": one.loaded_at,
        "by": one.loaded_by,
        "approved": one.approved_at,
        "approved by": one.approved_by,
        "in force from": one.in_force_from,
    }


def load_folder(home: Installation, *, who: str) -> Taken:
    """Load the home's reference folder as a version, in a person's name."""
    return take_reference(
        read_folder(home.settings.reference),
        lake=home.lake,
        registry=home.registry,
        blobs=home.blobs,
        now=datetime.now(UTC),
        who=who,
    )


def approve_version(home: Installation, version: int, *, who: str) -> ReferenceLoad:
    """Put the pending version into force, in a second person's name."""
    return approve_reference(
        version,
        lake=home.lake,
        registry=home.registry,
        blobs=home.blobs,
        now=datetime.now(UTC),
        who=who,
    )


@app.command("plan")
def plan(
    day: Annotated[str, typer.Argument(help="UTC day, YYYY-MM-DD")],
    version: Annotated[
        str, typer.Option(help="current, pending, a number, or a moment: as known then")
    ] = "current",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """The rating plan of a day: what it holds, what each agreement prices by, who rated by it."""
    home = Installation.open()
    try:
        compiled = compile_plan(
            home.reference_as(version), date.fromisoformat(day), buckets=home.settings.buckets
        )
    except ValueError as error:
        raise BillingError(f"{day!r} is not a day such as 2026-03-10") from error
    used = [
        {
            "plan": p.hash,
            "reference": p.reference_hash[:12],
            "compiled": p.compiled_at,
            "same as now": p.hash == compiled.version,
        }
        for p in home.registry.versions.plans_of_day(compiled.day)
    ]
    rows = sorted(
        {(r.agreement, r.account, r.band, r.offset // 60, r.currency) for r in compiled.rows[2:]}
    )
    names = ("agreement", "account", "band", "minutes east of UTC", "currency")
    holds: list[dict[str, object]] = [dict(zip(names, row, strict=True)) for row in rows]
    if as_json:
        print_json({**compiled.summary(), "rows": holds, "used": used})
        return
    for name, value in compiled.summary().items():
        if name != "agreements":
            console.print(f"  {name}: {value}", highlight=False)
    show(holds, "Plan rows", as_json=False)
    show(used, "Plans that legs of the day were priced by", as_json=False, empty="not rated yet")
