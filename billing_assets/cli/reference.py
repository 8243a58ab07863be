"""`icb reference`: check the reference folder, look into a day's rating plan."""

from datetime import date
from typing import Annotated

import typer

from billing_assets.cli.output import JSON_HELP, console, print_json, show
from billing_assets.core.errors import BillingError
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.rating.plan import compile_plan
from billing_assets.reference.load import load_reference, read_folder

app = typer.Typer(help="Partners, agreements, rate sheets.", no_args_is_help=True)


@app.command("check")
def check(as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False) -> None:
    """List every problem of the reference folder; nothing is put into force. Exit 1 if any."""
    loaded = load_reference(read_folder(Settings().reference))
    rows = [vars(problem) for problem in loaded.problems]
    if as_json:
        print_json(rows)
    else:
        show(rows, "Problems", as_json=False, empty="no problem")
        reference = loaded.reference
        console.print(
            f"{len(reference.partners)} partners, {len(reference.agreements)} agreements, "
            f"{reference.rates().height:,} rates"
        )
    if rows:
        raise typer.Exit(1)


@app.command("plan")
def plan(
    day: Annotated[str, typer.Argument(help="UTC day, YYYY-MM-DD")],
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """The rating plan of a day: what it holds, what each agreement prices by, who rated by it."""
    home = Installation.open()
    try:
        compiled = compile_plan(
            home.reference, date.fromisoformat(day), buckets=home.settings.buckets
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
