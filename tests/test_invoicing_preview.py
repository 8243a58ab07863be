"""Previews, pro formas and usage declarations, through the command line."""

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from pypdf import PdfReader
from typer.testing import CliRunner

from billing_assets.cli.main import app
from billing_assets.core.errors import BillingError, NotFound
from billing_assets.core.settings import PROJECT_ROOT
from billing_assets.installation import Installation
from billing_assets.invoicing.pdf import render_pdf
from billing_assets.lake.tables import CHARGE
from tests.support.billing_home import issue, open_home, run, use
from tests.support.invoicing_cases import document, partner

GEORGIAN = "სატელეფონო კომპანია"
DEJAVU = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """P02 with usage of 60.00 regulated and 90.00 transit in March, and nothing run yet."""
    made = open_home(tmp_path)
    day = {"partner": "P02", "local_day": date(2026, 3, 10)}
    use(
        made,
        {**day, "agreement": "P02-FTR-IN@1", "records": 10_000, "destination": "Portugal"},
        {**day, "agreement": "P02-TRANSIT@1", "records": 15_000, "band": "peak"},
    )
    monkeypatch.setenv("ICB_HOME", str(tmp_path))
    yield made


def icb(*words: str) -> list[Path]:
    """The files that a command names; a failure is raised as the command line would tell it."""
    answer = CliRunner().invoke(app, list(words))
    if answer.exception and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    assert answer.exit_code == 0, answer.output
    return [Path(line) for line in answer.output.splitlines()]


def text(path: Path) -> str:
    return " ".join(" ".join(page.extract_text() for page in PdfReader(path).pages).split())


def test_a_preview_is_a_pdf_and_its_pages_as_pictures_and_stores_nothing(
    home: Installation,
) -> None:
    files = icb("invoice", "preview", "P02/2026-03")
    pdfs = [path for path in files if path.suffix == ".pdf"]
    assert ["regulated" in path.name for path in pdfs] == [True, False]
    assert "DRAFT" in text(pdfs[0]) and "60.00" in text(pdfs[0])
    pictures = [path for path in files if path.suffix == ".png"]
    assert len(pictures) == sum(len(PdfReader(path).pages) for path in pdfs)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    assert home.registry.cycles.list() == []
    assert home.lake.scan(CHARGE).collect().is_empty()


def test_a_preview_of_a_final_cycle_shows_what_was_issued(home: Installation) -> None:
    run(home, "P02/2026-03")
    numbers = [document.number_text for document in issue(home, "P02/2026-03")]
    files = icb("invoice", "preview", "P02/2026-03")
    shown = [text(path) for path in files if path.suffix == ".pdf"]
    assert all(number in words for number, words in zip(numbers, shown, strict=True))


def test_a_partner_alone_means_its_open_cycle(home: Installation) -> None:
    run(home, "P02/2026-03")
    assert all("P02/2026-03" in str(path) for path in icb("invoice", "preview", "P02"))
    with pytest.raises(NotFound, match="billed ad hoc and has no open cycle"):
        icb("invoice", "preview", "P14")
    with pytest.raises(NotFound, match="nothing to show"):
        icb("invoice", "preview", "P01/2026-03")


@pytest.mark.usefixtures("home")
def test_a_pro_forma_asks_for_nothing_and_a_declaration_says_no_money(tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "out"))
    pro_forma = text(icb("invoice", "pro-forma", "P02/2026-03", *out)[0])
    assert "Pro forma invoice P02/2026-03" in pro_forma and "60.00" in pro_forma
    assert "IBAN" not in pro_forma and "DRAFT" not in pro_forma
    declared = text(icb("invoice", "declaration", "P02/2026-03", *out)[0])
    assert "Usage declaration P02/2026-03" in declared
    assert "10,000" in declared and "10,000.00" in declared
    assert "60.00" not in declared and "EUR" not in declared.replace("Currency EUR", "")


def test_a_script_without_a_font_is_refused_by_name_and_works_with_one(tmp_path: Path) -> None:
    templates = tmp_path / "templates"
    shutil.copytree(PROJECT_ROOT / "templates", templates)
    made = document(to=partner(name=GEORGIAN))
    with pytest.raises(BillingError, match=GEORGIAN) as refused:
        render_pdf(made, templates)
    assert "fonts/" in refused.value.hint
    if not DEJAVU.is_file():
        pytest.skip("no font of another script on this machine")
    (templates / "fonts").mkdir()
    shutil.copy(DEJAVU, templates / "fonts")
    other = tmp_path / "with-font"
    templates.rename(other)
    (tmp_path / "out.pdf").write_bytes(render_pdf(made, other))
    assert GEORGIAN in text(tmp_path / "out.pdf")
