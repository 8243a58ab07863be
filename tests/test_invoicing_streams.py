"""Which charges share a document, who sells on it, and where it is paid."""

from decimal import Decimal
from typing import Any

import pytest

from billing_assets.core.errors import InputError
from billing_assets.invoicing.assemble import assemble
from billing_assets.invoicing.document import Corrected, Document, Kind, Provenance
from billing_assets.invoicing.finalise import revised
from billing_assets.invoicing.streams import streams
from billing_assets.invoicing.ubl import render_ubl
from billing_assets.invoicing.ubl_rules import validate_ubl
from billing_assets.reference.models import Agreement, Bank, Partner
from tests.support.invoicing_cases import (
    CARRIER,
    ISSUE_DATE,
    MARCH,
    charge,
    charges,
    partner,
    recurring,
)
from tests.support.references import agreement

BANK = Bank(beneficiary="Polar", iban="PT50000201231234567890154", bic="FARLPTPL")


def terms(name: str, stream: str, **fields: Any) -> Agreement:
    return Agreement.model_validate(
        agreement(agreement=name, partner="P14", stream=stream, contract_reference=f"C-{name}")
        | fields
    )


VOICE, FIXED = terms("P14-VOICE", "voice"), terms("P14-FIXED", "regulated")
TOLL_FREE = terms("P14-FREE", "toll-free", leg="supplier", reverse=True)
OUTPAYMENT = terms("P14-VAS", "outpayment", leg="supplier")

ROWS = [
    charge("Mobile", amount="6.00"),
    charge("Fixed", agreement="P14-FIXED@1", amount="6.00"),
    recurring(),
    charge("Free", agreement="P14-FREE@1", leg="supplier", quantity="-1000", amount="-6.00"),
    charge("Value-added", agreement="P14-VAS@1", leg="supplier", amount="6.00"),
]


def documents(to: Partner) -> list[Document]:
    all_terms = [VOICE, FIXED, TOLL_FREE, OUTPAYMENT]
    return [
        assemble(
            stream.charges,
            stream=stream.name,
            turned=stream.turned,
            carrier=CARRIER,
            partner=to,
            period=MARCH,
            issue_date=ISSUE_DATE,
            provenance=Provenance(cycle="P14/2026-03"),
            agreements=all_terms,
        )
        for stream in streams(charges(*ROWS), to, all_terms)
    ]


def shown(made: list[Document]) -> list[tuple[str, str, list[str], str]]:
    return [
        (one.kind.value, one.stream, [line.description for line in one.lines], str(one.totals.net))
        for one in made
    ]


def test_streams_share_a_document_unless_the_partner_wants_them_apart() -> None:
    assert shown(documents(partner()))[0] == (
        "invoice",
        "",
        ["Fixed", "Mobile", "SIP trunk"],
        "102.00",
    )
    apart = documents(partner(separate_streams=("regulated", "recurring")))
    assert shown(apart)[:3] == [
        ("invoice", "", ["Mobile"], "6.00"),
        ("invoice", "recurring", ["SIP trunk"], "90.00"),
        ("invoice", "regulated", ["Fixed"], "6.00"),
    ]
    assert apart[0].references.contracts == ("C-P14-VOICE",)
    assert sum(len(one.lines) for one in apart) == len(ROWS)


def test_traffic_that_its_receiver_pays_for_is_our_invoice() -> None:
    *_, costs, free = documents(partner())
    assert shown([costs, free]) == [
        ("cost_statement", "", ["Value-added"], "6.00"),
        ("invoice", "", ["Free"], "6.00"),
    ]
    assert (free.seller.id, free.buyer.id, free.partner) == ("FAROLINK", "P14", "P14")
    assert free.lines[0].quantity == Decimal(1000)
    assert (costs.seller.id, costs.partner) == ("P14", "P14")


@pytest.mark.parametrize(
    ("xml", "profile"), [("ubl", "ubl"), ("peppol-bis-3", "peppol-self-billing-3")]
)
def test_what_we_issue_in_the_partners_name_is_a_valid_self_billed_invoice(
    xml: str, profile: str
) -> None:
    to = partner(
        "AE",
        self_billing=True,
        xml=xml,
        endpoint_scheme="9946",
        endpoint_id="PT501234560",
        buyer_reference="OUT-1",
    ).model_copy(update={"bank": BANK})
    made = next(one for one in documents(to) if one.kind is Kind.SELF_BILLED)
    assert (made.seller.id, made.buyer.id, made.partner) == ("P14", "FAROLINK", "P14")
    assert made.banks == (BANK,)
    assert made.xml_profile == profile
    text = render_ubl(made)
    assert b">389</cbc:InvoiceTypeCode>" in text
    assert (b"selfbilling:3.0" in text) is (xml == "peppol-bis-3")
    assert validate_ubl(text) == []


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [(Kind.CREDIT_NOTE, "CreditNote", "261"), (Kind.SELF_BILLED, "Invoice", "527")],
)
def test_a_note_to_what_was_self_billed_has_its_own_code(kind: Kind, name: str, code: str) -> None:
    to = partner("AE", self_billing=True).model_copy(update={"bank": BANK})
    made = next(one for one in documents(to) if one.kind is Kind.SELF_BILLED)
    corrects = Corrected(number="AF 2026/000001", issue_date=made.issue_date)
    references = made.references.model_copy(update={"corrects": corrects})
    text = render_ubl(revised(made, kind=kind, references=references))
    assert f">{code}</cbc:{name}TypeCode>".encode() in text
    assert validate_ubl(text) == []


def test_a_self_billed_invoice_needs_the_vat_id_of_its_seller() -> None:
    to = partner("G", self_billing=True).model_copy(update={"bank": BANK})
    with pytest.raises(InputError, match=r"partner P14 tax\.vat_id=.*shows its VAT id"):
        documents(to)


def test_a_self_billed_invoice_needs_an_account_of_the_partner() -> None:
    with pytest.raises(InputError, match=r"partner P14 bank=.*no bank account to pay EUR to"):
        documents(partner(self_billing=True))


def test_an_invoice_names_the_accounts_of_its_currency() -> None:
    euro, any_currency = (
        Bank(beneficiary="F", account=name, bic="X", currency=currency)
        for name, currency in (("euro", "EUR"), ("any", None))
    )

    def accounts(*banks: Bank, currency: str = "EUR") -> list[str]:
        made = assemble(
            charges(charge(), currency=currency),
            carrier=CARRIER.model_copy(update={"bank": banks}),
            partner=partner("O", currency),
            period=MARCH,
            issue_date=ISSUE_DATE,
            provenance=Provenance(cycle="P14/2026-03"),
        )
        return [bank.account for bank in made.banks]

    assert accounts(euro, any_currency) == ["euro"]
    assert accounts(euro, any_currency, currency="GBP") == ["any"]
    with pytest.raises(InputError, match="no bank account to pay GBP to"):
        accounts(euro, currency="GBP")
