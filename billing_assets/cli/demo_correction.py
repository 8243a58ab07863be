"""`icb demo correction`: a corrected sheet comes late, told by the commands that deal with it."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import typer

from billing_assets.cli.output import console, show
from billing_assets.core.errors import StateError
from billing_assets.demo.scenario import DEMO_DATA
from billing_assets.installation import Installation
from billing_assets.invoicing.prove import prove
from billing_assets.lake.tables import CHARGE, RATED_LEG
from billing_assets.registry.cycles import FINALISED

ANALYST, MANAGER = "demo.analyst", "demo.manager"
MONTH, PARTNER, NEXT = "2026-03", "P04", "P04/2026-04-A"
DESTINATION = "Jamaica Mobile"
DAYS = date(2026, 3, 10), date(2026, 3, 12)
"""The local days that the corrected sheet prices anew."""
SHEET = DEMO_DATA / "correction" / "P04-2026-03-correction.csv"
RECEIVED = "2026-04-08"

_DAY = timedelta(days=1)
_SHEET_TERMS = f"""\
  - file: ../sheets/{SHEET.name}
    received: {RECEIVED}
    columns:
      destination: Destination
      code: Dial Codes
      rate: USD per Minute
      increments: Increment
      from: Effective Date
commitments:
"""


@dataclass(frozen=True)
class _Seen:
    """What stood before or after: bytes of issued documents, drafts, and all other legs.

    `issued` and `drafts` are SHA-256 by document and by cycle; `others` is a sum over the legs
    that the sheet does not price, in all columns.
    """

    issued: dict[str, str]
    drafts: dict[str, tuple[str, ...]]
    others: tuple[int, int]


def correction(context: typer.Context) -> None:
    """Tell how a corrected sheet for P04's calls to Jamaica, 10 to 12 March, is dealt with.

    After `icb demo` March is issued: the sheet's impact, approval and re-rating lead to an
    adjustment in April, and March's documents stay as they are. After `icb demo --drafts` it is
    not: P04's drafts follow, and nobody else's. Every step is a command that is shown; exit 1
    when something else changed.
    """
    home = Installation.open()
    cycles = home.registry.cycles.list(month=MONTH)
    if not cycles:
        raise StateError(f"{MONTH} is not billed in this home", hint="run `icb demo` first")
    if (home.settings.reference / "sheets" / SHEET.name).exists():
        raise StateError(
            "the corrected sheet has come to this home already",
            hint="see `icb rerate list` and `icb history`, or begin with a new home",
        )
    final = any(c.partner == PARTNER and c.state in FINALISED for c in cycles)
    before = _seen(home)
    icb = _Commands(context.find_root().command.main)
    _file_sheet(home.settings.reference)
    icb(ANALYST, "reference", "load")
    waiting = home.registry.versions.pending_reference()
    if waiting is None:
        raise StateError("the corrected sheet changes nothing")
    icb(ANALYST, "reference", "impact")
    icb(MANAGER, "reference", "approve", str(waiting.version))
    icb(ANALYST, "rerate", "propose", "--reason", "P04's corrected sheet")
    number = Installation.open().registry.rerates.list()[0].number
    icb(MANAGER, "rerate", "approve", str(number))
    if final:
        icb(ANALYST, "cycle", "run", NEXT)
        icb(ANALYST, "sql", _ADJUSTED)
    home = Installation.open()
    claims = [*_claims(home, before, _seen(home), number, final=final)]
    show(
        [{"claim": claim, "result": "holds" if holds else "FAILS"} for claim, holds in claims],
        "What must hold",
        as_json=False,
    )
    if not all(holds for _, holds in claims):
        raise typer.Exit(1)
    following = f"icb cycle show {NEXT}" if final else f"icb cycle show {PARTNER}/2026-03-A"
    console.print(f"next: `{following}`, `icb rerate show {number}`", highlight=False)


_ADJUSTED = (
    "select section, description, quantity, price, amount, exact_amount from charge "
    f"where cycle = '{NEXT}' order by section, price"
)


class _Commands:
    """Runs `icb` commands in a person's name, each shown before it runs."""

    def __init__(self, main: Callable[..., object]) -> None:
        self._main = main

    def __call__(self, who: str, *words: str) -> None:
        said = " ".join(f'"{word}"' if " " in word else word for word in words)
        console.print(f"\n$ ICB_USER={who} icb {said}", style="bold", highlight=False)
        with _acting(who):
            self._main([*words], prog_name="icb", standalone_mode=False)


