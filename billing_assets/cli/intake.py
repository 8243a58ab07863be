"""`icb intake`: presets, how a file would land, and which files came."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from billing_assets.cli.output import JSON_HELP, print_json, show
from billing_assets.core.errors import BillingError
from billing_assets.core.settings import Settings
from billing_assets.intake.presets import PRESETS
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
