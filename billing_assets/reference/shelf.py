"""Built decks, kept by what they were made from, so that an unchanged sheet is read once.

Reading a sheet checks every cell; a million rates take half a minute of it in each process. What
is kept is derived: without the folder, or after a change of this program, decks are built anew.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import polars as pl
from pydantic import TypeAdapter

import billing_assets
from billing_assets.core.errors import Problem
from billing_assets.core.ids import canonical_json, sha256_of, sha256_of_file
from billing_assets.lake.tables import RATE
from billing_assets.reference.decks import Deck, build_deck, sheet_path
from billing_assets.reference.findings import Breach, Finding
from billing_assets.reference.layouts import Layout
from billing_assets.reference.models import Agreement
from billing_assets.reference.yamltext import Located

_FEWEST = 1000
"""Smaller decks are built as fast as they are read back."""

_BREACHES = TypeAdapter(tuple[Breach, ...])
_FINDINGS = TypeAdapter(tuple[Finding, ...])


class DeckShelf:
    """A folder of decks as Parquet files; any number of processes may read and write it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def deck(
        self,
        agreement: Agreement,
        located: Located,
        files: Mapping[str, bytes],
        layouts: Mapping[str, Layout],
        *,
        honour_notice: bool,
    ) -> tuple[Deck | None, list[Problem]]:
        """As `build_deck`, from the shelf where the deck was built before of the same content."""
        if not agreement.sheets:
            return build_deck(agreement, located, files, layouts, honour_notice=honour_notice)
        path = self.folder / f"{_key(located, agreement, files, honour_notice)}.parquet"
        kept = _read(path, agreement.key)
        if kept is not None:
            return kept, []
        deck, problems = build_deck(agreement, located, files, layouts, honour_notice=honour_notice)
        if deck is not None and deck.rows.height >= _FEWEST:
            _write(path, deck)
        return deck, problems


def _key(
    located: Located, agreement: Agreement, files: Mapping[str, bytes], honour_notice: bool
) -> str:
    """A hash of all that a deck is made from: its files, and the code that reads them."""
    sheets = [sheet_path(located.file, sheet.file) for sheet in agreement.sheets]
    made_from = [located.file, *sheets, "layouts.yaml"]
    hashes: Sequence[object] = [(path, sha256_of(files.get(path, b""))) for path in made_from]
    return sha256_of(canonical_json([_code(), honour_notice, *hashes]))


@lru_cache(maxsize=1)
def _code() -> str:
    """A hash of the rooms that decks are built by, and of the tables' contract."""
    root = Path(billing_assets.__file__).parent
    paths = [*root.glob("core/*.py"), *root.glob("reference/*"), root / "lake" / "tables.py"]
    contents = {path.name: sha256_of_file(path) for path in sorted(paths) if path.is_file()}
    return sha256_of(canonical_json([pl.__version__, contents]))


def _read(path: Path, agreement: str) -> Deck | None:
    """A deck of the shelf; None when it is not there or is not whole."""
    try:
        rows = pl.read_parquet(path)
        said = pl.read_parquet_metadata(path)
        breaches = _BREACHES.validate_json(said["breaches"])
        findings = _FINDINGS.validate_json(said["findings"])
    except (OSError, pl.exceptions.PolarsError, KeyError, ValueError):
        return None
    return Deck(agreement, rows, breaches, findings) if rows.schema == RATE.schema else None


def _write(path: Path, deck: Deck) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    os.close(handle)
    said = {
        "breaches": _BREACHES.dump_json(deck.breaches).decode(),
        "findings": _FINDINGS.dump_json(deck.findings).decode(),
    }
    deck.rows.write_parquet(partial, metadata=said)
    Path(partial).replace(path)
