"""UN/CEFACT Cross Industry Invoice of a document, by EN 16931: what Factur-X and ZUGFeRD embed.

Elements stand in the order of the CII D16B schema. As in UBL, what a line's quantity x price
leaves of its amount becomes a charge or an allowance of that line.
Sources: EN 16931-1, CEN/TS 16931-3-3, Factur-X 1.0 (profile EN 16931).
"""

from datetime import date
from decimal import Decimal
from typing import Final

from lxml import etree

from billing_assets.core.errors import BillingError
from billing_assets.invoicing.document import Document, Kind, Line, Party, plain
from billing_assets.invoicing.tax import beyond_en16931
from billing_assets.invoicing.ubl import (
    CREDIT_TRANSFER,
    DRAFT_NUMBER,
    TYPE_CODES,
    UNIT_CODES,
    line_residue,
    terms_text,
    type_code,
)
from billing_assets.reference.tax import EXEMPTIONS

RSM: Final = "urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100"
RAM: Final = "urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100"
UDT: Final = "urn:un:unece:uncefact:data:standard:UnqualifiedDataType:100"
QDT: Final = "urn:un:unece:uncefact:data:standard:QualifiedDataType:100"

EN16931: Final = "urn:cen.eu:en16931:2017"


def render_cii(document: Document) -> bytes:
    """The document as CII, UTF-8.

    Raises `BillingError` for a document that EN 16931 cannot carry (see `beyond_en16931`; an
    internal kind) and for text that XML cannot.
    """
    if document.kind not in TYPE_CODES:
        raise BillingError(f"a {document.kind} has no Factur-X")
    beyond = beyond_en16931(document.currency, document.taxes, document.totals, document.home_tax)
    if beyond:
        raise BillingError(
            f"Factur-X cannot carry {beyond}",
            hint="take factur-x from the partner's formats",
        )
    root = etree.Element(
        f"{{{RSM}}}CrossIndustryInvoice", nsmap={"rsm": RSM, "ram": RAM, "udt": UDT, "qdt": QDT}
    )
    context = etree.SubElement(root, f"{{{RSM}}}ExchangedDocumentContext")
    _text(_group(context, "GuidelineSpecifiedDocumentContextParameter"), "ID", EN16931)
    _header(etree.SubElement(root, f"{{{RSM}}}ExchangedDocument"), document)
    trade = etree.SubElement(root, f"{{{RSM}}}SupplyChainTradeTransaction")
    for line in document.lines:
        _line(_group(trade, "IncludedSupplyChainTradeLineItem"), line, document)
    _agreement(_group(trade, "ApplicableHeaderTradeAgreement"), document)
    # the supply is complete on the last day of the period; the group may not be empty (R008)
    delivery = _group(trade, "ApplicableHeaderTradeDelivery", "ActualDeliverySupplyChainEvent")
    _date(_group(delivery, "OccurrenceDateTime"), document.period.last_day)
    _settlement(_group(trade, "ApplicableHeaderTradeSettlement"), document)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def _header(header: etree._Element, document: Document) -> None:
    _text(header, "ID", document.number or DRAFT_NUMBER)
    _text(header, "TypeCode", type_code(document))
    _date(_group(header, "IssueDateTime"), document.issue_date)
    period = document.period
    zone = f"Period in local days of {period.zone}: {period.first_day} to {period.last_day}."
    _text(_group(header, "IncludedNote"), "Content", "\n".join((zone, *document.notes)))


