import io
import json
import os
import re
import subprocess
import sys
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
import yaml
from pypdf import PdfReader

from billing_assets.core.errors import BillingError, NotFound
from billing_assets.core.settings import PROJECT_ROOT
from billing_assets.invoicing.document import Corrected, Document, Kind, References
from billing_assets.invoicing.finalise import revised
from billing_assets.invoicing.layout import render_layout, template_hash, typst_literal
from billing_assets.invoicing.pdf import render_pdf, render_statement_pdf
from billing_assets.invoicing.statement import Entry, Statement
from billing_assets.invoicing.ubl import render_ubl
from billing_assets.reference.models import Bank
from tests.support.invoicing_cases import ISSUE_DATE, charge, document, partner, recurring

TEMPLATES = PROJECT_ROOT / "templates"
HOSTILE = '#panic("no") *b* [x] $ @ref \\ "q"'


def text_of(pdf: bytes) -> str:
    """The text of all pages, blanks and breaks as single blanks."""
    pages = PdfReader(io.BytesIO(pdf)).pages
    return " ".join(" ".join(page.extract_text() for page in pages).split())


def printed(made: Document, templates: Path = TEMPLATES) -> str:
    return text_of(render_pdf(made, templates))


def boxes(pdf: bytes) -> list[tuple[str, tuple[float, ...]]]:
    """The figures on the pages, each with its left, bottom and right edge in points."""
    found = []
    with pypdfium2.PdfDocument(pdf) as read:
        for page in read:
            text = page.get_textpage()
            whole = text.get_text_range()
            for match in re.finditer(r"[0-9][0-9.,]*", whole):
                edges = [text.get_charbox(n, loose=True) for n in range(*match.span())]
                found.append((match[0], (edges[0][0], edges[0][1], edges[-1][2])))
    return found


@pytest.fixture
def brand(tmp_path: Path) -> Path:
    """A templates folder with the default layout and an empty folder `brand`."""
    (tmp_path / "default").symlink_to(TEMPLATES / "default")
    (tmp_path / "brand").mkdir()
    return tmp_path


def test_an_invoice_says_what_an_invoice_must_say() -> None:
    made = revised(
        document(to=partner(purchase_order="PO-4711"), notes=["Rates of 20 February"]),
        number="FT 2026/000001",
    )
    text = printed(made)
    for said in (
        "Invoice FT 2026/000001",
        "Farolink Carrier Services, S.A.",
        "Polar Reseller, Lda",
        "PT509999990",
        "PT501234560",
        "3 Apr 2026",
        "3 May 2026 (Net 30 days)",
        "1 Mar 2026 – 31 Mar 2026",  # noqa: RUF001 - as typeset
        "Europe/Lisbon",
        "P14-VOICE@1",
        "PO-4711",
        "1,000.00 0.0060 6.00",
        "Total due EUR 118.08",
        "PT50 0002 0123 1234 5678 9015 4",
        "Rates of 20 February",
        "2 x 45.00 for the whole month = 90.00",
        "Page 1 of",
    ):
        assert said in text, said
    assert "DRAFT" not in text


def test_a_draft_says_so_and_bears_no_number() -> None:
    text = printed(document())
    assert "Invoice DRAFT" in text
    assert "It has no number" in text


def test_reverse_charge_prints_its_legend() -> None:
    assert "Art. 196 of Directive 2006/112/EC" in printed(document(to=partner("AE")))


@pytest.mark.parametrize(
    ("language", "title", "amount"),
    [
        ("en", "Invoice", "12,345.60"),
        ("pt", "Fatura", "12 345,60"),
        ("de", "Rechnung", "12.345,60"),
        ("es", "Factura", "12.345,60"),
        ("fr", "Facture", "12 345,60"),
    ],
)
def test_words_dates_and_figures_are_in_the_partners_language(
    language: str, title: str, amount: str
) -> None:
    made = document(
        [charge("A", "1000", "12.3456", "12345.60")], to=partner("AE", language=language)
    )
    text = printed(made)
    assert title in text
    assert amount in text


def test_every_language_has_every_word() -> None:
    words = yaml.safe_load((TEMPLATES / "default" / "words.yaml").read_text("utf-8"))
    for language in words.values():
        assert language.keys() == words["en"].keys()
        for name, value in words["en"].items():
            if isinstance(value, dict):
                assert language[name].keys() == value.keys(), name


