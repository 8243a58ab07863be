"""From the charges of one cycle and leg to one document, with its tax and its totals.

Pure: charges, parties and dates come in, a checked `Document` comes out; amounts are taken from
the charges as they stand. Tax follows the rules, line by line (catalogue 2.4).
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl

from billing_assets.charging.exchange import disclosures, is_dated
from billing_assets.charging.line import REPLACED
from billing_assets.core.countries import COUNTRIES
from billing_assets.core.errors import BillingError, InputError, Problem
from billing_assets.core.money import Rounding, minor_units, round_amount
from billing_assets.core.periods import Period
from billing_assets.invoicing.document import (
    UNNUMBERED,
    Document,
    DocumentPeriod,
    Kind,
    Line,
    Party,
    Provenance,
    References,
    TrafficDay,
    XmlProfile,
    plain,
    subtotals_of,
)
from billing_assets.invoicing.tax import (
    beyond_en16931,
    home_rate,
    line_position,
    taxed,
    words_of,
)
from billing_assets.reference.fx import Fixings
from billing_assets.reference.models import Agreement, Bank, Carrier, Leg, Partner
from billing_assets.reference.tax import Position, Taxation, TaxRules

SECTION_ORDER = ("usage", "prior_period", "recurring")
"""Sections in the order in which a document shows them; any other follows by name."""

LINE_ORDER = (
    "service",
    "destination",
    "origin",
    "band",
    "first_day",
    "last_day",
    "price",
    "description",
    "charge_id",
)


def billable(charges: pl.DataFrame) -> pl.DataFrame:
    """Charges that a document shows: all but records that cost nothing (unanswered calls, say)
    and what a named rule has replaced by lines of its own.

    Usage that is free on purpose (bill and keep) is shown.
    """
    return charges.filter(pl.col("rule") != "not_chargeable", pl.col("kind") != REPLACED)


def assemble(
    charges: pl.DataFrame,
    *,
    stream: str = "",
    turned: bool = False,
    carrier: Carrier,
    partner: Partner,
    period: Period,
    issue_date: date,
    provenance: Provenance,
    agreements: Sequence[Agreement] = (),
    traffic: pl.DataFrame | None = None,
    notes: Sequence[str] = (),
    tax_rules: TaxRules | None = None,
    fixings: Fixings | None = None,
) -> Document:
    """Make the draft document of one cycle and leg.

    `charges` are rows of table `charge` of one cycle, partner, leg and currency; `stream` names
    theirs where it has a document of its own. A customer leg becomes our invoice; a supplier leg
    an internal cost statement with the partner as seller, or the invoice that we issue in its
    name. With `turned` the sides are exchanged and all amounts change their sign. Lines are the
    `billable` ones.
    `agreements` lend their contract references; `traffic` are the rows of `usage_daily` that the
    cycle counts, for the chart. `tax_rules` say how lines are taxed where the partner does not;
    by `fixings` of the period's last day tax is shown in our own currency too. The due date is
    `issue_date` plus the partner's terms.

    Raises `InputError` when master data cannot carry the document (see `master_data_problems`),
    `NoTaxRule` and `MissingFixing` for want of either, `BillingError` when the charges are not of
    one document, none is billable, or an amount is finer than the minor unit.
    """
    leg = Leg(_only(charges, "leg"))
    currency = _only(charges, "currency")
    ours = (leg is Leg.CUSTOMER) is not turned
    theirs_kind = Kind.SELF_BILLED if partner.document.self_billing else Kind.COST_STATEMENT
    kind = Kind.INVOICE if ours else theirs_kind
    if turned:
        charges = charges.with_columns(-pl.col("amount", "exact_amount", "quantity"))
    _require(charges, "cycle", provenance.cycle)
    _require(charges, "partner", partner.partner)
    shown = _ordered(billable(charges))
    if not shown:
        raise BillingError(f"cycle {provenance.cycle} has nothing to bill on its {leg} leg")
    rules = tax_rules or TaxRules()
    taxation = Taxation(rules, carrier.country, partner.country, partner.tax)
    taxes = [line_position(taxation, row, sale=ours, period=period) for row in shown]
    positions = [one for one, _ in taxes]
    problems = master_data_problems(carrier, partner, kind, currency, positions)
    if problems:
        raise InputError(f"master data of {partner.partner} cannot carry the document", problems)

    lines = tuple(
        _line(number, row, one, held, currency)
        for number, (row, (one, held)) in enumerate(zip(shown, taxes, strict=True), start=1)
    )
    zero = Decimal(0).scaleb(-minor_units(currency))
    net = sum((line.amount for line in lines), zero)
    charged = charges["amount"].sum()
    if net != charged:
        raise BillingError(f"lines sum to {net} but the charges to {charged} {currency}")
    us, them = carrier_party(carrier), partner_party(partner)
    tax = taxed(
        lines,
        currency=currency,
        rounding=partner.tax.rounding or rules.rounding,
        words=words_of(positions),
        home=home_rate(
            lines,
            currency,
            carrier.currency,
            period.last_day,
            fixings,
            wanted=partner.document.home_equivalent,
        ),
    )
    beyond = beyond_en16931(currency, tax["taxes"], tax["totals"], tax["home_tax"])
    return Document(
        kind=kind,
        leg=leg,
        stream=stream,
        turned=turned,
        issue_date=issue_date,
        due_date=issue_date + timedelta(days=partner.terms_days),
        terms_days=partner.terms_days,
        period=DocumentPeriod.of(period),
        currency=currency,
        language=partner.document.language,
        template_name=partner.document.template,
        xml_profile=_xml_profile(partner, kind, beyond),
        formats=partner.document.formats,
        annex_records=partner.document.annex_records,
        seller=us if ours else them,
        buyer=them if ours else us,
        banks=_banks(carrier, partner, currency, ours=ours),
        references=_references(charges, partner, agreements),
        lines=lines,
        subtotals=subtotals_of(lines),
        **tax,
        notes=(*notes, *disclosures(charges)),
        dated=is_dated(charges),
        traffic=_traffic(traffic, period),
        provenance=provenance,
    )


def _xml_profile(partner: Partner, kind: Kind, beyond: str) -> XmlProfile:
    """The partner's profile, as far as it can carry the document; `beyond` says what it cannot.

    Raises `BillingError` for what Peppol cannot.
    """
    asked = partner.document.xml
    if beyond and asked == "peppol-bis-3" and kind not in UNNUMBERED:
        raise BillingError(
            f"Peppol cannot carry {beyond}",
            hint=f"take tax.rounding or document.xml from {partner.partner}'s file",
        )
    if beyond:
        return "ubl-schema-only"
    if asked == "peppol-bis-3" and kind is Kind.SELF_BILLED:
        return "peppol-self-billing-3"
    return asked


def _banks(carrier: Carrier, partner: Partner, currency: str, *, ours: bool) -> tuple[Bank, ...]:
    """The seller's accounts in a currency; those that take any where it has none of its own."""
    banks = carrier.bank if ours else (partner.bank,) if partner.bank else ()
    payable = [bank for bank in banks if bank.iban or bank.account]
    own = tuple(bank for bank in payable if bank.currency == currency)
    return own or tuple(bank for bank in payable if bank.currency is None)


