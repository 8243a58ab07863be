"""Tax by rule: who supplies whom with what and when, what follows on the document, or a refusal."""

import csv
import io
import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from pydantic import ValidationError
from pypdf import PdfReader

from billing_assets.core.settings import PROJECT_ROOT
from billing_assets.invoicing.assemble import assemble
from billing_assets.invoicing.cii import render_cii
from billing_assets.invoicing.csvs import summary_csv
from billing_assets.invoicing.document import Document, Provenance, identities
from billing_assets.invoicing.journal import journal_of
from billing_assets.invoicing.renderings import render
from billing_assets.invoicing.tax import retaxed
from billing_assets.invoicing.ubl import CBC, render_ubl
from billing_assets.invoicing.ubl_rules import validate_ubl
from billing_assets.reference.ledger import Ledger
from billing_assets.reference.models import Partner, Tax
from billing_assets.reference.tax import (
    NoTaxRule,
    Position,
    Supply,
    TaxRules,
    position,
    withholding,
)
from billing_assets.reference.yamltext import Located
from tests.support.cii_rules import broken_rules
from tests.support.invoicing_cases import (
    CARRIER,
    FIXINGS,
    ISSUE_DATE,
    MARCH,
    charge,
    charges,
    document,
    partner,
)

DAY = date(2026, 3, 31)
REVERSE = "Reverse charge: VAT is due from the customer"
RULES = TaxRules.model_validate(
    {
        "rules": [
            {"rule": "gb-wholesale", "supplier": "GB", "customer": "GB", "services": ["voice"],
             "certificate": "reseller", "treatment": "reverse_charge", "rate": "0.20"},
            {"rule": "gb", "supplier": "GB", "customer": "GB", "treatment": "standard",
             "rate": "0.20"},
            {"rule": "pt-22", "supplier": "PT", "customer": "PT", "to": "2026-01-01",
             "treatment": "standard", "rate": "0.22"},
            {"rule": "pt-exempt", "supplier": "PT", "customer": "PT", "from": "2026-01-01",
             "customer_status": ["exempt"], "treatment": "exempt", "code": "VATEX-EU-151",
             "reason": "Exempt: international organisation"},
            {"rule": "pt-23", "supplier": "PT", "customer": "PT", "from": "2026-01-01",
             "treatment": "standard", "rate": "0.23"},
            {"rule": "eu-b2b", "supplier": "PT", "customer": "EU", "direction": "sale",
             "customer_status": ["business"], "treatment": "reverse_charge", "reason": REVERSE},
            {"rule": "eu-b2c", "supplier": "PT", "customer": "EU", "direction": "sale",
             "customer_status": ["consumer"], "treatment": "standard", "rate": "0.23"},
            {"rule": "export", "supplier": "PT", "customer": "non-EU", "direction": "sale",
             "treatment": "export"},
            {"rule": "bought", "supplier": "any", "customer": "PT", "direction": "purchase",
             "treatment": "reverse_charge", "rate": "0.23"},
        ],
        "withholding": [
            {"rule": "ke-treaty", "supplier": "PT", "customer": "KE", "certificate": "residence",
             "rate": "0.05"},
            {"rule": "ke", "supplier": "PT", "customer": "KE", "rate": "0.10"},
        ],
    }
)  # fmt: skip


def found(
    supplier: str,
    customer: str,
    day: date = DAY,
    direction: Any = "sale",
    service: str = "voice",
    **facts: Any,
) -> Position:
    tax = Tax.model_validate(facts)
    return position(RULES, Supply(direction, supplier, customer, tax, service, day))


def billed(
    amounts: list[str],
    tax: dict[str, Any],
    country: str = "PT",
    currency: str = "EUR",
    leg: str = "customer",
    rules: TaxRules = RULES,
    treatment: str = "",
) -> Document:
    """A document of some charges with a partner that states no position of its own."""
    who = partner("G", currency).model_dump() | {"country": country, "tax": tax}
    rows = [
        charge(f"line {n}", "1", None, amount, leg=leg, tax_treatment=treatment)
        for n, amount in enumerate(amounts)
    ]
    return document(rows, to=Partner.model_validate(who), tax_rules=rules)


