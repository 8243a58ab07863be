"""An archive is checked as its README says, with nothing of the product."""

import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from billing_assets.cli.main import app
from billing_assets.core.errors import BillingError, StateError
from billing_assets.core.periods import month_period
from billing_assets.installation import Installation
from billing_assets.invoicing.archive import export_cycle
from tests.support.issued_home import NOW, issued_home

CYCLE = "P14/2026-03"


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    return issued_home(tmp_path, {}, itemised="record_id\r\n1\r\n")


@pytest.fixture
def archive(home: Installation, tmp_path: Path) -> Path:
    return export_cycle(home, CYCLE, tmp_path / "out")


def statements(archive: Path) -> list[str]:
    """The SQL statements of the README."""
    text = (archive / "README.txt").read_text()
    return re.findall(r"^     (SELECT.*?;)", text, flags=re.M | re.S)


def answers(archive: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each statement of the README finds: none when all is well."""
    monkeypatch.chdir(archive)
    with duckdb.connect() as connection:
        return [len(connection.execute(sql).fetchall()) for sql in statements(archive)]


def test_every_file_is_listed_with_its_hash(archive: Path) -> None:
    said = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"],
        cwd=archive,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout
    listed = {line.split("  ", 1)[1] for line in (archive / "SHA256SUMS").read_text().splitlines()}
    files = {str(p.relative_to(archive)) for p in archive.rglob("*") if p.is_file()}
    assert listed == files - {"SHA256SUMS"}
    expected = {
        "README.txt",
        "audit.jsonl",
        "documents.csv",
        "lines.parquet",
        "documents/FT-2026-000001.pdf",
        "documents/FT-2026-000001.itemised.csv",
        "tables/charge.parquet",
        "tables/rated_leg.parquet",
        "registry/exceptions.json",
        "registry/deliveries.json",
    }
    assert expected <= files
    assert any(name.endswith("partners/P14.yaml") for name in files)


def test_the_statements_of_the_readme_find_nothing(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answers(archive, monkeypatch) == [0, 0, 0]


def test_they_find_a_changed_total(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive / "documents.csv"
    path.write_text(path.read_text().replace(",96.00,", ",96.01,"))
    assert answers(archive, monkeypatch) == [1, 0, 0]


def test_the_program_of_the_readme_proves_the_log(archive: Path) -> None:
    text = (archive / "README.txt").read_text()
    program = text.partition("In Python:\n")[2].replace("\n     ", "\n")
    (archive.parent / "check.py").write_text(program)

    def run() -> int:
        command = [sys.executable, str(archive.parent / "check.py")]
        return subprocess.run(command, cwd=archive, capture_output=True, check=False).returncode

    assert run() == 0
    log = archive / "audit.jsonl"
    log.write_text(log.read_text().replace('"who":"bruno"', '"who":"ana"', 1))
    assert run() == 1


def test_an_archive_is_written_once(home: Installation, archive: Path) -> None:
    with pytest.raises(BillingError, match="exists"):
        export_cycle(home, CYCLE, archive.parent)


def test_a_cycle_that_is_not_final_is_refused(home: Installation, tmp_path: Path) -> None:
    april = month_period("2026-04", "Europe/Lisbon")
    home.registry.cycles.open_cycle("P14/2026-04", "P14", april, "monthly", now=NOW, who="ana")
    with pytest.raises(StateError, match="only final cycles"):
        export_cycle(home, "P14/2026-04", tmp_path / "out")


def test_a_damaged_file_is_not_archived(home: Installation, tmp_path: Path) -> None:
    [stored] = home.registry.documents.of_cycle(CYCLE)
    path = home.blobs.path(stored.files["pdf"].sha256)
    path.chmod(0o644)
    path.write_bytes(b"other")
    with pytest.raises(BillingError, match="no longer has the content"):
        export_cycle(home, CYCLE, tmp_path / "out")
    assert not (tmp_path / "out" / "P14_2026-03").exists()


def test_the_command_says_where_the_folder_is(
    home: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICB_HOME", str(home.settings.root))
    said = CliRunner().invoke(app, ["archive", "export", CYCLE, "--out", str(tmp_path / "cli")])
    assert said.exit_code == 0, said.output
    assert (tmp_path / "cli" / "P14_2026-03" / "SHA256SUMS").is_file()
