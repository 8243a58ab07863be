"""The demo's story: a corrected sheet that comes late, before the documents are issued and after.

Told at a hundredth of the demo carrier.
"""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from billing_assets.cli.main import app
from billing_assets.core.errors import StateError
from billing_assets.installation import Installation
from billing_assets.orchestration.runs import Runs
from tests.support.demo_month import draft, issue, settings

NEXT = "P04/2026-04-A"


@pytest.fixture(scope="module")
def drafted(rated_month: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The month in drafts."""
    home = tmp_path_factory.mktemp("drafted")
    shutil.copytree(rated_month, home, dirs_exist_ok=True)
    with Runs.of(settings(home)) as runs:
        draft(runs)
    return home


def told(home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the story prints in a home; it must hold."""
    monkeypatch.setenv("ICB_HOME", str(home))
    result = CliRunner().invoke(app, ["demo", "correction"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "FAILS" not in result.output
    return result.output


def test_before_documents_are_issued_the_drafts_of_the_partner_follow_alone(
    drafted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(drafted, tmp_path, dirs_exist_ok=True)
    output = told(tmp_path, monkeypatch)
    # the quarter's minimum is settled in the second half
    assert "P04/2026-03-A, P04/2026-03-B follow" in output
    assert Installation.open(settings(tmp_path)).registry.cycles.list(month="2026-04") == []


def test_after_that_april_adjusts_and_march_stays(
    drafted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(drafted, tmp_path, dirs_exist_ok=True)
    with Runs.of(settings(tmp_path)) as runs:
        issue(runs)
        # cycles without a document stop nothing
        runs.deliver("2026-03", sorted(runs.installation.reference.partners))
    portal = {path.parent.name for path in (tmp_path / "portal").glob("*/*.pdf")}
    assert {"P03", "P04", "P08"} <= portal
    output = told(tmp_path, monkeypatch)
    assert "documents of March are proved" in output
    home = Installation.open(settings(tmp_path))
    assert home.registry.cycles.get(NEXT).state == "draft"
    [request] = home.registry.rerates.list()
    assert (request.made_by, request.decided_by) == ("demo.analyst", "demo.manager")
    monkeypatch.setenv("ICB_USER", "ana")
    with pytest.raises(StateError, match="has come to this home already"):
        CliRunner().invoke(app, ["demo", "correction"], catch_exceptions=False)
