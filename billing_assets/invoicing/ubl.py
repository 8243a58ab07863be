"""UBL 2.1 of a document, by EN 16931: the profile that a partner's access point reads.

Elements stand in the order of the UBL schema. The writer decides nothing about money: what a
line's quantity x price leaves of its amount becomes a charge or an allowance of that line.
Sources: EN 16931-1, CEN/TS 16931-3-2, Peppol BIS Billing 3.0 (R002 one note, R120 line sums).
"""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

from lxml import etree

from billing_assets.core.errors import BillingError, StateError
from billing_assets.core.money import Rounding, minor_units, round_amount
from billing_assets.invoicing.document import Document, Kind, Line, Party, plain
from billing_assets.reference.models import Bank, Leg
from billing_assets.reference.tax import EXEMPTIONS, TaxCategory

CAC: Final = "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2"
CBC: Final = "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2"

CEN: Final = "urn:cen.eu:en16931:2017"
PROFILES: Final = {
    "ubl": (CEN, ""),
    "peppol-bis-3": (
        f"{CEN}#compliant#urn:fdc:peppol.eu:2017:poacc:billing:3.0",
        "urn:fdc:peppol.eu:2017:poacc:billing:01:1.0",
    ),
    "peppol-self-billing-3": (
        f"{CEN}#compliant#urn:fdc:peppol.eu:2017:poacc:selfbilling:3.0",
        "urn:fdc:peppol.eu:2017:poacc:selfbilling:01:1.0",
    ),
    "ubl-schema-only": ("", ""),
}
"""CustomizationID and ProfileID; the schema-only profile claims no rules, so it names none."""

TYPE_CODES: Final = {
    Kind.INVOICE: "380",
    Kind.CREDIT_NOTE: "381",
    Kind.DEBIT_NOTE: "383",
    Kind.SELF_BILLED: "389",
}
"""UNTDID 1001."""

SELF_BILLED_CREDIT: Final = "261"
SELF_BILLED_DEBIT: Final = "527"
"""UNTDID 1001 of the notes that we issue to ourselves in the partner's name."""

UNIT_CODES: Final = {
    "minute": "MIN",
    "kb": "2P",
    "mb": "4L",
    "mbps": "E20",
    "month": "MON",
    "quarter": "QAN",
    "year": "ANN",
    "day": "DAY",
}
"""UN/ECE Recommendation 20; everything counted (calls, messages, fees) is C62, 'one'."""

DRAFT_NUMBER: Final = "DRAFT"
CREDIT_TRANSFER: Final = "30"

COARSEST_RECORD_ROUNDING: Final = Decimal("0.00005")
"""Half a unit of the coarsest record rounding in use (4 decimals)."""


def render_ubl(document: Document) -> bytes:
    """The document as UBL 2.1: an Invoice, or a CreditNote for a credit note; UTF-8.

    A draft bears the number 'DRAFT'. Raises `StateError` for a cost statement, which is not
    addressed to anybody, and `BillingError` for text that XML cannot carry.
    """
    if document.kind not in TYPE_CODES:
        raise StateError(f"a {document.kind} is internal and has no XML")
    return etree.tostring(
        _Writer(document).root(), xml_declaration=True, encoding="UTF-8", pretty_print=True
    )


def type_code(document: Document) -> str:
    """UNTDID 1001 of a document; notes to what was self-billed have codes of their own."""
    if document.kind is Kind.CREDIT_NOTE and not document.ours:
        return SELF_BILLED_CREDIT
    if document.kind is Kind.SELF_BILLED and document.references.corrects:
        return SELF_BILLED_DEBIT
    return TYPE_CODES[document.kind]


def terms_text(document: Document) -> str:
    """Payment terms in words; withheld tax stands here, for EN 16931 has no total of it."""
    withheld = [
        f"{plain(row.rate * 100)}% withholding tax: {row.amount:f} {document.currency}"
        for row in document.withheld
    ]
    payable = [f"payable {document.payable:f} {document.currency}"] if withheld else []
    net = f"Net {document.terms_days} days, due {document.due_date}"
    return "; ".join((net, *withheld, *payable))


@dataclass(frozen=True)
class Residue:
    """What a line's amount has beyond quantity x price, and why, in the document's currency."""

    amount: Decimal
    reason: str


def line_residue(line: Line, currency: str, *, cents: bool = False) -> Residue:
    """The part of a line's amount that quantity x price does not give (Peppol R120).

    Records are rounded one by one and may bear fees, so their sum is not the product. With
    `cents` it has two decimals in a currency without any: Peppol allows 0.02 whatever the currency.
    """
    if line.own_price is None:
        return Residue(Decimal(0), "")
    product = Fraction(line.quantity) * Fraction(line.own_price)
    decimals = max(minor_units(currency), 2 if cents else 0)
    amount = line.amount - round_amount(product, decimals, Rounding.HALF_UP)
    if not line.records:
        return Residue(amount, "Rounding")
    smallest = Decimal(1).scaleb(-minor_units(currency))
    by_rounding = smallest + abs(line.records) * COARSEST_RECORD_ROUNDING
    reason = "Rounding per call" if abs(amount) <= by_rounding else "Fees and rounding per call"
    return Residue(amount, reason)