def _line(item: etree._Element, line: Line, document: Document) -> None:
    _text(_group(item, "AssociatedDocumentLineDocument"), "LineID", str(line.number))
    product = _group(item, "SpecifiedTradeProduct")
    _text(product, "Name", line.description)
    _text(product, "Description", "; ".join(line.steps))
    facts = {
        "Section": line.section,
        "Service": line.service,
        "Destination": line.destination,
        "Time band": line.band,
        "Agreement": line.agreement,
        "Records": str(line.records) if line.records else "",
        "Quantity": f"{plain(line.quantity)} {line.unit}" if line.own_price is None else "",
    }
    for name, value in facts.items():
        if value:
            part = _group(product, "ApplicableProductCharacteristic")
            _text(part, "Description", name)
            _text(part, "Value", value)
    quantity, unit, price = line.quantity, UNIT_CODES.get(line.unit, "C62"), line.own_price
    if price is None:
        # no single price: one unit at the whole amount, the derivation beside it
        quantity, unit = Decimal(1 if line.amount >= 0 else -1), "C62"
        price = abs(line.amount)
    agreed = _group(item, "SpecifiedLineTradeAgreement", "NetPriceProductTradePrice")
    _text(agreed, "ChargeAmount", plain(price))
    delivered = _group(item, "SpecifiedLineTradeDelivery")
    _text(delivered, "BilledQuantity", plain(quantity), unitCode=unit)
    settled = _group(item, "SpecifiedLineTradeSettlement")
    tax = _group(settled, "ApplicableTradeTax")
    _text(tax, "TypeCode", "VAT")
    _text(tax, "CategoryCode", line.tax_category)
    if line.tax_category != "O":
        _text(tax, "RateApplicablePercent", plain(line.tax_rate * 100))
    period = document.period
    if period.first_day <= line.first_day and line.last_day <= period.last_day:
        _period(settled, line.first_day, line.last_day)
    residue = line_residue(line, document.currency)
    if residue.amount:
        part = _group(settled, "SpecifiedTradeAllowanceCharge")
        _indicator(part, residue.amount > 0)
        _text(part, "ActualAmount", f"{abs(residue.amount):f}")
        _text(part, "Reason", residue.reason)
    total = _group(settled, "SpecifiedTradeSettlementLineMonetarySummation")
    _text(total, "LineTotalAmount", f"{line.amount:f}")


def _agreement(group: etree._Element, document: Document) -> None:
    references = document.references
    _text(group, "BuyerReference", references.buyer_reference)
    outside_scope = any(row.category == "O" for row in document.taxes)
    _party(_group(group, "SellerTradeParty"), document.seller, outside_scope)
    _party(_group(group, "BuyerTradeParty"), document.buyer, outside_scope)
    if references.purchase_order:
        order = _group(group, "BuyerOrderReferencedDocument")
        _text(order, "IssuerAssignedID", references.purchase_order)
    if references.contracts:
        contract = _group(group, "ContractReferencedDocument")
        _text(contract, "IssuerAssignedID", ", ".join(references.contracts))


def _party(group: etree._Element, party: Party, outside_scope: bool) -> None:
    _text(group, "ID", party.id)
    _text(group, "Name", party.name)
    if party.registration:
        _text(_group(group, "SpecifiedLegalOrganization"), "ID", party.registration)
    if party.email:
        contact = _group(group, "DefinedTradeContact", "EmailURIUniversalCommunication")
        _text(contact, "URIID", party.email)
    address = _group(group, "PostalTradeAddress")
    _text(address, "PostcodeCode", party.address.postcode)
    _text(address, "LineOne", party.address.street)
    _text(address, "CityName", party.address.city)
    _text(address, "CountryID", party.address.country)
    _text(address, "CountrySubDivisionName", party.address.region)
    if party.endpoint_scheme and party.endpoint_id:
        _text(
            _group(group, "URIUniversalCommunication"),
            "URIID",
            party.endpoint_id,
            schemeID=party.endpoint_scheme,
        )
    if party.vat_id and not outside_scope:
        _text(_group(group, "SpecifiedTaxRegistration"), "ID", party.vat_id, schemeID="VA")