def master_data_problems(
    carrier: Carrier,
    partner: Partner,
    kind: Kind,
    currency: str,
    positions: Sequence[Position],
) -> list[Problem]:
    """What is missing or contradictory in master data for a document, before any is made.

    Rules of EN 16931 and Peppol that a validator would only report when the document exists.
    """
    tax, settings = partner.tax, partner.document
    who = f"partner {partner.partner}"
    found: list[Problem] = []

    def refuse(field: str, value: object, message: str) -> None:
        found.append(Problem(message, file=who, field=field, value=str(value)))

    categories = {one.category for one in positions}
    if any(one.category == "S" and not one.rate for one in positions):
        refuse("tax.rate", tax.rate, "category S needs a rate above zero")
    if tax.category not in (None, "S") and tax.rate:
        refuse("tax.rate", tax.rate, f"category {tax.category} bears no rate")
    if any(one.category == "E" and not (one.reason or one.code) for one in positions):
        refuse("tax.reason", "", "an exemption needs its reason (BR-E-10)")
    if kind is Kind.COST_STATEMENT:
        return found

    if "AE" in categories and not tax.vat_id:
        refuse("tax.vat_id", "", "reverse charge needs the partner's VAT id (BR-AE-02)")
    if categories != {"O"} and not carrier.vat_id:
        found.append(Problem("our VAT id is missing", file="carrier", field="vat_id"))
    if kind is Kind.SELF_BILLED and categories - {"O", "AE"} and not tax.vat_id:
        refuse("tax.vat_id", "", "an invoice in the partner's name shows its VAT id (BR-S-02)")
    if "O" in categories and categories != {"O"}:
        refuse("tax", ", ".join(sorted(categories)), "category O stands alone (BR-O-11)")
    ours = kind is not Kind.SELF_BILLED
    if not _banks(carrier, partner, currency, ours=ours):
        payee = "carrier" if ours else who
        found.append(Problem(f"no bank account to pay {currency} to", file=payee, field="bank"))
    if "O" not in categories and not _names_its_country(tax.vat_id):
        refuse("tax.vat_id", tax.vat_id, "a VAT id begins with its country (BR-CO-09)")
    if "O" not in categories and not _names_its_country(carrier.vat_id):
        message = "our VAT id does not begin with its country (BR-CO-09)"
        found.append(Problem(message, file="carrier", field="vat_id", value=carrier.vat_id))
    if settings.xml == "peppol-bis-3":
        if not (settings.endpoint_scheme and settings.endpoint_id):
            refuse("document.endpoint_id", "", "Peppol needs the partner's (R010, R020)")
        if not (settings.buyer_reference or settings.purchase_order):
            refuse("document.buyer_reference", "", "Peppol needs it or a purchase order (R003)")
        if not (carrier.endpoint_scheme and carrier.endpoint_id):
            found.append(
                Problem("Peppol needs ours (R010, R020)", file="carrier", field="endpoint_id")
            )
    return found


