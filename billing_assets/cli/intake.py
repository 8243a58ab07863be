"""`icb intake`: presets, how a file would land, and which files came."""

from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from billing_assets.cli.output import JSON_HELP, console, print_json, show
from billing_assets.cli.rerate import carry_out, show_changes
from billing_assets.core.errors import BillingError
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.intake.presets import PRESETS
from billing_assets.intake.refused import return_files
from billing_assets.intake.sequence import ranges, sequence_report
from billing_assets.intake.trial import try_file
from billing_assets.intake.withdrawal import file_named, replay, withdraw
from billing_assets.rating.requests import FILE_KEY
from billing_assets.reference.load import load_reference, read_folder
from billing_assets.reference.sources import Source
from billing_assets.reference.wording import place, said
from billing_assets.reference.yamltext import Located
from billing_assets.registry.files import FileEntry

app = typer.Typer(help="Mediation files: presets, trials, what came in.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help=JSON_HELP)]


@app.command("presets")
def presets(as_json: Json = False) -> None:
    """Kinds of files that can be read, with the options of each."""
    rows = [
        {"preset": name, "reads": known.about, "options": ", ".join((*known.options, "encoding"))}
        for name, known in PRESETS.items()
    ]
    show(rows, "Presets", as_json=as_json)


@app.command("try")
def try_(
    file: Annotated[Path, typer.Argument(help="a mediation file")],
    source: Annotated[str, typer.Option(help="a source of the reference folder")] = "",
    preset: Annotated[str, typer.Option(help="a preset with its usual settings")] = "",
    mapping: Annotated[
        Path | None, typer.Option(help="a YAML file: an entry as of sources.yaml")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="rows to show")] = 10,
    as_json: Json = False,
) -> None:
    """Show a file's first rows as they would land, and what would be refused; nothing is kept.

    Exit 1 when the file, or a row of it, would be refused.
    """
    if sum(map(bool, (source, preset, mapping))) != 1:
        raise BillingError("name one of --source, --preset and --mapping")
    if mapping is not None:
        used = _mapped(mapping)
    elif preset:
        used = Source(source="try", preset=preset, switch="SW")
    else:
        used = _of_reference(source)
    found = try_file(file, used, rows, datetime.now(UTC))
    refused = [vars(problem) for problem in found.refused]
    warnings = [vars(problem) for problem in found.warnings]
    if as_json:
        print_json({"rows": found.rows, "refused": refused, "warnings": warnings, **found.figures})
    else:
        show(found.rows, "As they would land", as_json=False, empty="no row would land")
        show(refused, "Refused", as_json=False, empty="nothing would be refused")
        show(warnings, "To look at", as_json=False, empty="nothing to look at")
        show([found.figures], "In all", as_json=False)
    if refused:
        raise typer.Exit(1)


@app.command("files")
def files(
    source: Annotated[str, typer.Option(help="this source alone")] = "",
    as_json: Json = False,
) -> None:
    """Every file that came, what became of it, and where the files of a source are not continuous:
    numbers missing or seen twice, hours without a file, deliveries that were there already."""
    home = Installation.open()
    log = home.registry.files
    counts: dict[int, list[int]] = {}
    for one in log.counts(date.min, date.max):
        sums = counts.setdefault(one.file_key, [0, 0, 0, 0])
        for n, value in enumerate((one.received, one.landed, one.rejected, one.filtered)):
            sums[n] += value
    again = Counter(one.file_key for one in log.redeliveries())
    rows = [
        {
            "source": entry.source,
            "file": entry.name,
            "number": entry.sequence,
            "arrived": entry.received_at,
            "state": entry.state.value,
            **dict(zip(_COUNTS, counts.get(entry.file_key, [0] * 4), strict=True)),
            "came again": again[entry.file_key],
            "reason": entry.message,
        }
        for name in ([source] if source else log.sources())
        for entry in log.of_source(name)
    ]
    chosen = [one for one in home.reference.sources.values() if source in ("", one.source)]
    audit = [
        {
            "source": report.source,
            "files": report.files,
            "missing": ranges(report.missing),
            "seen twice": ranges(report.duplicate),
            "hours without a file": "; ".join(
                f"{first:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}" for first, end in report.uncovered
            ),
        }
        for report in sequence_report(home.registry, chosen)
    ]
    if as_json:
        print_json({"files": rows, "continuity": audit})
        return
    shown = [{**row, "number": str(row["number"] or "")} for row in rows]
    show(shown, "Files", as_json=False, empty="no file yet")
    show(audit, "Continuity (UTC)", as_json=False, empty="no source")


