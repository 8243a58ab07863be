"""What partners and ledgers read besides the invoice: journals, bills, workbooks, texts."""

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import facturx
import openpyxl
import pikepdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from billing_assets.core.errors import BillingError, NotFound
from billing_assets.core.settings import PROJECT_ROOT
from billing_assets.invoicing.agreement import agreement
from billing_assets.invoicing.cii import render_cii
from billing_assets.invoicing.document import Document, Kind
from billing_assets.invoicing.finalise import revised
from billing_assets.invoicing.journal import Entry, Journal, journal_of
from billing_assets.invoicing.renderings import render
from billing_assets.reference.ledger import Ledger
from billing_assets.reference.models import Leg
from tests.support.cii_rules import broken_rules
from tests.support.invoicing_cases import charge, document, partner, recurring

TEMPLATES = PROJECT_ROOT / "templates"

LEDGER = Ledger.model_validate(
    {
        "ledger": "GL",
        "receivable": "2111",
        "payable": "2211",
        "output_tax": "2433",
        "input_tax": "2432",
        "rules": [
            {"leg": "supplier", "account": "6221"},
            {"section": "usage", "service": "voice", "account": "7211", "cost_center": "CC-VOICE"},
            {"section": "recurring", "account": "7219"},
        ],
        "exports": ["csv", "xml", "json", "oracle", "netsuite", "sap"],
        "oracle": {"ledger_id": "300000001", "segments": ["01", "{account}", "{partner}"]},
        "netsuite": {"subsidiary": "Farolink"},
        "sap": {"company_code": "1000", "tax_codes": {"S 0.23": "A1", "AE": "A0"}},
    }
)


def numbered(made: Document, **changes: Any) -> Document:
    return revised(made, number="FT 2026/000007", **changes)


def posted(made: Document) -> list[tuple[str, Decimal, Decimal]]:
    return [(e.account, e.debit, e.credit) for e in journal_of(made, LEDGER).entries]


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_an_invoice_debits_the_partner_and_credits_revenue_and_tax() -> None:
    # 6.00 of traffic and 90.00 of fees at 23 %: 22.08 of tax
    zero = Decimal("0.00")
    assert posted(numbered(document())) == [
        ("2111", Decimal("118.08"), zero),
        ("7211", zero, Decimal("6.00")),
        ("7219", zero, Decimal("90.00")),
        ("2433", zero, Decimal("22.08")),
    ]


def test_a_credit_note_turns_the_sides_around() -> None:
    zero = Decimal("0.00")
    assert posted(numbered(document(), kind=Kind.CREDIT_NOTE)) == [
        ("2111", zero, Decimal("118.08")),
        ("7211", Decimal("6.00"), zero),
        ("7219", Decimal("90.00"), zero),
        ("2433", Decimal("22.08"), zero),
    ]


def test_a_self_billed_document_debits_cost_and_input_tax_and_credits_the_partner() -> None:
    zero = Decimal("0.00")
    made = document()
    swapped = {"seller": made.buyer.model_dump(), "buyer": made.seller.model_dump()}
    made = numbered(made, kind=Kind.SELF_BILLED, leg=Leg.SUPPLIER, **swapped)
    assert posted(made) == [
        ("2211", zero, Decimal("118.08")),
        ("6221", Decimal("96.00"), zero),
        ("2432", Decimal("22.08"), zero),
    ]
    assert {entry.partner for entry in journal_of(made, LEDGER).entries} == {"P14"}


def test_a_line_below_zero_changes_its_side_and_no_figure_is_negative() -> None:
    made = document([charge(), recurring(), charge("Rebate", "-100", "0.01", "-1.00")])
    entries = journal_of(numbered(made), LEDGER).entries
    assert all(entry.debit >= 0 and entry.credit >= 0 for entry in entries)
    assert ("7211", Decimal("0.00"), Decimal("5.00")) in posted(numbered(made))