def _names_its_country(vat_id: str) -> bool:
    """Whether a VAT id begins with a country, as Greece and Northern Ireland write theirs too."""
    return not vat_id or vat_id[:2] in COUNTRIES | {"EL", "XI"}


def _only(charges: pl.DataFrame, column: str) -> str:
    """The single value of a column; a document is of one leg and one currency."""
    values = charges[column].unique().sort().to_list()
    if len(values) != 1:
        shown = ", ".join(map(str, values)) or "none"
        raise BillingError(
            f"charges of one document must share their {column}; found {shown}",
            hint="filter the charges by cycle, partner, leg and currency",
        )
    return values[0]


def _require(charges: pl.DataFrame, column: str, expected: str) -> None:
    found = _only(charges, column)
    if found != expected:
        raise BillingError(f"charges are of {column} {found}, the document of {expected}")


def _section_rank(section: str) -> tuple[int, str]:
    known = section in SECTION_ORDER
    return (SECTION_ORDER.index(section) if known else len(SECTION_ORDER), section)


def _ordered(charges: pl.DataFrame) -> list[dict[str, Any]]:
    """Charges in the order of the document; each is exactly one line."""
    return sorted(
        charges.sort(*LINE_ORDER, nulls_last=True).iter_rows(named=True),
        key=lambda row: _section_rank(row["section"]),
    )


def _line(
    number: int, row: Mapping[str, Any], tax: Position, withheld: Decimal, currency: str
) -> Line:
    exact: Decimal = row["amount"]
    amount = round_amount(exact, minor_units(currency), Rounding.DOWN)
    if amount != exact:
        raise BillingError(
            f"charge {row['charge_id']} ({row['description']}) has amount {plain(exact)}, "
            f"finer than the minor unit of {currency}",
            hint="the charge's line rounding must end at the currency's minor units",
        )
    quantity: Decimal = row["quantity"] or Decimal(0)
    price: Decimal | None = row["price"]
    return Line(
        number=number,
        charge_id=str(row["charge_id"]),
        kind=row["kind"],
        section=row["section"],
        service=row["service"] or "",
        agreement=row["agreement"] or "",
        description=row["description"],
        destination=row["destination"] or "",
        band=row["band"] or "",
        origin=row["origin"] or "",
        first_day=row["first_day"],
        last_day=row["last_day"],
        records=row["records"] or 0,
        answered=row["answered"] or 0,
        # a credit is a negative quantity at a positive price (EN 16931 BR-27)
        quantity=abs(quantity) if amount >= 0 else -abs(quantity),
        unit=row["unit"],
        price=None if price is None else abs(price),
        exact_amount=row["exact_amount"],
        priced_in="" if row["priced_in"] in (currency, None) else row["priced_in"],
        amount=amount,
        tax_category=tax.category,
        tax_rate=tax.rate,
        tax_rule=tax.rule,
        self_assessed_rate=tax.self_assessed,
        withholding_rate=withheld,
        steps=tuple(json.loads(row["steps"] or "[]")),
    )


def _references(
    charges: pl.DataFrame, partner: Partner, agreements: Sequence[Agreement]
) -> References:
    billed = tuple(charges["agreement"].drop_nulls().unique().sort())
    contracts = {a.contract_reference for a in agreements if a.key in billed}
    return References(
        agreements=billed,
        contracts=tuple(sorted(contracts - {""})),
        purchase_order=partner.document.purchase_order,
        buyer_reference=partner.document.buyer_reference,
    )


def carrier_party(carrier: Carrier) -> Party:
    """Us as a party of a document."""
    return Party(
        id=carrier.entity,
        name=carrier.name,
        address=carrier.address,
        vat_id=carrier.vat_id,
        registration=carrier.registration,
        email=carrier.contact_email,
        endpoint_scheme=carrier.endpoint_scheme,
        endpoint_id=carrier.endpoint_id,
    )


def partner_party(partner: Partner) -> Party:
    """A partner as a party of a document."""
    settings = partner.document
    return Party(
        id=partner.partner,
        name=partner.name,
        address=partner.address,
        vat_id=partner.tax.vat_id,
        registration=partner.tax.registration,
        email=settings.emails[0] if settings.emails else "",
        endpoint_scheme=settings.endpoint_scheme,
        endpoint_id=settings.endpoint_id,
    )


def _traffic(usage: pl.DataFrame | None, period: Period) -> tuple[TrafficDay, ...]:
    """Records and answered minutes by local day of the period, from rows of `usage_daily`."""
    if usage is None:
        return ()
    day = pl.col("local_day")
    days = (
        usage.filter((day >= period.start) & (day < period.end))
        .group_by(day)
        .agg(pl.sum("records", "duration_ms"))
        .sort(day)
    )
    return tuple(
        TrafficDay(
            day=day,
            records=records,
            minutes=round_amount(Fraction(duration_ms, 60_000), 2, Rounding.HALF_UP),
        )
        for day, records, duration_ms in days.iter_rows()
    )