@app.command("retry")
def retry(
    file: Annotated[str, typer.Argument(help="a refused file's name; default all")] = "",
    source: Annotated[str, typer.Option(help="files of this source alone")] = "",
) -> None:
    """Put refused files back into the inbox, once their source's preset or mapping is mended.

    `icb intake try` shows before whether they would land; the next `icb run` takes them in.
    """
    home = Installation.open()
    returned = return_files(
        home.settings.quarantine,
        home.settings.inbox,
        lambda of, name: source in ("", of) and file in ("", name),
    )
    rows = [{"source": path.parent.name, "file": path.name} for path in returned]
    show(rows, "Back in the inbox", as_json=False, empty="no such file was refused")
    if file and not returned:
        raise typer.Exit(1)


Why = Annotated[str, typer.Option("--reason", help="why; kept with the re-rate request")]
NamedFile = Annotated[str, typer.Argument(help="name or content hash of a file that came")]


@app.command("withdraw")
def withdraw_(file: NamedFile, reason: Why = "") -> None:
    """Take a file back that its switch should not have sent: its records are billed no more.

    The legs of its records go, copies in other files take their place, drafted cycles follow and
    final ones are corrected by the next. Where the switch sends another file instead, drop that
    into the inbox; this one comes back by `icb intake replay` alone.
    """
    home = Installation.open()
    entry = file_named(home.registry.files, file)
    who, now = home.settings.user, datetime.now(UTC)
    days = withdraw(entry, reason, lake=home.lake, log=home.registry.files, now=now, who=who)
    _follow(home, entry, days, f"withdrawn: {reason}")


@app.command("replay")
def replay_(file: NamedFile, reason: Why = "") -> None:
    """Read a file once more from the archive, as its source is described now.

    For a preset or mapping that was mended, or a file that was withdrawn by mistake. Legs of its
    records are priced again, all others stay.
    """
    home = Installation.open()
    entry = file_named(home.registry.files, file)
    days = replay(
        entry,
        reason,
        home.reference.sources,
        lake=home.lake,
        log=home.registry.files,
        blobs=home.blobs,
        now=datetime.now(UTC),
        who=home.settings.user,
    )
    _follow(home, entry, days, f"read again: {reason}")


def _follow(home: Installation, entry: FileEntry, days: list[date], reason: str) -> None:
    """Let records, legs and drafted cycles follow a file, and print what that changed."""
    if not days:
        console.print(f"{entry.name} has no records")
        return
    scope = {
        "first": days[0].isoformat(),
        "last": days[-1].isoformat(),
        "file": entry.name,
        FILE_KEY: entry.file_key,
    }
    made = home.registry.rerates.make(scope, reason, now=datetime.now(UTC), who=home.settings.user)
    show_changes(carry_out(made, records=True), f"Re-rate request {made.number}: {entry.name}")


_COUNTS = ("received", "landed", "rejected", "filtered")


def _mapped(path: Path) -> Source:
    """A source of a YAML file; raises `BillingError` that names what is wrong with it."""
    try:
        value = Located(path.read_bytes(), path.name).value
    except OSError as error:
        raise BillingError(f"{path} cannot be read: {error.strerror}") from error
    entry = value[0] if isinstance(value, list) and value else value
    if not isinstance(entry, dict):
        raise BillingError(f"{path} is no source", hint="write an entry as of sources.yaml")
    try:
        return Source.model_validate(
            {"source": "try", "preset": "mapping", "switch": "SW", **entry}
        )
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, place(first)))
        raise BillingError(f"{path}: {field}: {said(first)}") from error


def _of_reference(name: str) -> Source:
    """A source as the reference folder has it now."""
    sources = load_reference(read_folder(Settings().reference)).reference.sources
    if name not in sources:
        raise BillingError(f"there is no source {name!r}", hint=f"there are {', '.join(sources)}")
    return sources[name]