def test_a_line_without_an_account_is_refused_by_name() -> None:
    made = numbered(document([charge(service="data")]))
    with pytest.raises(BillingError, match=r"line 1 .*service data.*ledger\.yaml"):
        journal_of(made, LEDGER)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(-10_000_000, 10_000_000).filter(bool), min_size=1, max_size=8),
    st.sampled_from(["S", "AE", "G"]),
    st.sampled_from(["EUR", "JPY", "KWD"]),
)
def test_every_journal_balances(units: list[int], tax: str, currency: str) -> None:
    places = {"EUR": 2, "JPY": 0, "KWD": 3}[currency]
    made = [
        charge(f"Line {n}", str(unit), None, str(Decimal(unit).scaleb(-places)))
        for n, unit in enumerate(units)
    ]
    one = numbered(document(made, to=partner(tax, currency)))
    entries = journal_of(one, LEDGER).entries
    assert sum(e.debit for e in entries) == sum(e.credit for e in entries)
    signed = sum(e.debit - e.credit for e in entries if e.account == "2111")
    assert signed == one.totals.gross


def test_a_journal_that_does_not_balance_cannot_be_made() -> None:
    entry = Entry(1, "1", "", "P", "", Decimal(1), Decimal(0), "", None)
    with pytest.raises(BillingError, match="debits 1 are not credits 0"):
        Journal("FT 1", "invoice", "", "", "EUR", "P", "", "", (entry,))


def test_the_three_neutral_forms_and_the_three_uploads_say_the_same() -> None:
    files = render(numbered(document()), TEMPLATES, ledger=LEDGER, home_currency="EUR")
    neutral = [(r["account"], r["debit"], r["credit"]) for r in rows(files["journal-csv"])]
    content = json.loads(files["journal-json"])
    assert [(e["account"], e["debit"], e["credit"]) for e in content["entries"]] == neutral
    space = {"j": "urn:interconnect-billing:journal:1"}
    root = etree.fromstring(files["journal-xml"])
    found = [
        tuple(entry.findtext(f"j:{name}", "", space) for name in ("account", "debit", "credit"))
        for entry in root.findall("j:entry", space)
    ]
    assert found == neutral
    shown = [
        (account, d.replace("0.00", "") if d == "0.00" else d, c if c != "0.00" else "")
        for account, d, c in neutral
    ]
    oracle = rows(files["journal-oracle"])
    assert [(r["SEGMENT2"], r["ENTERED_DR"], r["ENTERED_CR"]) for r in oracle] == shown
    assert {(r["STATUS"], r["ACTUAL_FLAG"], r["LEDGER_ID"]) for r in oracle} == {
        ("NEW", "A", "300000001")
    }
    line = "Journal Entry - Line: "
    netsuite = rows(files["journal-netsuite"])
    assert [(r[line + "Account"], r[line + "Debit"], r[line + "Credit"]) for r in netsuite] == shown
    assert {r["External ID"] for r in netsuite} == {"FT 2026/000007"}
    sap = rows(files["journal-sap"])
    assert [(r["HKONT"], r["WRSOL"], r["WRHAB"]) for r in sap] == shown
    assert [r["MWSKZ"] for r in sap] == ["", "A1", "A1", "A1"]


def test_the_uploads_tell_a_purchase_from_a_sale() -> None:
    made = document()
    swapped = {"seller": made.buyer.model_dump(), "buyer": made.seller.model_dump()}
    bought = {"leg": Leg.SUPPLIER, **swapped}
    sap = LEDGER.sap
    assert sap is not None
    types = {"document_type": "DR", "purchase_document_type": "KR"}
    ledger = LEDGER.model_copy(update={"sap": sap.model_copy(update=types)})
    for kind, changes, category, document_type in (
        (Kind.INVOICE, {}, "Sales Invoices", "DR"),
        (Kind.CREDIT_NOTE, {}, "Sales Invoices", "DR"),
        (Kind.SELF_BILLED, bought, "Purchase Invoices", "KR"),
        (Kind.CREDIT_NOTE, bought, "Purchase Invoices", "KR"),
    ):
        files = render(numbered(made, kind=kind, **changes), TEMPLATES, ledger=ledger)
        oracle, items = rows(files["journal-oracle"]), rows(files["journal-sap"])
        assert {row["USER_JE_CATEGORY_NAME"] for row in oracle} == {category}
        assert {row["BLART"] for row in items} == {document_type}


