"""Summary and records in one PDF: the annex holds what the itemised CSV holds, or nothing."""

import io
from decimal import Decimal
from pathlib import Path

import pytest
from pypdf import PdfReader

from billing_assets.core.settings import PROJECT_ROOT
from billing_assets.installation import Installation
from billing_assets.invoicing.annex import annex_of
from billing_assets.invoicing.finalise import revised
from billing_assets.invoicing.itemised import ITEMISED_COLUMNS
from billing_assets.invoicing.pdf import render_pdf
from tests.support.billing_home import issue, open_home, run, use
from tests.support.invoicing_cases import document
from tests.test_invoicing_adjusting import TENTH, WEEK, of_day

TEMPLATES = PROJECT_ROOT / "templates"


def csv_of(records: int) -> bytes:
    """An itemised CSV of so many calls of a minute."""
    row = {
        **dict.fromkeys(ITEMISED_COLUMNS, ""),
        "time_local": "2026-03-10T12:30:00+00:00",
        "a_number": "35191234****",
        "b_number": "44770090****",
        "destination": "#panic[UK, Mobile]",
        "duration_s": "60.125",
        "rate": "0.0123",
        "amount": "0.0125",
    }
    quoted = ",".join(f'"{value}"' if "," in value else value for value in row.values())
    return "\r\n".join([",".join(ITEMISED_COLUMNS), *[quoted] * records, ""]).encode()


def pages_of(pdf: bytes) -> list[str]:
    return [page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages]


def test_records_are_printed_in_the_language_of_the_document() -> None:
    made = revised(document(), annex_records=100, language="de")
    annex = annex_of(made, csv_of(100))
    assert annex is not None and annex.count("\n") == 100
    pages = pages_of(render_pdf(made, TEMPLATES, annex=annex))
    text = " ".join(pages)
    assert text.count("2026-03-10 12:30:00") == 100
    assert "Einzelnachweis" in text and "60,125" in text and "0,0125" in text
    # data is never markup
    assert "#panic[UK, Mobile]" in text
    assert sum("Sekunden" in page for page in pages) == 2, "the header comes on every page"


@pytest.mark.parametrize(("limit", "records"), [(0, 5), (4, 5), (5, 0)])
def test_no_annex_where_none_is_wanted_or_there_are_too_many(limit: int, records: int) -> None:
    assert annex_of(revised(document(), annex_records=limit), csv_of(records)) is None
    assert annex_of(revised(document(), annex_records=5), None) is None


def test_an_issued_invoice_has_the_annex_of_its_partner(tmp_path: Path) -> None:
    terms = {"partners/P03.yaml": {"document:\n": "document:\n  annex_records: 50\n"}}
    home: Installation = open_home(tmp_path, terms)
    use(home, of_day(TENTH, 40))
    run(home, WEEK)
    (stored,) = issue(home, WEEK)
    assert stored.net == Decimal("0.24")
    text = " ".join(pages_of(home.blobs.get(stored.files["pdf"].sha256)))
    assert "Einzelnachweis" in text or "Itemised records" in text
    assert text.count("0,006") + text.count("0.006") >= 40


@pytest.mark.slow
def test_two_hundred_pages_of_records() -> None:
    made = revised(document(), annex_records=20_000)
    annex = annex_of(made, csv_of(17_000))
    pdf = render_pdf(made, TEMPLATES, annex=annex)
    assert len(PdfReader(io.BytesIO(pdf)).pages) >= 200
