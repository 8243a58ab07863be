"""Final renderings made ahead by other processes are those that issuing would make."""

from pathlib import Path

import pytest

from billing_assets.core.errors import BillingError
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.invoicing import finalise
from billing_assets.invoicing.document import Document
from billing_assets.invoicing.parallel import WORTH, render_ahead
from billing_assets.invoicing.renderings import render
from billing_assets.invoicing.run import approve_and_issue
from tests.support.issued_home import ISSUED, NOW, draft_cycle, load, reference_files

NAMES = [f"P{number:02d}" for number in range(WORTH)]


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    opened = Installation.open(Settings(home=tmp_path / "home", user="ana"))
    load(opened, reference_files([{"partner": name} for name in NAMES]))
    for name in NAMES:
        draft_cycle(opened, name)
    return opened


def test_documents_are_issued_from_renderings_made_ahead(
    home: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    cycles = [f"{name}/2026-03" for name in NAMES]
    ahead = render_ahead(home, cycles, ISSUED)
    assert len(ahead) == len(NAMES)

    def late(*_: object, **__: object) -> dict[str, bytes]:
        raise BillingError("rendered again")

    with monkeypatch.context() as patched:
        patched.setattr(finalise, "render", late)
        for cycle in cycles:
            approve_and_issue(
                home, cycle, approver="x", issue_date=ISSUED, now=NOW, who="b", ahead=ahead
            )
    for number, cycle in enumerate(cycles, start=1):
        [stored] = home.registry.documents.of_cycle(cycle)
        assert stored.number == number
        kept = {name: home.blobs.get(file.sha256) for name, file in stored.files.items()}
        assert kept == render(Document.model_validate_json(kept["json"]), home.templates)


def test_a_wrong_guess_of_a_number_is_rendered_again(home: Installation) -> None:
    cycles = [f"{name}/2026-03" for name in NAMES]
    ahead = render_ahead(home, cycles, ISSUED)
    for cycle in reversed(cycles):
        approve_and_issue(
            home, cycle, approver="x", issue_date=ISSUED, now=NOW, who="b", ahead=ahead
        )
    for number, cycle in enumerate(reversed(cycles), start=1):
        [stored] = home.registry.documents.of_cycle(cycle)
        assert stored.number == number
        assert stored.number_text.encode() in home.blobs.get(stored.files["xml"].sha256)