def test_a_draft_has_no_journal() -> None:
    assert not [f for f in render(document(), TEMPLATES, ledger=LEDGER) if "journal" in f]


def test_a_foreign_currency_is_left_to_oracle_to_convert() -> None:
    made = numbered(document(to=partner(currency="USD")))
    files = render(made, TEMPLATES, ledger=LEDGER, home_currency="EUR")
    for row in rows(files["journal-oracle"]):
        assert row["USER_CURRENCY_CONVERSION_TYPE"] == "Corporate"
        assert row["ACCOUNTED_DR"] == row["ACCOUNTED_CR"] == ""


def test_the_bill_has_the_shape_and_the_exact_figures_of_tmf678() -> None:
    made = numbered(document(to=partner(formats=("customer-bill",))))
    content = render(made, TEMPLATES)["customer-bill"]
    bill = json.loads(content, parse_float=Decimal)
    assert bill["@type"] == "CustomerBill"
    assert (bill["billNo"], bill["category"], bill["state"]) == (
        "FT 2026/000007",
        "normal",
        "generated",
    )
    assert bill["taxIncludedAmount"] == {"unit": "EUR", "value": Decimal("118.08")}
    rates = bill["appliedCustomerBillingRate"]
    assert sum(r["taxExcludedAmount"]["value"] for r in rates) == Decimal("96.00")
    assert b'"value": 118.08' in content


def test_a_text_that_looks_like_money_stays_text_in_the_bill() -> None:
    trap = '"unit": "EUR", "value": "1"'
    made = document([charge(trap)], to=partner(formats=("customer-bill",)))
    bill = json.loads(render(made, TEMPLATES)["customer-bill"])
    assert bill["appliedCustomerBillingRate"][0]["name"] == trap


def test_the_workbook_holds_figures_as_numbers_and_no_formula() -> None:
    to = partner(name="=cmd|calc", formats=("xlsx",))
    made = numbered(document([charge("=1+1", "1000", "0.0060", "6.00"), recurring()], to=to))
    content = render(made, TEMPLATES)["xlsx"]
    assert render(made, TEMPLATES)["xlsx"] == content
    book = openpyxl.load_workbook(io.BytesIO(content))
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row]
    assert not [cell for cell in cells if cell.data_type == "f"]
    lines = list(book["Lines"].iter_rows(values_only=True))
    amount = lines[0].index("amount")
    assert [row[amount] for row in lines[1:]] == [6, 90]


def test_the_workbook_shows_every_figure_to_its_last_digit() -> None:
    amounts = ["0.10", "0.29", "1.15", "99999999999.99", "1234567890123.45", "98765432109876.54"]
    rows = [charge(f"Line {amount}", "1", amount, amount) for amount in amounts]
    made = numbered(document(rows, to=partner(formats=("xlsx",))))
    book = openpyxl.load_workbook(io.BytesIO(render(made, TEMPLATES)["xlsx"]))
    lines = list(book["Lines"].iter_rows(values_only=True))
    place = lines[0].index("amount")
    shown = {row[lines[0].index("description")]: row[place] for row in lines[1:]}
    # a spreadsheet keeps fifteen digits of a number; a figure of more is a text
    for amount in amounts[:-1]:
        assert f"{shown[f'Line {amount}']:.15g}" == f"{Decimal(amount).normalize():f}"
    assert shown[f"Line {amounts[-1]}"] == amounts[-1]


def test_a_factur_x_is_valid_and_carries_the_documents_totals() -> None:
    made = numbered(document(to=partner(formats=("factur-x",))))
    content = render(made, TEMPLATES)["factur-x"]
    assert render(made, TEMPLATES)["factur-x"] == content
    name, xml = facturx.get_xml_from_pdf(content)
    assert name == "factur-x.xml"
    assert isinstance(xml, bytes)
    assert b"<ram:GrandTotalAmount>118.08</ram:GrandTotalAmount>" in xml
    with pikepdf.open(io.BytesIO(content)) as opened:
        metadata = opened.Root.Metadata.read_bytes().decode()
        assert str(opened.Root.AF[0].AFRelationship) == "/Alternative"
    etree.fromstring(metadata.encode())
    assert "<fx:ConformanceLevel>EN 16931</fx:ConformanceLevel>" in metadata
    assert "<pdfaid:part>3</pdfaid:part>" in metadata or 'pdfaid:part="3"' in metadata


