from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from lxml import etree

from billing_assets.core.errors import BillingError, StateError
from billing_assets.invoicing.cii import render_cii
from billing_assets.invoicing.document import Corrected, Document, Kind, References
from billing_assets.invoicing.finalise import revised
from billing_assets.invoicing.ubl import render_ubl
from billing_assets.invoicing.ubl_rules import validate_ubl
from billing_assets.reference.models import Partner
from billing_assets.reference.tax import Tax
from tests.support import invoicing_cases
from tests.support.invoicing_cases import charge, document, partner, recurring

SPACES = {
    "cac": "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2",
    "cbc": "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2",
}


def found(made: Document, path: str) -> list[str]:
    """Texts at a path of a document's XML."""
    tree = etree.fromstring(render_ubl(made))
    return [node.text or "" for node in tree.iterfind(path, SPACES)]


@pytest.mark.parametrize("tax", ["S", "AE", "G", "O", "E"])
def test_an_invoice_of_each_tax_category_keeps_schema_and_en_16931(tax: str) -> None:
    made = document(to=partner(tax, purchase_order="PO-1", buyer_reference="Billing"))
    assert validate_ubl(render_ubl(made)) == []
    assert found(made, "cac:TaxTotal/cac:TaxSubtotal/cac:TaxCategory/cbc:ID") == [tax]


def test_reverse_charge_names_its_reason_and_both_vat_ids() -> None:
    made = document(to=partner("AE"))
    category = "cac:TaxTotal/cac:TaxSubtotal/cac:TaxCategory"
    assert found(made, f"{category}/cbc:TaxExemptionReasonCode") == ["VATEX-EU-AE"]
    assert found(made, "*/cac:Party/cac:PartyTaxScheme/cbc:CompanyID") == [
        "PT509999990",
        "DE123456788",
    ]


def test_an_invoice_outside_the_scope_of_vat_shows_no_vat_id() -> None:
    assert found(document(to=partner("O")), "*/cac:Party/cac:PartyTaxScheme") == []


def test_a_peppol_invoice_names_profile_endpoint_and_reference() -> None:
    made = document(
        to=partner(
            xml="peppol-bis-3",
            endpoint_scheme="9946",
            endpoint_id="PT501234560",
            buyer_reference="Billing",
        )
    )
    assert validate_ubl(render_ubl(made)) == []
    assert found(made, "cbc:ProfileID") == ["urn:fdc:peppol.eu:2017:poacc:billing:01:1.0"]
    assert found(made, "cac:AccountingCustomerParty/cac:Party/cbc:EndpointID") == ["PT501234560"]


def test_yen_have_no_decimals_and_keep_the_rules() -> None:
    # 40,000 calls x 2.374167 (77 s at 1.85) = 94,966.68, the agreement rounds lines down
    made = document(
        [charge("PT Fixed", "51333.3333333333", "1.85", "94966")], to=partner("O", "JPY")
    )
    assert validate_ubl(render_ubl(made)) == []
    assert found(made, "cac:LegalMonetaryTotal/cbc:PayableAmount") == ["94966"]


def test_yen_on_peppol_say_what_rounding_takes_to_two_decimals() -> None:
    # 51,333.3333333333 x 1.85 = 94,966.67 within the 0.02 that R120 allows
    made = document(
        [charge("PT Fixed", "51333.3333333333", "1.85", "94966")],
        to=partner(
            "O",
            "JPY",
            xml="peppol-bis-3",
            endpoint_scheme="0088",
            endpoint_id="9520001700083",
            buyer_reference="B",
        ),
    )
    part = "cac:InvoiceLine/cac:AllowanceCharge"
    assert found(made, f"{part}/cbc:ChargeIndicator") == ["false"]
    assert found(made, f"{part}/cbc:Amount") == ["0.67"]
    assert validate_ubl(render_ubl(made)) == []