@pytest.mark.parametrize(
    ("supplier", "customer", "more", "category", "rate", "rule"),
    [
        ("PT", "PT", {}, "S", "0.23", "pt-23"),
        ("PT", "PT", {"day": date(2025, 12, 31)}, "S", "0.22", "pt-22"),
        ("PT", "PT", {"day": date(2026, 1, 1)}, "S", "0.23", "pt-23"),
        ("PT", "PT", {"status": "exempt"}, "E", "0", "pt-exempt"),
        ("PT", "DE", {}, "AE", "0", "eu-b2b"),
        ("PT", "DE", {"status": "consumer"}, "S", "0.23", "eu-b2c"),
        ("PT", "NO", {}, "G", "0", "export"),
        ("GB", "GB", {}, "S", "0.20", "gb"),
        ("GB", "GB", {"certificates": [
            {"certificate": "reseller", "from": "2026-01-01", "last_day": "2026-03-31"}]},
         "AE", "0", "gb-wholesale"),
        ("GB", "GB", {"certificates": [
            {"certificate": "reseller", "from": "2025-01-01", "last_day": "2026-03-30"}]},
         "S", "0.20", "gb"),
        ("GB", "GB", {"service": "data", "certificates": [
            {"certificate": "reseller", "from": "2026-01-01", "last_day": "2026-12-31"}]},
         "S", "0.20", "gb"),
    ],
)  # fmt: skip
def test_the_first_rule_that_fits_the_supply_decides(
    supplier: str, customer: str, more: dict[str, Any], category: str, rate: str, rule: str
) -> None:
    one = found(supplier, customer, **more)
    assert (one.category, one.rate, one.rule) == (category, Decimal(rate), rule)


def test_a_pair_without_rule_is_refused_and_never_zero() -> None:
    with pytest.raises(NoTaxRule, match=r"voice from PT to DE \(exempt, sale\) on 2026-03-31"):
        found("PT", "DE", status="exempt")
    with pytest.raises(NoTaxRule, match="no tax rule"):
        billed(["10.00"], {}, rules=TaxRules())


def test_a_supply_at_home_is_no_supply_to_another_member_state() -> None:
    only_eu = TaxRules.model_validate(
        {"rules": [{"rule": "eu", "supplier": "EU", "customer": "EU", "direction": "sale",
                    "treatment": "reverse_charge"}]}
    )  # fmt: skip
    with pytest.raises(NoTaxRule):
        position(only_eu, Supply("sale", "PT", "PT", Tax(), "voice", DAY))
    assert position(only_eu, Supply("sale", "PT", "ES", Tax(), "voice", DAY)).category == "AE"


def test_k01_tax_is_rounded_once_a_document_or_on_each_line() -> None:
    lines = ["10.37"] * 3
    assert billed(lines, {"vat_id": "PT501234560"}).totals.tax == Decimal("7.16")
    by_line = billed(lines, {"vat_id": "PT501234560", "rounding": "line"})
    assert (by_line.tax_rounding, by_line.totals.tax) == ("line", Decimal("7.17"))
    entity = billed(lines, {}, rules=RULES.model_copy(update={"rounding": "line"}))
    assert entity.totals.tax == Decimal("7.17")


def test_k03_a_domestic_supply_bears_the_standard_rate() -> None:
    made = billed(["43512.87"], {"vat_id": "PT501234560"})
    assert (made.totals.tax, made.totals.gross) == (Decimal("10007.96"), Decimal("53520.83"))
    assert made.lines[0].tax_rule == "pt-23"


def test_the_same_supply_within_the_union_bears_none_and_says_why() -> None:
    made = billed(["43512.87"], {"vat_id": "DE123456788"}, country="DE")
    assert made.totals.gross == Decimal("43512.87")
    xml = etree.fromstring(render_ubl(made))
    assert xml.findtext(f".//{{{CBC}}}TaxExemptionReasonCode") == "VATEX-EU-AE"
    assert xml.findtext(f".//{{{CBC}}}TaxExemptionReason") == REVERSE


def test_a_rule_s_own_exemption_code_stands_in_the_xml() -> None:
    made = billed(["5.00"], {"status": "exempt", "vat_id": "PT501234560"})
    xml = etree.fromstring(render_ubl(made))
    assert xml.findtext(f".//{{{CBC}}}TaxExemptionReasonCode") == "VATEX-EU-151"
    assert xml.findtext(f".//{{{CBC}}}TaxExemptionReason") == "Exempt: international organisation"