@pytest.mark.parametrize("tax", ["S", "AE", "G", "E", "O"])
def test_the_cii_of_every_tax_position_keeps_the_rules(tax: str) -> None:
    lines = [charge(amount="6.01"), recurring(), charge("Rebate", "-100", "0.01", "-1.00")]
    assert broken_rules(render_cii(numbered(document(lines, to=partner(tax))))) == []


def test_the_sheet_that_proves_the_cii_finds_a_wrong_total() -> None:
    xml = render_cii(numbered(document()))
    wrong = xml.replace(b"<ram:GrandTotalAmount>118.08", b"<ram:GrandTotalAmount>118.09")
    assert any("BR-CO-15" in rule for rule in broken_rules(wrong))


def test_a_credit_note_in_cii_names_its_original() -> None:
    made = numbered(document(), kind=Kind.CREDIT_NOTE)
    original = {"number": "FT 2026/000001", "issue_date": "2026-04-03"}
    references = {**made.references.model_dump(), "corrects": original}
    xml = render_cii(revised(made, references=references))
    assert broken_rules(xml) == []
    assert b"<ram:IssuerAssignedID>FT 2026/000001<" in xml


def test_factur_x_refuses_a_currency_with_three_decimals() -> None:
    made = document([charge(amount="6.000")], to=partner(currency="KWD", formats=("factur-x",)))
    with pytest.raises(BillingError, match="KWD"):
        render(made, TEMPLATES)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Layouts with a folder of one partner in them."""
    (tmp_path / "default").symlink_to(TEMPLATES / "default")
    (tmp_path / "polar").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret.txt").write_text("not yours")
    return tmp_path


def text_of(own: Path, template: str) -> str:
    (own / "polar" / "detail.txt.j2").write_text(template)
    made = document(to=partner(template="polar", formats=("detail.txt",)))
    return render(made, own)["detail.txt"].decode()


def test_a_partners_own_text_format_comes_from_its_template(own: Path) -> None:
    template = (
        "{% for line in document.lines %}"
        "{{ '%-20s' | format(line.description) }}{{ line.amount | fixed(3, ',') }}\n"
        "{% endfor %}"
    )
    assert text_of(own, template) == f"{'Portugal Mobile':20}6,000\n{'SIP trunk':20}90,000\n"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("\n{{ document.colour }}", r"polar/detail\.txt\.j2:2: .*colour"),
        ("{{ document.__class__ }}", r"polar/detail\.txt\.j2:1"),
        ("{% if %}", r"polar/detail\.txt\.j2:1"),
        ("{{ 1 / 0 }}", r"polar/detail\.txt\.j2:1"),
    ],
)
def test_a_template_that_fails_is_named_with_its_line(own: Path, template: str, said: str) -> None:
    with pytest.raises(BillingError, match=said):
        text_of(own, template)


def test_a_template_sees_no_other_partners_folder(own: Path) -> None:
    for path in ("other/secret.txt", "../other/secret.txt"):
        with pytest.raises((BillingError, NotFound), match="secret"):
            text_of(own, "{% include '" + path + "' %}")


def test_figures_that_disagree_are_named() -> None:
    made = numbered(document(to=partner(formats=("customer-bill",))))
    files = render(made, TEMPLATES, ledger=LEDGER)
    assert all(check.ok for check in agreement(made, files))
    other = numbered(document([charge(amount="6.01"), recurring()]))
    wrong = render(revised(other, formats=("customer-bill",)), TEMPLATES, ledger=LEDGER)
    for name in ("xml", "csv", "pdf", "customer-bill", "journal-csv"):
        found = [c.name for c in agreement(made, {**files, name: wrong[name]}) if not c.ok]
        assert found == [f"totals of {name}"]