def test_dinars_with_three_decimals_keep_the_schema_and_claim_no_rules() -> None:
    made = document([charge("PT", "36789", "0.0035", "128.762")], to=partner("O", "KWD"))
    xml = render_ubl(made)
    assert validate_ubl(xml, schema_only=True) == []
    assert found(made, "cbc:CustomizationID") == []
    assert any("BR-DEC" in rule for rule in validate_ubl(xml))


def by_line(**settings: Any) -> Partner:
    """A partner whose tax is rounded on each line."""
    tax = Tax(category="S", rate=Decimal("0.23"), vat_id="PT501234560", rounding="line")
    return partner(**settings).model_copy(update={"tax": tax})


@pytest.mark.parametrize(("lines", "profile"), [(216, "ubl"), (217, "ubl-schema-only")])
def test_tax_by_line_that_is_a_unit_off_its_rate_claims_no_rules(lines: int, profile: str) -> None:
    # 0.02 at 23% is no tax on a line; on 216 lines it would be 0.99, on 217 1.00
    made = document([charge(f"D{n}", "1", "0.02", "0.02") for n in range(lines)], to=by_line())
    assert (made.xml_profile, made.totals.tax) == (profile, 0)
    assert validate_ubl(render_ubl(made), schema_only=profile == "ubl-schema-only") == []
    if profile != "ubl":
        with pytest.raises(BillingError, match=r"Factur-X cannot carry tax of 0\.00 rounded line"):
            render_cii(made)


def test_peppol_refuses_tax_by_line_that_is_a_unit_off_its_rate() -> None:
    receiver = by_line(
        xml="peppol-bis-3", endpoint_scheme="9946", endpoint_id="PT501234560", buyer_reference="B"
    )
    rows = [charge(f"D{n}", "1", "0.02", "0.02") for n in range(218)]
    with pytest.raises(BillingError, match=r"Peppol cannot carry tax of 0\.00 rounded"):
        document(rows, to=receiver)


def test_tax_shown_in_a_currency_of_three_decimals_claims_no_rules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = invoicing_cases.CARRIER.model_copy(update={"currency": "KWD"})
    monkeypatch.setattr(invoicing_cases, "CARRIER", ours)
    made = document()
    assert made.xml_profile == "ubl-schema-only"
    assert found(made, "cac:TaxTotal/cbc:TaxAmount") == ["22.08", "7.375"], "22.08 x 0.3340"
    assert validate_ubl(render_ubl(made), schema_only=True) == []
    assert document(to=partner("AE")).xml_profile == "ubl", "no tax, none in dinars"


def test_what_rounding_per_call_leaves_of_a_line_is_an_allowance_of_that_line() -> None:
    # 100,020 x 0.012345 = 1,234.7469 is 1,234.75; the rounded records sum to 1,234.50
    made = document([charge("A", "100020", "0.012345", "1234.50", records=60_000)])
    assert validate_ubl(render_ubl(made)) == []
    part = "cac:InvoiceLine/cac:AllowanceCharge"
    assert found(made, f"{part}/cbc:ChargeIndicator") == ["false"]
    assert found(made, f"{part}/cbc:AllowanceChargeReason") == ["Rounding per call"]
    assert found(made, f"{part}/cbc:Amount") == ["0.25"]


def test_fees_inside_a_usage_amount_are_a_charge_of_its_line() -> None:
    # 25,000 minutes x 0.0060 = 150.00, and 10,000 set-ups x 0.0150 = 150.00
    made = document([charge("A", "25000", "0.0060", "300.00", records=10_000)])
    part = "cac:InvoiceLine/cac:AllowanceCharge"
    assert found(made, f"{part}/cbc:ChargeIndicator") == ["true"]
    assert found(made, f"{part}/cbc:AllowanceChargeReason") == ["Fees and rounding per call"]
    assert found(made, f"{part}/cbc:Amount") == ["150.00"]