def test_a_purchase_under_reverse_charge_is_assessed_by_us() -> None:
    made = billed(["5275.25"], {"vat_id": "NL859273611B01"}, country="NL", leg="supplier")
    assert made.totals.gross == Decimal("5275.25")
    assert [(r.rate, r.base, r.tax) for r in made.self_assessed] == [
        (Decimal("0.23"), Decimal("5275.25"), Decimal("1213.31"))
    ]


def test_tax_in_another_currency_is_shown_in_ours_too() -> None:
    made = billed(["1000.00"], {"vat_id": "PT501234560"}, currency="USD")
    home = made.home_tax
    assert home is not None
    assert (home.currency, home.tax, home.day) == ("EUR", Decimal("211.98"), DAY)
    xml = etree.fromstring(render_ubl(made))
    assert xml.findtext(f"{{{CBC}}}TaxCurrencyCode") == "EUR"
    totals = [(e.get("currencyID"), e.text) for e in xml.findall(f"./*/{{{CBC}}}TaxAmount")]
    assert totals == [("USD", "230.00"), ("EUR", "211.98")]
    again = Document.model_validate_json(made.canonical())
    assert again == made
    assert billed(["1000.00"], {}, currency="USD", country="NO").home_tax is None


def test_withheld_tax_lowers_what_is_paid_and_no_total() -> None:
    made = billed(["1800.00", "80.00"], {}, country="KE", currency="USD")
    assert made.totals.gross == Decimal("1880.00")
    assert [row.amount for row in made.withheld] == [Decimal("188.00")]
    assert made.payable == Decimal("1692.00")
    treaty = {"certificate": "residence", "from": "2026-01-01", "last_day": "2026-12-31"}
    assert billed(["1880.00"], {"certificates": [treaty]}, country="KE").payable == 1786


def test_compensation_is_no_supply() -> None:
    made = billed(["100.00"], {"vat_id": "PT501234560"}, treatment="compensation")
    assert made.totals.tax == 0
    assert [(row.category, bool(row.reason)) for row in made.taxes] == [("E", True)]


@settings(deadline=None)
@given(
    st.lists(st.decimals("-99999.99", "99999.99", places=2), min_size=1, max_size=8),
    st.sampled_from(["document", "line"]),
    st.sampled_from([("PT", "customer"), ("NL", "supplier"), ("KE", "customer")]),
)
def test_a_note_over_all_lines_has_the_taxes_of_the_document(
    amounts: list[Decimal], rounding: str, case: tuple[str, str]
) -> None:
    country, leg = case
    who = {"vat_id": "PT501234560", "rounding": rounding}
    texts = [f"{amount:f}" for amount in amounts]
    made = billed(texts, who, country=country, currency="USD", leg=leg)
    assert all(check.ok for check in identities(made))
    anew = Document.model_validate({**made.model_dump(), **retaxed(made, made.lines)})
    assert anew == made


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"treatment": "standard"}, "standard needs a rate above zero"),
        ({"treatment": "export", "rate": "0.23"}, "export bears no rate"),
        ({"treatment": "reverse_charge"}, "a purchase is taxed by ourselves"),
        ({"treatment": "exempt"}, "needs its reason or code"),
        ({"treatment": "zero", "reason": "x"}, "has no exemption reason"),
        ({"treatment": "export", "from": "2026-02-01", "to": "2026-02-01"}, "to is not after from"),
        ({"treatment": "export", "customer": "Spain"}, "customer"),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused(rule: dict[str, Any], said: str) -> None:
    usual = {"rule": "one", "supplier": "PT", "customer": "ES"}
    with pytest.raises(ValidationError, match=said):
        TaxRules.model_validate({"rules": [{**usual, **rule}]})


def test_without_a_fixing_tax_in_a_foreign_currency_is_refused() -> None:
    with pytest.raises(Exception, match="no fixing between SEK and EUR"):
        assemble(
            charges(charge(), currency="SEK"),
            carrier=CARRIER,
            partner=partner("S", "SEK"),
            period=MARCH,
            issue_date=ISSUE_DATE,
            provenance=Provenance(cycle="P14/2026-03"),
            fixings=FIXINGS,
        )


