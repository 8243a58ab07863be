"""Whatever is changed in the registry or its files behind the product's back is named."""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from billing_assets.cli.main import app
from billing_assets.core.settings import Settings
from billing_assets.demo import bench_invoicing as month
from billing_assets.installation import Installation
from billing_assets.invoicing.delivery.run import deliver
from billing_assets.invoicing.parallel import draft_cycles
from billing_assets.invoicing.prove import prove, prove_registry
from billing_assets.invoicing.run import approve_and_issue, due_cycles
from tests.support.issued_home import issued_home

PORTAL = {"channel": "portal", "via": "folder", "path": "P14"}
DOCUMENT = "P14/2026-03/invoice-EUR"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Installation]:
    opened = issued_home(tmp_path, {"delivery": [PORTAL]})
    yield opened
    opened.registry.close()


def tamper(home: Installation, *statements: str) -> None:
    """Change rows as somebody with the database's password would, past its triggers."""
    with sqlite3.connect(home.settings.root / "registry.db") as connection:
        for (trigger,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            connection.execute(statement)


def failures(home: Installation) -> dict[str, str]:
    return {check.name: check.detail for check in prove_registry(home) if not check.ok}


def test_an_untouched_registry_is_proved(home: Installation) -> None:
    assert failures(home) == {}


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE document SET gross = '1.00'", "gross is 1.00, logged was 118.08"),
        ("UPDATE document SET due_date = '2027-01-01'", "due_date is 2027-01-01"),
        ("UPDATE document SET pins = '{}'", "pins is {}"),
        ("UPDATE document SET template_hash = 'x'", "template_hash is x"),
        ("UPDATE document SET finalised_by = 'nobody'", "finalised_by is nobody"),
    ],
)
def test_a_changed_document_row_is_named_with_its_field(
    home: Installation, statement: str, said: str
) -> None:
    tamper(home, statement)
    [(name, detail)] = failures(home).items()
    assert name == "registry row of FT 2026/000001 is as it was logged"
    assert said in detail
    assert {check.name for check in prove(home, DOCUMENT) if not check.ok} >= {name}


def test_a_removed_document_is_named_by_its_number(home: Installation) -> None:
    tamper(home, "DELETE FROM document")
    found = failures(home)
    assert found[f"document {DOCUMENT}"] == "FT 2026/000001 was issued and is gone"
    assert "FT 2026 lacks 1" in found["number series"]


def test_a_series_put_back_is_named(home: Installation) -> None:
    tamper(home, "UPDATE number_series SET last_number = 0")
    assert failures(home) == {"number series": "FT 2026 is at 0, but 1 was given"}


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE cycle SET approved_by = 'ana'", "approved_by is ana, logged was bruno"),
        ("UPDATE cycle SET state = 'draft'", "state is draft, logged was final"),
    ],
)
def test_a_changed_cycle_is_named(home: Installation, statement: str, said: str) -> None:
    tamper(home, statement)
    assert failures(home) == {"cycle P14/2026-03": said}


def test_a_delivery_that_never_was_is_named(home: Installation) -> None:
    folder = home.settings.portal / "P14"
    folder.mkdir(parents=True)
    (folder / "FT-2026-000001.csv").write_text("in the way")
    deliver(home, clock=lambda: datetime.now(UTC), who="ana")
    assert failures(home) == {}
    tamper(home, "UPDATE delivery SET state = 'delivered'")
    assert "state is delivered" in failures(home)[f"delivery {DOCUMENT}/portal"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET who = 'nobody' WHERE seq = 3",
        "DELETE FROM audit WHERE seq = 3",
        "UPDATE audit SET after = '{}' WHERE seq = 3",
    ],
)
def test_a_changed_log_is_named_by_its_row(home: Installation, statement: str) -> None:
    tamper(home, statement)
    assert failures(home)["audit log is whole"].startswith("entry 3 ")


def test_a_changed_file_is_named(home: Installation) -> None:
    stored = home.registry.documents.get(DOCUMENT)
    path = home.blobs.path(stored.files["csv"].sha256)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"118.08", b"118.09"))
    assert "file csv of FT 2026/000001" in failures(home)
    assert "file csv" in {check.name for check in prove(home, DOCUMENT) if not check.ok}


def test_a_changed_reference_is_named(home: Installation) -> None:
    tamper(home, "UPDATE reference_version SET manifest = '{}'")
    assert failures(home) == {"reference version 1": "its files are not those of its hash"}


@pytest.fixture(scope="module")
def billed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A home whose documents were charged, drafted and issued by the product itself."""
    root = tmp_path_factory.mktemp("billed")
    home = Installation.open(Settings(home=root / "home", user="ana"))
    month.prepare(home, month.Month(partners=1, destinations=3, days=2))
    partner = home.reference.partner("B000")
    cycles = due_cycles(home, partner, month.MONTH, month.NOW)
    draft_cycles(home, cycles, issue_date=month.ISSUED, now=month.NOW, who="ana")
    for cycle in cycles:
        approve_and_issue(
            home, cycle.cycle, approver="eva", issue_date=month.ISSUED, now=month.NOW, who="ana"
        )
    return home


def test_a_document_is_made_again_byte_by_byte(billed: Installation) -> None:
    documents = billed.registry.documents.of_cycle("B000/2026-03")
    assert len(documents) == 2
    for document in documents:
        checks = {check.name: check for check in prove(billed, document.id)}
        assert [check for check in checks.values() if not check.ok] == []
        assert checks["made again from its pinned versions"].detail.startswith("byte-equal")


def test_the_command_ends_with_1_when_something_was_changed(
    home: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICB_HOME", str(home.settings.root))
    run: Callable[..., Any] = CliRunner().invoke
    assert run(app, ["verify"]).exit_code == 0
    tamper(home, "UPDATE document SET net = '1.00'")
    said = run(app, ["verify", "--json"])
    assert said.exit_code == 1
    assert "FT 2026/000001" in said.output