def test_every_line_is_quantity_by_price_and_its_charges_within_two_cents() -> None:
    rows = [
        charge("A", "100020", "0.012345", "1234.50", records=60_000),
        charge("B", "333.3333333333", "0.03", "40.00"),
        charge("C", "7", None, "-12.34"),
        recurring("D", "1", "150.00", "101.61"),
    ]
    tree = etree.fromstring(render_ubl(document(rows)))
    for line in tree.iterfind("cac:InvoiceLine", SPACES):

        def figure(path: str, line: etree._Element = line) -> Decimal:
            return Decimal(line.findtext(path, "0", SPACES))

        sign = (
            1
            if line.findtext("cac:AllowanceCharge/cbc:ChargeIndicator", "", SPACES) == "true"
            else -1
        )
        product = figure("cbc:InvoicedQuantity") * figure("cac:Price/cbc:PriceAmount")
        amount = product + sign * figure("cac:AllowanceCharge/cbc:Amount")
        assert abs(amount - figure("cbc:LineExtensionAmount")) <= Decimal("0.02")


def test_a_negative_line_has_a_negative_quantity_and_keeps_the_rules() -> None:
    made = document([charge(), charge("Rebate", "100", "0.0500", "-5.00")])
    assert validate_ubl(render_ubl(made)) == []
    assert found(made, "cac:InvoiceLine/cbc:InvoicedQuantity") == ["1000", "-100"]
    assert found(made, "cac:InvoiceLine/cac:Price/cbc:PriceAmount") == ["0.006", "0.05"]


def test_a_line_of_an_earlier_period_tells_its_days_as_a_property() -> None:
    made = document(
        [
            charge(),
            charge(
                "India",
                section="prior_period",
                first_day=date(2026, 2, 27),
                last_day=date(2026, 2, 28),
            ),
        ]
    )
    assert validate_ubl(render_ubl(made)) == []
    assert len(found(made, "cac:InvoiceLine/cac:InvoicePeriod")) == 1
    values = found(made, "cac:InvoiceLine/cac:Item/cac:AdditionalItemProperty/cbc:Value")
    assert "2026-02-27/2026-02-28" in values


def test_several_notes_become_one() -> None:
    made = document(notes=["first", "second"])
    [note] = found(made, "cbc:Note")
    assert note.endswith("first\nsecond")
    assert "Europe/Lisbon" in note


def test_a_credit_note_names_the_original_and_keeps_the_rules() -> None:
    original = Corrected(number="FT 2026/000001", issue_date=document().issue_date)
    made = revised(
        document(),
        kind=Kind.CREDIT_NOTE,
        number="NC 2026/000001",
        references=References(corrects=original).model_dump(),
    )
    assert validate_ubl(render_ubl(made)) == []
    path = "cac:BillingReference/cac:InvoiceDocumentReference/cbc:ID"
    assert found(made, path) == ["FT 2026/000001"]


def test_a_cost_statement_has_no_xml() -> None:
    with pytest.raises(StateError, match="internal"):
        render_ubl(document([charge(leg="supplier")]))


def test_a_character_that_xml_cannot_carry_is_refused_by_name() -> None:
    with pytest.raises(BillingError, match=r"'a\\x07b'"):
        render_ubl(document(notes=["fine"], to=partner(name="a\x07b")))


def test_a_text_of_blanks_makes_no_element() -> None:
    blank = partner("G").model_copy(update={"tax": Tax(category="G", registration=" ")})
    made = document(to=blank)
    customer = "cac:AccountingCustomerParty/cac:Party/cac:PartyLegalEntity"
    assert found(made, f"{customer}/cbc:RegistrationName") == ["Polar Reseller, Lda"]
    assert found(made, f"{customer}/cbc:CompanyID") == []
    assert b"> </" not in render_cii(made)


def test_the_validator_is_not_blind() -> None:
    xml = render_ubl(document()).replace(b">96.00</cbc:PayableAmount", b">97.00</cbc:PayableAmount")
    xml = xml.replace(b">118.08</cbc:PayableAmount", b">119.08</cbc:PayableAmount")
    assert any("BR-CO-16" in rule for rule in validate_ubl(xml))