DOCUMENT = Path(__file__).parents[1] / "docs" / "tax.md"


def test_the_document_s_supplies_are_taxed_as_it_says() -> None:
    blocks = dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S))
    rules = TaxRules.model_validate(Located(blocks["tax.yaml"].encode(), "tax.yaml").value)
    rows = list(csv.DictReader(io.StringIO(blocks["supplies.csv"])))
    assert len(rows) > 10
    for row in rows:
        day = date.fromisoformat(row["day"])
        paper = {"certificate": row["certificate"], "from": row["day"], "last_day": row["day"]}
        held = [paper] if row["certificate"] else []
        tax = Tax.model_validate({"status": row["status"], "certificates": held})
        direction: Any = row["direction"]
        one = Supply(direction, row["supplier"], row["customer"], tax, row["service"], day)
        if not row["rule"]:
            with pytest.raises(NoTaxRule):
                position(rules, one)
            continue
        is_taxed, kept = position(rules, one), withholding(rules, one)
        assert (is_taxed.rule, is_taxed.category) == (row["rule"], row["category"])
        rates = (is_taxed.rate, is_taxed.self_assessed, kept.rate if kept else Decimal(0))
        assert rates == tuple(Decimal(row[n]) for n in ("rate", "self_assessed", "withheld"))


def test_withholding_and_tax_in_two_currencies_keep_schema_and_en_16931() -> None:
    abroad = billed(["1000.00"], {"vat_id": "PT501234560"}, currency="USD")
    kept = billed(["1880.00"], {}, country="KE", currency="USD")
    for made in (abroad, kept):
        assert validate_ubl(render_ubl(made)) == []
        assert broken_rules(render_cii(made)) == []
    assert b'<ram:TaxTotalAmount currencyID="EUR">211.98<' in render_cii(abroad)
    assert "10% withholding tax: 188.00 USD; payable 1692.00 USD" in render_ubl(kept).decode()


@pytest.mark.parametrize(
    ("country", "leg", "shown"),
    [("PT", "customer", "211.98"), ("KE", "customer", "900.00"), ("NL", "supplier", "211.98")],
)
def test_all_files_of_a_taxed_document_agree_and_the_pdf_says_it(
    country: str, leg: str, shown: str
) -> None:
    who = {"vat_id": "PT501234560"} if country == "PT" else {}
    made = billed(["1000.00"], who, country=country, currency="USD", leg=leg)
    files = render(made, PROJECT_ROOT / "templates")
    text = " ".join(page.extract_text() for page in PdfReader(io.BytesIO(files["pdf"])).pages)
    assert shown in text


def test_the_files_show_what_is_self_assessed_withheld_and_in_our_currency() -> None:
    def row(made: Document) -> dict[str, str]:
        return next(csv.DictReader(io.StringIO(summary_csv(made).decode())))

    bought = row(billed(["5275.25"], {}, country="NL", leg="supplier", currency="GBP"))
    assert (bought["self_assessed"], bought["home_self_assessed"]) == ("1213.31", "1410.83")
    kept = row(billed(["1880.00"], {}, country="KE", currency="USD"))
    assert (kept["withheld"], kept["payable"]) == ("188.00", "1692.00")


def test_the_journal_of_a_self_billed_document_posts_self_assessed_tax_on_both_sides() -> None:
    who = partner("AE", "EUR", self_billing=True).model_dump() | {
        "country": "NL", "tax": {"vat_id": "NL859273611B01"},
        "bank": {"beneficiary": "Pólo", "iban": "NL19HXBK0417164300", "bic": "HXBKNL2A"},
    }  # fmt: skip
    rows = [charge("line", "1", None, "5275.25", leg="supplier")]
    made = document(rows, to=Partner.model_validate(who), tax_rules=RULES)
    ledger = Ledger.model_validate(
        {"ledger": "GL", "receivable": "21", "payable": "22", "output_tax": "243",
         "input_tax": "242", "rules": [{"account": "62"}]}
    )  # fmt: skip
    entries = [(e.account, e.debit, e.credit) for e in journal_of(made, ledger).entries]
    assert ("242", Decimal("1213.31"), Decimal("0.00")) in entries
    assert ("243", Decimal("0.00"), Decimal("1213.31")) in entries
    assert ("22", Decimal("0.00"), Decimal("5275.25")) in entries