@contextmanager
def _acting(who: str) -> Iterator[None]:
    known = os.environ.get("ICB_USER")
    os.environ["ICB_USER"] = who
    try:
        yield
    finally:
        if known is None:
            del os.environ["ICB_USER"]
        else:
            os.environ["ICB_USER"] = known


def _file_sheet(reference: Path) -> None:
    """Put the corrected sheet into the folder and into the agreement's list of sheets."""
    target = reference / "sheets" / SHEET.name
    target.write_bytes(SHEET.read_bytes())
    agreement = reference / "agreements" / "P04-VOICE.yaml"
    agreement.write_text(agreement.read_text().replace("commitments:\n", _SHEET_TERMS, 1))
    console.print(f"{target.name} came in on {RECEIVED}", highlight=False)


def _seen(home: Installation) -> _Seen:
    registry, folder = home.registry, home.settings.documents / MONTH
    cycles = registry.cycles.list(month=MONTH)
    issued = {
        one.id: one.canonical_sha256
        for cycle in cycles
        for one in registry.documents.of_cycle(cycle.id)
    }
    issued |= {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    drafts = {
        cycle.id: tuple(
            draft.canonical_sha256 for draft in registry.documents.drafts(cycle.id, cycle.runs)
        )
        for cycle in cycles
        if cycle.state not in FINALISED
    }
    priced = (
        (pl.col("partner") == PARTNER)
        & (pl.col("destination") == DESTINATION)
        # rows of the days beside name the sheet's later row as their source
        & pl.col("local_day").is_between(DAYS[0] - _DAY, DAYS[1] + _DAY)
    )
    legs = home.lake.scan(RATED_LEG).filter(priced.not_().fill_null(value=True))
    sums = legs.select(
        pl.len(), pl.struct(sorted(RATED_LEG.schema)).hash().cast(pl.Int128).sum().alias("sum")
    ).collect(engine="streaming")
    return _Seen(issued, drafts, (int(sums.item(0, 0)), int(sums.item(0, 1))))


def _claims(
    home: Installation, before: _Seen, after: _Seen, number: int, *, final: bool
) -> Iterator[tuple[str, bool]]:
    """What the story claims, and whether it holds."""
    yield (
        f"{after.others[0]:,} legs outside the sheet are as they were",
        (before.others == after.others),
    )
    if not final:
        changed = {name for name, draft in before.drafts.items() if after.drafts.get(name) != draft}
        yield (
            f"of {len(before.drafts)} drafted cycles {', '.join(sorted(changed))} follow, "
            f"all of {PARTNER}",
            bool(changed) and all(name.startswith(f"{PARTNER}/") for name in changed),
        )
        return
    documents = [
        one
        for cycle in home.registry.cycles.list(month=MONTH)
        for one in home.registry.documents.of_cycle(cycle.id)
    ]
    yield (
        f"{len(before.issued)} issued files and documents are byte-equal",
        (before.issued == after.issued),
    )
    with console.status("proving March's documents"):
        proved = all(check.ok for one in documents for check in prove(home, one.id))
    yield f"{len(documents)} documents of March are proved from what they pin", proved
    changes = [change for day in home.registry.rerates.days(number) for change in day.changes]
    difference = sum((Decimal(str(change["difference"])) for change in changes), Decimal(0))
    adjusted = _adjusted(home, ["usage"])
    yield f"April bills the difference of {difference} USD, exactly", adjusted == difference
    yield (
        "the shortfall of the quarter that is over takes it back, exactly",
        _adjusted(home, ["shortfall"]) == -difference,
    )


def _adjusted(home: Installation, kinds: Sequence[str]) -> Decimal:
    lines = home.lake.scan(CHARGE, part={"month": NEXT[4:11], "cycle": NEXT})
    rows = lines.filter(pl.col("kind").is_in(kinds)).select(pl.col("exact_amount").sum()).collect()
    return Decimal(rows.item() or 0)