def _settlement(group: etree._Element, document: Document) -> None:
    totals, currency = document.totals, document.currency
    _text(group, "PaymentReference", document.number or DRAFT_NUMBER)
    home = document.home_tax if document.totals.tax else None
    _text(group, "TaxCurrencyCode", home.currency if home else "")
    _text(group, "InvoiceCurrencyCode", currency)
    for bank in document.banks:
        means = _group(group, "SpecifiedTradeSettlementPaymentMeans")
        _text(means, "TypeCode", CREDIT_TRANSFER)
        account = _group(means, "PayeePartyCreditorFinancialAccount")
        _text(account, "IBANID", bank.iban.replace(" ", ""))
        _text(account, "AccountName", bank.beneficiary)
        if not bank.iban:
            _text(account, "ProprietaryID", bank.account.replace(" ", ""))
        if bank.bic:
            institution = _group(means, "PayeeSpecifiedCreditorFinancialInstitution")
            _text(institution, "BICID", bank.bic)
    for row in document.taxes:
        tax = _group(group, "ApplicableTradeTax")
        usual, default = EXEMPTIONS.get(row.category, ("", ""))
        _text(tax, "CalculatedAmount", f"{row.tax:f}")
        _text(tax, "TypeCode", "VAT")
        _text(tax, "ExemptionReason", (row.reason or default) if default else "")
        _text(tax, "BasisAmount", f"{row.base:f}")
        _text(tax, "CategoryCode", row.category)
        _text(tax, "ExemptionReasonCode", row.code or usual)
        if row.category != "O":
            _text(tax, "RateApplicablePercent", plain(row.rate * 100))
    _period(group, document.period.first_day, document.period.last_day)
    terms = _group(group, "SpecifiedTradePaymentTerms")
    _text(terms, "Description", terms_text(document))
    if document.kind is not Kind.CREDIT_NOTE:
        _date(_group(terms, "DueDateDateTime"), document.due_date)
    sums = _group(group, "SpecifiedTradeSettlementHeaderMonetarySummation")
    _text(sums, "LineTotalAmount", f"{totals.net:f}")
    _text(sums, "TaxBasisTotalAmount", f"{totals.net:f}")
    _text(sums, "TaxTotalAmount", f"{totals.tax:f}", currencyID=currency)
    if home:
        _text(sums, "TaxTotalAmount", f"{home.tax:f}", currencyID=home.currency)
    _text(sums, "GrandTotalAmount", f"{totals.gross:f}")
    _text(sums, "DuePayableAmount", f"{totals.gross:f}")
    corrected = document.references.corrects
    if corrected:
        original = _group(group, "InvoiceReferencedDocument")
        _text(original, "IssuerAssignedID", corrected.number)
        stamp = _group(original, "FormattedIssueDateTime")
        etree.SubElement(
            stamp, f"{{{QDT}}}DateTimeString", {"format": "102"}
        ).text = f"{corrected.issue_date:%Y%m%d}"


def _period(parent: etree._Element, first: date, last: date) -> None:
    period = _group(parent, "BillingSpecifiedPeriod")
    _date(_group(period, "StartDateTime"), first)
    _date(_group(period, "EndDateTime"), last)


def _date(parent: etree._Element, day: date) -> None:
    element = etree.SubElement(parent, f"{{{UDT}}}DateTimeString", {"format": "102"})
    element.text = f"{day:%Y%m%d}"


def _indicator(parent: etree._Element, charge: bool) -> None:
    inner = etree.SubElement(_group(parent, "ChargeIndicator"), f"{{{UDT}}}Indicator")
    inner.text = "true" if charge else "false"


def _group(parent: etree._Element, *names: str) -> etree._Element:
    """Append nested aggregates and return the innermost."""
    for name in names:
        parent = etree.SubElement(parent, f"{{{RAM}}}{name}")
    return parent


def _text(parent: etree._Element, name: str, text: str, **attributes: str) -> None:
    """Append a basic element; an empty one is left out."""
    if not text.strip():
        return
    element = etree.SubElement(parent, f"{{{RAM}}}{name}", attributes)
    try:
        element.text = text
    except ValueError as error:
        raise BillingError(f"{name} {text!r} holds a character that XML cannot carry") from error