class _Writer:
    """Writes one document; `_text` and `_group` append to a parent in the order of calls."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.credit = document.kind is Kind.CREDIT_NOTE
        # without tax on the document there is none to show in another currency
        self.home = document.home_tax if document.totals.tax else None
        self.customization, self.profile = PROFILES[document.xml_profile]

    def root(self) -> etree._Element:
        """The whole tree."""
        document = self.document
        name = "CreditNote" if self.credit else "Invoice"
        space = f"urn:oasis:names:specification:ubl:schema:xsd:{name}-2"
        root = etree.Element(f"{{{space}}}{name}", nsmap={None: space, "cac": CAC, "cbc": CBC})
        _text(root, "CustomizationID", self.customization)
        _text(root, "ProfileID", self.profile)
        _text(root, "ID", document.number or DRAFT_NUMBER)
        _text(root, "IssueDate", document.issue_date.isoformat())
        if not self.credit:
            _text(root, "DueDate", document.due_date.isoformat())
        _text(root, f"{name}TypeCode", type_code(document))
        _text(root, "Note", self._note())
        _text(root, "DocumentCurrencyCode", document.currency)
        _text(root, "TaxCurrencyCode", self.home.currency if self.home else "")
        _text(root, "BuyerReference", document.references.buyer_reference)
        self._period(root, document.period.first_day.isoformat(), self._last_day())
        self._references(root)
        self._party(root, "AccountingSupplierParty", document.seller)
        self._party(root, "AccountingCustomerParty", document.buyer)
        for position, bank in enumerate(document.banks):
            self._payment(root, bank, first=position == 0)
        terms = _group(root, "PaymentTerms")
        _text(terms, "Note", terms_text(document))
        self._taxes(root)
        self._totals(root)
        for line in document.lines:
            self._line(root, line)
        return root

    def _last_day(self) -> str:
        return self.document.period.last_day.isoformat()

    def _note(self) -> str:
        """All notes in one, because more than one is refused (R002)."""
        period = self.document.period
        zone = f"Period in local days of {period.zone}: {period.first_day} to {period.last_day}."
        return "\n".join((zone, *self.document.notes))

    def _period(self, parent: etree._Element, first: str, last: str) -> None:
        group = _group(parent, "InvoicePeriod")
        _text(group, "StartDate", first)
        _text(group, "EndDate", last)

    def _references(self, root: etree._Element) -> None:
        references = self.document.references
        if references.purchase_order:
            _text(_group(root, "OrderReference"), "ID", references.purchase_order)
        if references.corrects:
            original = _group(root, "BillingReference", "InvoiceDocumentReference")
            _text(original, "ID", references.corrects.number)
            _text(original, "IssueDate", references.corrects.issue_date.isoformat())
        if references.contracts:
            contract = _group(root, "ContractDocumentReference")
            _text(contract, "ID", ", ".join(references.contracts))

    def _party(self, root: etree._Element, role: str, party: Party) -> None:
        group = _group(root, role, "Party")
        if party.endpoint_scheme and party.endpoint_id:
            _text(group, "EndpointID", party.endpoint_id, schemeID=party.endpoint_scheme)
        _text(_group(group, "PartyIdentification"), "ID", party.id)
        _text(_group(group, "PartyName"), "Name", party.name)
        address = _group(group, "PostalAddress")
        _text(address, "StreetName", party.address.street)
        _text(address, "CityName", party.address.city)
        _text(address, "PostalZone", party.address.postcode)
        _text(address, "CountrySubentity", party.address.region)
        _text(_group(address, "Country"), "IdentificationCode", party.address.country)
        # an invoice outside the scope of VAT may not show VAT ids (BR-O-02)
        outside_scope = any(row.category == "O" for row in self.document.taxes)
        if party.vat_id and not outside_scope:
            scheme = _group(group, "PartyTaxScheme")
            _text(scheme, "CompanyID", party.vat_id)
            _text(_group(scheme, "TaxScheme"), "ID", "VAT")
        legal = _group(group, "PartyLegalEntity")
        _text(legal, "RegistrationName", party.name)
        _text(legal, "CompanyID", party.registration)
        if party.email:
            _text(_group(group, "Contact"), "ElectronicMail", party.email)

    def _payment(self, root: etree._Element, bank: Bank, *, first: bool) -> None:
        means = _group(root, "PaymentMeans")
        _text(means, "PaymentMeansCode", CREDIT_TRANSFER)
        if self.credit and first:
            # a credit note has no due date of its own, and this one may stand only once
            _text(means, "PaymentDueDate", self.document.due_date.isoformat())
        _text(means, "PaymentID", self.document.number or DRAFT_NUMBER)
        account = _group(means, "PayeeFinancialAccount")
        _text(account, "ID", (bank.iban or bank.account).replace(" ", ""))
        _text(account, "Name", bank.beneficiary)
        _text(_group(account, "FinancialInstitutionBranch"), "ID", bank.bic)

    def _money(self, parent: etree._Element, name: str, amount: Decimal) -> None:
        _text(parent, name, format(amount, "f"), currencyID=self.document.currency)

    def _taxes(self, root: etree._Element) -> None:
        total = _group(root, "TaxTotal")
        self._money(total, "TaxAmount", self.document.totals.tax)
        for row in self.document.taxes:
            part = _group(total, "TaxSubtotal")
            self._money(part, "TaxableAmount", row.base)
            self._money(part, "TaxAmount", row.tax)
            usual, default = EXEMPTIONS.get(row.category, ("", ""))
            reason = (row.reason or default) if row.category in EXEMPTIONS else ""
            category = self._tax_category(part, "TaxCategory", row.category, row.rate)
            _text(category, "TaxExemptionReasonCode", row.code or usual)
            _text(category, "TaxExemptionReason", reason)
            _text(_group(category, "TaxScheme"), "ID", "VAT")

        if self.home:
            home = _group(root, "TaxTotal")
            _text(home, "TaxAmount", format(self.home.tax, "f"), currencyID=self.home.currency)

    def _tax_category(
        self,
        parent: etree._Element,
        name: str,
        category: TaxCategory,
        rate: Decimal,
    ) -> etree._Element:
        """Append a category with its rate, open for its exemption and tax scheme."""
        group = _group(parent, name)
        _text(group, "ID", category)
        if category != "O":
            _text(group, "Percent", plain(rate * 100))
        return group

    def _totals(self, root: etree._Element) -> None:
        totals = self.document.totals
        group = _group(root, "LegalMonetaryTotal")
        self._money(group, "LineExtensionAmount", totals.net)
        self._money(group, "TaxExclusiveAmount", totals.net)
        self._money(group, "TaxInclusiveAmount", totals.gross)
        self._money(group, "PayableAmount", totals.gross)

    def _line(self, root: etree._Element, line: Line) -> None:
        group = _group(root, "CreditNoteLine" if self.credit else "InvoiceLine")
        _text(group, "ID", str(line.number))
        quantity, unit, price = line.quantity, UNIT_CODES.get(line.unit, "C62"), line.own_price
        if price is None:
            # no single price: one unit at the whole amount, the derivation beside it
            quantity, unit = Decimal(1 if line.amount >= 0 else -1), "C62"
            price = abs(line.amount)
        counted = "CreditedQuantity" if self.credit else "InvoicedQuantity"
        _text(group, counted, plain(quantity), unitCode=unit)
        self._money(group, "LineExtensionAmount", line.amount)
        period = self.document.period
        inside = period.first_day <= line.first_day and line.last_day <= period.last_day
        if inside:
            self._period(group, line.first_day.isoformat(), line.last_day.isoformat())
        residue = line_residue(line, self.document.currency, cents=bool(self.profile))
        if residue.amount:
            part = _group(group, "AllowanceCharge")
            _text(part, "ChargeIndicator", "true" if residue.amount > 0 else "false")
            _text(part, "AllowanceChargeReason", residue.reason)
            self._money(part, "Amount", abs(residue.amount))
        self._item(group, line, inside)
        unit_price = _group(group, "Price")
        _text(unit_price, "PriceAmount", plain(price), currencyID=self.document.currency)

    def _item(self, group: etree._Element, line: Line, inside: bool) -> None:
        item = _group(group, "Item")
        _text(item, "Description", "; ".join(line.steps))
        _text(item, "Name", line.description)
        category = self._tax_category(
            item, "ClassifiedTaxCategory", line.tax_category, line.tax_rate
        )
        _text(_group(category, "TaxScheme"), "ID", "VAT")
        outside = "" if inside else f"{line.first_day}/{line.last_day}"
        properties = {
            "Section": line.section,
            "Service": line.service,
            "Direction": "inbound" if self.document.leg is Leg.CUSTOMER else "outbound",
            "Destination": line.destination,
            "Origin": line.origin,
            "Time band": line.band,
            "Agreement": line.agreement,
            "Records": str(line.records) if line.records else "",
            "Answered": str(line.answered) if line.answered else "",
            "Quantity": f"{plain(line.quantity)} {line.unit}" if line.own_price is None else "",
            # a line's own period must lie in the document's (R110, R111)
            "Period": outside,
        }
        for name, value in properties.items():
            if value:
                part = _group(item, "AdditionalItemProperty")
                _text(part, "Name", name)
                _text(part, "Value", value)


def _group(parent: etree._Element, *names: str) -> etree._Element:
    """Append nested aggregates and return the innermost."""
    for name in names:
        parent = etree.SubElement(parent, f"{{{CAC}}}{name}")
    return parent


def _text(parent: etree._Element, name: str, text: str, **attributes: str) -> None:
    """Append a basic element; an empty one is left out, because it would be refused (R008)."""
    if not text.strip():
        return
    element = etree.SubElement(parent, f"{{{CBC}}}{name}", attributes)
    try:
        element.text = text
    except ValueError as error:
        raise BillingError(f"{name} {text!r} holds a character that XML cannot carry") from error
