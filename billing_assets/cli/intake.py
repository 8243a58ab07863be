"""`icb intake`: presets, how a file would land, and which files came."""

from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from billing_assets.cli.output import JSON_HELP, print_json, show
from billing_assets.core.errors import BillingError
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.intake.presets import PRESETS
from billing_assets.intake.sequence import ranges, sequence_report
from billing_assets.intake.trial import try_file
from billing_assets.reference.load import load_reference, read_folder
from billing_assets.reference.sources import Source
from billing_assets.reference.yamltext import Located

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
    found = try_file(file, used, rows, datetime.now(UTC).date())
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
        place = ".".join(map(str, first["loc"]))
        raise BillingError(f"{path}: {place}: {first['msg']}") from error


def _of_reference(name: str) -> Source:
    """A source as the reference folder has it now."""
    sources = load_reference(read_folder(Settings().reference)).reference.sources
    if name not in sources:
        raise BillingError(f"there is no source {name!r}", hint=f"there are {', '.join(sources)}")
    return sources[name]