def test_an_unknown_language_is_refused_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match=r"'xx'"):
        printed(document(to=partner(language="xx")))
    with pytest.raises(NotFound, match=r"no words for 'it'.*en, pt, de, es, fr"):
        printed(document(to=partner(language="it")))


def test_the_same_document_gives_the_same_bytes_in_another_process() -> None:
    made = document()
    first = render_pdf(made, TEMPLATES, render_ubl(made))
    assert render_pdf(made, TEMPLATES, render_ubl(made)) == first
    program = (
        "import hashlib\n"
        "from tests.support.invoicing_cases import document\n"
        "from tests.test_invoicing_pdf import TEMPLATES\n"
        "from billing_assets.invoicing.pdf import render_pdf\n"
        "from billing_assets.invoicing.ubl import render_ubl\n"
        "made = document()\n"
        "print(render_pdf(made, TEMPLATES, render_ubl(made)).hex())"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT_ROOT,
        env={**os.environ, "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert bytes.fromhex(elsewhere.stdout) == first


def test_the_pdf_is_archival_accessible_and_carries_its_xml() -> None:
    made = document()
    xml = render_ubl(made)
    reader = PdfReader(io.BytesIO(render_pdf(made, TEMPLATES, xml)))
    assert reader.attachments["invoice.xml"] == [xml]
    catalogue: Any = reader.root_object
    metadata = catalogue["/Metadata"].get_object().get_data().decode()
    assert "<pdfaid:part>3</pdfaid:part>" in metadata
    assert "<pdfaid:conformance>A</pdfaid:conformance>" in metadata
    assert "<pdfuaid:part>1</pdfuaid:part>" in metadata
    assert catalogue["/Lang"] == "en"


def test_only_our_font_is_in_the_file() -> None:
    reader = PdfReader(io.BytesIO(render_pdf(document(), TEMPLATES)))
    resources: list[Any] = [page["/Resources"] for page in reader.pages]
    fonts = [font.get_object() for one in resources for font in one["/Font"].values()]
    embedded = {str(font["/BaseFont"]) for font in fonts}
    assert embedded
    assert all("IBMPlexSans" in name for name in embedded)


def test_markup_in_any_value_appears_as_it_was_written() -> None:
    made = document(
        [charge(HOSTILE), recurring(HOSTILE)],
        to=partner(name=HOSTILE, purchase_order=HOSTILE),
        notes=[HOSTILE],
    )
    # in order: addressee, order, note, usage line, fee line, derivation
    assert printed(made).count(HOSTILE) == 6


@pytest.mark.parametrize("text", [HOSTILE, 'a"b', "\\u{22}", "#{}", "`x`", "//", "a\nb", "<x>"])
def test_a_literal_holds_nothing_but_letters_digits_blanks_and_escapes(text: str) -> None:
    body = typst_literal(text)[1:-1]
    for character in set(text) - {" "}:
        if not character.isalnum():
            assert f"\\u{{{ord(character):x}}}" in body
    assert '"' not in body


def test_a_text_that_the_font_cannot_show_is_refused_by_name() -> None:
    made = document(to=partner(name="Zenko 電話 K.K."))
    with pytest.raises(
        BillingError, match=r"no font has a glyph for '電話' in 'Zenko 電話 K\.K\.'"
    ):
        render_pdf(made, TEMPLATES)


def test_a_brand_overrides_a_block_and_keeps_the_rest(brand: Path) -> None:
    (brand / "brand" / "invoice.typ.j2").write_text(
        '<% extends "default/invoice.typ.j2" %>\n'
        "<% block notes %>== Late\nThen << document.seller.name >> is sad.<% endblock %>\n"
    )
    text = printed(document(to=partner(template="brand"), notes=["gone"]), brand)
    assert "Then Farolink Carrier Services, S.A. is sad." in text
    assert "gone" not in text
    assert "Total due EUR 118.08" in text


@pytest.mark.parametrize("kind", [Kind.PRO_FORMA, Kind.DECLARATION])
def test_what_goes_before_an_invoice_wears_the_same_brand(brand: Path, kind: Kind) -> None:
    (brand / "brand" / "invoice.typ.j2").write_text(
        '<% extends "default/invoice.typ.j2" %>\n'
        "<% block letterhead %>\n= Ours alone\n<% endblock %>"
    )
    made = revised(document(to=partner(template="brand")), kind=kind, number=None)
    text = printed(made, brand)
    assert "Ours alone" in text
    assert "IBAN" not in text and "DRAFT" not in text


def test_a_block_may_add_to_the_one_it_overrides(brand: Path) -> None:
    (brand / "brand" / "invoice.typ.j2").write_text(
        '<% extends "default/invoice.typ.j2" %>\n'
        "<% block notes %><< super() >>\nAnd << document.buyer.id >>.<% endblock %>\n"
    )
    text = printed(document(to=partner(template="brand"), notes=["Kept"]), brand)
    assert "Kept And P14." in text


def test_a_field_that_no_document_has_is_named_with_its_place(brand: Path) -> None:
    (brand / "brand" / "invoice.typ.j2").write_text(
        '<% extends "default/invoice.typ.j2" %>\n'
        "<% block notes %>\n<< document.seler >>\n<% endblock %>\n"
    )
    with pytest.raises(BillingError, match=r"brand/invoice.typ.j2:3: .*'seler'"):
        render_layout(document(to=partner(template="brand")), brand)


def test_a_layout_that_typst_refuses_is_told_with_typsts_own_words(brand: Path) -> None:
    (brand / "brand" / "invoice.typ.j2").write_text(
        '<% extends "default/invoice.typ.j2" %>\n<% block notes %>#colour<% endblock %>\n'
    )
    with pytest.raises(BillingError, match=r"unknown variable: colour"):
        render_pdf(document(to=partner(template="brand")), brand)


def test_a_layout_folder_that_is_not_there_is_refused() -> None:
    with pytest.raises(NotFound, match="nowhere"):
        printed(document(to=partner(template="nowhere")))


def test_a_template_reaches_nothing_but_the_document(brand: Path) -> None:
    (brand / "brand" / "invoice.typ.j2").write_text("<< ''.__class__.__mro__ >>")
    with pytest.raises(BillingError, match="unsafe"):
        render_layout(document(to=partner(template="brand")), brand)


@pytest.mark.parametrize("name", ["safe", "e", "tojson"])
def test_no_filter_lets_data_become_markup(brand: Path, name: str) -> None:
    (brand / "brand" / "invoice.typ.j2").write_text(f"\n<< document.number | {name} >>")
    with pytest.raises(BillingError, match=rf"brand/invoice.typ.j2:2: No filter named '{name}'"):
        render_layout(document(to=partner(template="brand")), brand)


def test_the_layouts_hash_follows_its_files(brand: Path) -> None:
    before = template_hash(brand, "brand")
    assert template_hash(TEMPLATES, "default") == template_hash(brand, "default")
    (brand / "brand" / "invoice.typ.j2").write_text("x")
    assert template_hash(brand, "brand") != before


def test_a_long_invoice_repeats_its_table_head_on_every_page() -> None:
    made = document([charge(f"Destination {n:03}") for n in range(150)])
    reader = PdfReader(io.BytesIO(render_pdf(made, TEMPLATES)))
    pages = [" ".join(page.extract_text().split()) for page in reader.pages]
    assert len(pages) > 3
    assert all("Destination Calls Minutes Price" in page for page in pages)
    assert all(f"Page {n} of {len(pages)}" in page for n, page in enumerate(pages, start=1))


def test_every_step_of_a_derivation_is_printed_however_many_there_are() -> None:
    names = [str(7000 + n) for n in range(150)]
    steps = json.dumps([f"step {name} of many" for name in names])
    made = document([charge(kind="tier", section="tier", steps=steps)])
    # above the foot of the page, which is 23 mm high
    shown = {text for text, (_, bottom, _) in boxes(render_pdf(made, TEMPLATES)) if bottom > 65}
    assert set(names) <= shown


def require_beside(pdf: bytes, *rows: tuple[str, ...]) -> None:
    """Figures of a row stand in one line, each ending before the next begins."""
    words = boxes(pdf)
    for left, right in (pair for row in rows for pair in pairwise(row)):
        beside = [
            (a, b)
            for text, a in words
            for other, b in words
            if (text, other) == (left, right) and abs(a[1] - b[1]) < 1 and a[0] < b[0]
        ]
        assert beside, (left, right)
        assert all(a[2] < b[0] for a, b in beside), (left, right)


def test_wide_figures_stand_beside_each_other() -> None:
    made = document([charge("Java", "123456789012.34", "0.0123456789", "999999999999.99")])
    require_beside(
        render_pdf(made, TEMPLATES),
        ("380", "123,456,789,012.34", "0.0123456789", "999,999,999,999.99"),
        ("999,999,999,999.99", "230,000,000,000.00"),
    )


def test_wide_figures_of_a_statement_stand_beside_each_other() -> None:
    made, zero, much = document(), Decimal("0.00"), Decimal("9999999999.99")
    entry = Entry(
        issue_date=ISSUE_DATE,
        number="FT 2026/000001",
        kind=Kind.INVOICE,
        due_date=ISSUE_DATE,
        debit=much,
        credit=much,
        balance=-much,
    )
    statement = Statement(
        seller=made.seller,
        buyer=made.buyer,
        currency="EUR",
        language="en",
        template_name="default",
        issue_date=ISSUE_DATE,
        period=made.period,
        opening=zero,
        entries=(entry,),
        closing=-much,
    )
    pdf = render_statement_pdf(statement, TEMPLATES)
    require_beside(pdf, ("9,999,999,999.99", "9,999,999,999.99", "9,999,999,999.99"))


def test_an_invoice_that_comes_to_a_credit_asks_for_no_payment() -> None:
    text = printed(document([charge(amount="-6.00")]))
    assert "an amount below zero is in the customer" in text
    assert "PT50 0002" not in text and "Reference to quote" not in text


def test_a_cost_statement_asks_for_no_payment() -> None:
    text = printed(document([charge(leg="supplier")]))
    assert "Cost statement P14/2026-03" in text
    assert "IBAN" not in text
    assert "DRAFT" not in text


NOTE = {
    "references": References(corrects=Corrected(number="FT 2026/000001", issue_date=ISSUE_DATE)),
    "notes": ("Goodwill",),
}


def test_a_credit_note_credits_and_asks_for_no_payment() -> None:
    made = document([charge(kind="correction", records=0, answered=0, steps='["Goodwill"]')])
    text = printed(revised(made, kind=Kind.CREDIT_NOTE, number="NC 2026/000001", **NOTE))
    assert "Credit note NC 2026/000001" in text
    assert "Corrects FT 2026/000001" in text
    assert "Total credited EUR 7.38" in text
    assert "asks for no payment" in text
    assert [word for word in ("IBAN", "Due date", "Total due", "Records") if word in text] == []
    assert text.count("Goodwill") == 1


def test_a_debit_note_asks_for_its_payment() -> None:
    made = revised(document(), kind=Kind.DEBIT_NOTE, number="ND 2026/000001", **NOTE)
    text = printed(made)
    assert all(word in text for word in ("Debit note ND 2026/000001", "IBAN", "Total due"))


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        (Kind.CREDIT_NOTE, "Self-billed credit note AF 2026/000002"),
        (Kind.SELF_BILLED, "Self-billed debit note AF 2026/000002"),
    ],
)
def test_a_note_to_a_self_billed_invoice_says_that_it_is_one(kind: Kind, title: str) -> None:
    bank = Bank(beneficiary="Polar", iban="PT50000201231234567890154", bic="FARLPTPL")
    to = partner("AE", self_billing=True).model_copy(update={"bank": bank})
    made = revised(document([charge(leg="supplier")], to=to), kind=kind, number="AF 2026/000002")
    assert title in printed(revised(made, **NOTE))


@pytest.mark.parametrize("language", ["en", "pt", "de", "es", "fr"])
def test_every_section_and_unit_of_a_charge_has_its_word(language: str) -> None:
    words = yaml.safe_load((TEMPLATES / "default" / "words.yaml").read_text("utf-8"))[language]
    assert {"volume", "shortfall", "capacity", "one_time", "share"} <= words["sections"].keys()
    units = {"minute", "call", "message", "mb", "mbps", "month", "period", "unit", "event"}
    assert units <= words["units"].keys() & words["unit_titles"].keys()
