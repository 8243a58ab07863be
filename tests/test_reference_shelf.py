"""Built decks on the shelf: the same as built anew, and never of other content."""

from pathlib import Path

import polars as pl
import pytest

from billing_assets.reference.decks import Deck
from billing_assets.reference.load import load_reference
from billing_assets.reference.shelf import DeckShelf
from tests.support.references import agreement, reference_files


def files(last_price: str = "0.0500") -> dict[str, bytes]:
    """A reference of 1,500 codes; a later sheet raises one too soon and by ten times."""
    rows = [f"{4400000 + n},Place {n % 7},0.0{n % 90 + 10}" for n in range(1499)]
    first = "\n".join(["code,destination,rate", *rows, f"4499,Last,{last_price}"])
    later = "code,destination,rate,from\n4400000,Place 0,0.1000,2026-03-02\n"
    sheets = [
        {"file": "../sheets/first.csv"},
        {"file": "../sheets/later.csv", "received": "2026-03-01"},
    ]
    return reference_files(
        [agreement(sheets=sheets, notice={"increase_days": 7})],
        sheets={"first.csv": first, "later.csv": later},
    )


def deck(folder: Path, given: dict[str, bytes]) -> Deck:
    loaded = load_reference(given, shelf=DeckShelf(folder))
    assert not loaded.problems
    return next(a.deck for a in loaded.reference.agreements if a.deck.rows.height > 1000)


def test_a_kept_deck_equals_the_one_built(tmp_path: Path) -> None:
    built = deck(tmp_path, files())
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    kept = deck(tmp_path, files())
    assert kept.rows.schema == built.rows.schema
    assert kept.rows.equals(built.rows)
    assert (kept.breaches, kept.findings) == (built.breaches, built.findings)
    assert kept.breaches and kept.findings


def test_a_kept_deck_is_read_and_not_built(tmp_path: Path) -> None:
    deck(tmp_path, files())
    (path,) = tmp_path.glob("*.parquet")
    said = pl.read_parquet_metadata(path)
    said = {name: said[name] for name in ("breaches", "findings")}
    pl.read_parquet(path).head(1200).write_parquet(path, metadata=said)
    assert deck(tmp_path, files()).rows.height == 1200


def test_a_changed_sheet_is_built_anew(tmp_path: Path) -> None:
    deck(tmp_path, files())
    dearer = deck(tmp_path, files("0.0700"))
    assert 700_000_000 in dearer.rows.filter(pl.col("code") == 4499)["price_e10"]


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"no Parquet at all"])
def test_a_torn_file_is_built_anew(tmp_path: Path, damage: bytes) -> None:
    built = deck(tmp_path, files())
    (path,) = tmp_path.glob("*.parquet")
    path.write_bytes(damage)
    assert deck(tmp_path, files()).rows.equals(built.rows)
    assert deck(tmp_path, files()).rows.equals(built.rows)
