"""The canonical document: what an invoice says, frozen before anything is rendered from it.

Every rendering comes from these fields alone, so its JSON bytes and their hash stand for the
document. A `Document` whose totals do not agree cannot be made. No layout and no rule of an XML
format lives here.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from billing_assets.core.fx import Rate, convert
from billing_assets.core.ids import canonical_json, sha256_of
from billing_assets.core.money import Rounding, minor_units, round_amount
from billing_assets.core.periods import Period
from billing_assets.reference.models import Address, Bank, Leg
from billing_assets.reference.tax import TaxCategory, TaxRounding


def _no_float(value: object) -> object:
    """Refuse binary floats: they have already lost digits."""
    if isinstance(value, float):
        raise ValueError("is a binary float; write decimals as text")
    return value


def plain(value: Decimal) -> str:
    """A decimal as plain text without trailing zeros, so equal values have equal bytes.

    >>> plain(Decimal("1200.5000"))
    '1200.5'
    """
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


Amount = Annotated[
    Decimal,
    BeforeValidator(_no_float),
    PlainSerializer(lambda value: format(value, "f"), return_type=str, when_used="json"),
]
"""A sum in the document's currency, with exactly its minor units."""


def ratio_text(value: Fraction) -> str:
    """An exact ratio as a decimal where it has one, else as 'n/d'."""
    exact = value.denominator
    for prime in (2, 5):
        while exact % prime == 0:
            exact //= prime
    if exact != 1:
        return str(value)
    digits = max(len(bin(value.denominator)), 1)
    return plain(round_amount(value, digits, Rounding.DOWN))


Ratio = Annotated[
    Fraction,
    BeforeValidator(lambda value: Fraction(value) if isinstance(value, str) else value),
    PlainSerializer(ratio_text, return_type=str, when_used="json"),
]
"""An exchange rate with all its digits."""

Exact = Annotated[
    Decimal,
    BeforeValidator(_no_float),
    PlainSerializer(plain, return_type=str, when_used="json"),
]
"""A quantity, price or rate with all its digits."""


class Kind(StrEnum):
    """Kinds of documents.

    A pro forma and a usage declaration go to the partner without a number and ask for nothing; a
    cost statement is internal.
    """

    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"
    DEBIT_NOTE = "debit_note"
    SELF_BILLED = "self_billed"
    PRO_FORMA = "pro_forma"
    DECLARATION = "declaration"
    COST_STATEMENT = "cost_statement"


UNNUMBERED = (Kind.PRO_FORMA, Kind.DECLARATION, Kind.COST_STATEMENT)
"""Kinds that are no fiscal documents: they have no number, no XML and no journal."""


CORRECTION_LINE = "correction"
"""Kind of a note's line whose amount a person has given."""


XmlProfile = Literal["ubl", "peppol-bis-3", "peppol-self-billing-3", "ubl-schema-only"]


_K = TypeVar("_K", Decimal, tuple[TaxCategory, Decimal])

Figures = tuple[Decimal, Decimal, Decimal]
"""Rate (a fraction), base and tax."""

TaxFigures = tuple[TaxCategory, Decimal, Decimal, Decimal]
"""Category, rate (a fraction), base and tax."""


class Part(BaseModel):
    """A part of a document: closed and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Party(Part):
    """Seller or buyer as the law wants them named."""

    id: str
    name: str
    address: Address
    vat_id: str = ""
    registration: str = ""
    email: str = ""
    endpoint_scheme: str = ""
    endpoint_id: str = ""


class DocumentPeriod(Part):
    """Local days that the document covers, both included, in an IANA zone."""

    first_day: date
    last_day: date
    zone: str

    @classmethod
    def of(cls, period: Period) -> "DocumentPeriod":
        """The days of a half-open period."""
        return cls(first_day=period.start, last_day=period.last_day, zone=period.zone)


class Corrected(Part):
    """The earlier document that a credit or debit note amends (VAT Directive Art. 219)."""

    number: str
    issue_date: date


class References(Part):
    """What the reader files the document under."""

    agreements: tuple[str, ...] = ()
    contracts: tuple[str, ...] = ()
    purchase_order: str = ""
    buyer_reference: str = ""
    corrects: Corrected | None = None


class Line(Part):
    """One charge: an amount with what it was made from.

    `quantity` bears the sign of the amount and `price` never does (EN 16931 BR-27). A usage
    amount is the sum of rounded records, so it may differ from quantity x price; `price` is None
    where no single price applies, and `steps` then derive the amount. Counts are negative where
    usage that was billed earlier is taken back. `tax_rule` is the rule of tax.yaml that decided;
    `self_assessed_rate` is what the buyer accounts for, `withholding_rate` what it keeps back.
    `priced_in` is the currency of `price` and `exact_amount` where the line was converted.
    """

    number: Annotated[int, Field(ge=1)]
    charge_id: str
    kind: str
    section: str
    service: str
    agreement: str
    description: str
    destination: str = ""
    band: str = ""
    origin: str = ""
    first_day: date
    last_day: date
    records: int
    answered: int
    quantity: Exact
    unit: str
    price: Annotated[Exact, Field(ge=0)] | None
    exact_amount: Exact
    priced_in: str = ""
    amount: Amount
    tax_category: TaxCategory
    tax_rate: Exact
    tax_rule: str = ""
    self_assessed_rate: Exact = Decimal(0)
    withholding_rate: Exact = Decimal(0)
    steps: tuple[str, ...] = ()

    @property
    def own_price(self) -> Decimal | None:
        """The price in the document's currency; None for a line that was converted as a whole."""
        return None if self.priced_in else self.price

    @model_validator(mode="after")
    def _sign_is_on_the_quantity(self) -> "Line":
        if self.quantity * self.amount < 0:
            raise ValueError(f"line {self.number}: quantity and amount differ in sign")
        if self.last_day < self.first_day:
            raise ValueError(f"line {self.number}: last day before first day")
        return self


class Subtotal(Part):
    """The lines of one section, service and unit, summed."""

    section: str
    service: str
    unit: str
    records: int
    answered: int
    quantity: Exact
    amount: Amount


class TaxRow(Part):
    """Tax of one category and rate: `tax` is `base` x `rate`, rounded half up.

    `code` (VATEX) and `reason` say why no tax is charged; layouts add the legal legend.
    """

    category: TaxCategory
    rate: Exact
    base: Amount
    tax: Amount
    code: str = ""
    reason: str = ""


class Withheld(Part):
    """Tax that who pays keeps back for its tax office: `amount` is `base` x `rate`, half up."""

    rate: Exact
    base: Amount
    amount: Amount


class HomeTax(Part):
    """The document's tax in our own currency (VAT Directive Art. 230), converted once.

    At `rate` units of `quoted` for one of `base`, the fixing of `day`; `self_assessed` and the
    whole document, `gross`, likewise.
    """

    currency: str
    base: str
    quoted: str
    rate: Ratio
    day: date
    tax: Amount
    self_assessed: Amount
    gross: Amount


class Totals(Part):
    """Sums of the document in its currency."""

    net: Amount
    tax: Amount
    gross: Amount


class TrafficDay(Part):
    """Usage of one local day: records, and answered minutes to two decimals."""

    day: date
    records: int
    minutes: Exact


class Provenance(Part):
    """What the document was made from, so that it can be proved later.

    Content hashes and versions of programs. The versions of the lake's tables that were read
    stand in the registry beside the document: they count commits, and equal documents may have
    been made after more or fewer of those.
    """

    cycle: str
    reference: str = ""
    template: str = ""
    engines: dict[str, str] = {}


class Document(Part):
    """One document. Raises `ValidationError` at its making when any total does not agree.

    `stream` names the stream that has this document alone, empty when several share it; a
    `turned` one shows charges with their sign turned, because the leg's other side is paid.
    `self_assessed` is output and input tax alike, of a purchase under reverse charge; `withheld`
    lowers what is paid and no total. `number` is None in a draft. Amounts are in `currency` with
    its minor units; `due_date` and `terms_days` are always present because payment terms must be.
    A `dated` document was converted at the fixing of its issue date, which must stay.
    """

    form: Literal["1"] = "1"
    kind: Kind
    leg: Leg
    stream: str = ""
    turned: bool = False
    number: str | None = None
    issue_date: date
    due_date: date
    terms_days: Annotated[int, Field(ge=0)]
    period: DocumentPeriod
    currency: str
    language: str
    template_name: str
    xml_profile: XmlProfile
    formats: tuple[str, ...] = ("pdf", "xml", "csv", "itemised")
    annex_records: Annotated[int, Field(ge=0)] = 0
    seller: Party
    buyer: Party
    banks: tuple[Bank, ...] = ()
    references: References
    lines: Annotated[tuple[Line, ...], Field(min_length=1)]
    subtotals: tuple[Subtotal, ...]
    taxes: tuple[TaxRow, ...]
    tax_rounding: TaxRounding = "document"
    self_assessed: tuple[TaxRow, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    home_tax: HomeTax | None = None
    totals: Totals
    notes: tuple[str, ...] = ()
    dated: bool = False
    traffic: tuple[TrafficDay, ...] = ()
    provenance: Provenance

    @property
    def partner(self) -> str:
        """The partner's id: buyer of what is ours, seller of what is theirs."""
        return (self.buyer if self.ours else self.seller).id

    @property
    def ours(self) -> bool:
        """Whether we are the seller."""
        return (self.leg is Leg.CUSTOMER) is not self.turned

    @property
    def payable(self) -> Decimal:
        """What is paid: the gross less what the payer withholds."""
        return self.totals.gross - sum(row.amount for row in self.withheld)

    @property
    def is_draft(self) -> bool:
        """True until finalisation gives the number."""
        return self.number is None

    def canonical(self) -> bytes:
        """The bytes that stand for this document: equal documents have equal bytes."""
        return canonical_json(self.model_dump(mode="json"))

    def sha256(self) -> str:
        """Content hash of the canonical bytes, in hex."""
        return sha256_of(self.canonical())

    @model_validator(mode="after")
    def _totals_agree(self) -> "Document":
        problems = [f"{c.name}: {c.detail}" for c in identities(self) if not c.ok]
        if problems:
            raise ValueError("; ".join(problems))
        return self


class Check(Part):
    """One thing that must hold: what it is, whether it does, and the figures or what is wrong."""

    name: str
    ok: bool
    detail: str


def _equal(name: str, found: object, expected: object) -> Check:
    ok = found == expected
    several = isinstance(found, list | tuple)
    return Check(
        name=name,
        ok=ok,
        detail=f"{len(found)} agree" if ok and several else f"{found} = {expected}",
    )


def identities(document: Document) -> list[Check]:
    """Every sum of a document against what it must equal, recomputed from its lines."""
    totals, lines = document.totals, document.lines
    decimals = minor_units(document.currency)
    rows = [
        _equal("lines sum to net", sum(line.amount for line in lines), totals.net),
        _equal("subtotals are those of the lines", document.subtotals, subtotals_of(lines)),
        _equal(
            "taxes are those of the lines",
            [(row.category, row.rate, row.base, row.tax) for row in document.taxes],
            tax_figures(lines, document.currency, document.tax_rounding),
        ),
        _equal(
            "self-assessed taxes are those of the lines",
            [(row.rate, row.base, row.tax) for row in document.self_assessed],
            self_assessed_figures(lines, document.currency, document.tax_rounding),
        ),
        _equal(
            "withheld taxes are those of the lines",
            [(row.rate, row.base, row.amount) for row in document.withheld],
            withheld_figures(lines, document.currency),
        ),
        _equal("tax rows sum to tax", sum(row.tax for row in document.taxes), totals.tax),
        _equal("net plus tax is gross", totals.net + totals.tax, totals.gross),
    ]
    amounts = [totals.net, totals.tax, totals.gross, *(line.amount for line in lines)]
    wrong = [str(amount) for amount in amounts if amount.as_tuple().exponent != -decimals]
    rows.append(
        Check(
            name=f"amounts have the {decimals} decimals of {document.currency}",
            ok=not wrong,
            detail=", ".join(wrong[:5]) or "all",
        )
    )
    home = document.home_tax
    if home is not None:
        rate = Rate(home.base, home.quoted, home.rate)
        ours = sum((row.tax for row in document.self_assessed), Decimal(0))
        rows.append(
            _equal(
                f"tax and gross in {home.currency} are those at the fixing",
                (home.tax, home.self_assessed, home.gross),
                tuple(
                    convert(amount, rate, document.currency, home.currency)
                    for amount in (totals.tax, ours, totals.gross)
                ),
            )
        )
    terms = (document.due_date - document.issue_date).days
    rows.append(_equal("due date is issue date plus terms", terms, document.terms_days))
    return rows


def subtotals_of(lines: Iterable[Line]) -> tuple[Subtotal, ...]:
    """Sum lines by section, service and unit, in the order in which they first appear."""
    groups: dict[tuple[str, str, str], list[Line]] = defaultdict(list)
    for line in lines:
        groups[line.section, line.service, line.unit].append(line)
    return tuple(
        Subtotal(
            section=section,
            service=service,
            unit=unit,
            records=sum(line.records for line in group),
            answered=sum(line.answered for line in group),
            quantity=sum((line.quantity for line in group), Decimal(0)),
            amount=sum((line.amount for line in group), Decimal(0)),
        )
        for (section, service, unit), group in groups.items()
    )


def tax_figures(
    lines: Iterable[Line], currency: str, rounding: TaxRounding = "document"
) -> list[TaxFigures]:
    """Category, rate, base and tax of each group of lines, by category and rate.

    Tax is rounded half up to the currency's minor units: once a group, or on each of its lines.
    """
    taxed: list[tuple[tuple[TaxCategory, Decimal], Decimal, Decimal]] = [
        ((one.tax_category, one.tax_rate), one.tax_rate, one.amount) for one in lines
    ]
    return [(*key, base, tax) for key, base, tax in _figures(taxed, currency, rounding)]


def self_assessed_figures(
    lines: Iterable[Line], currency: str, rounding: TaxRounding = "document"
) -> list[Figures]:
    """Rate, base and tax that the buyer accounts for, by rate; rounded as the document's tax."""
    taxed = [
        (one.self_assessed_rate, one.self_assessed_rate, one.amount)
        for one in lines
        if one.self_assessed_rate
    ]
    return _figures(taxed, currency, rounding)


def withheld_figures(lines: Iterable[Line], currency: str) -> list[Figures]:
    """Rate, base and amount that the payer keeps back, by rate; rounded once a rate, half up."""
    kept = [
        (one.withholding_rate, one.withholding_rate, one.amount)
        for one in lines
        if one.withholding_rate
    ]
    return _figures(kept, currency, "document")


def _figures(
    taxed: Iterable[tuple[_K, Decimal, Decimal]], currency: str, rounding: TaxRounding
) -> list[tuple[_K, Decimal, Decimal]]:
    """Base and tax of amounts at rates, by key in its order."""
    decimals = minor_units(currency)
    zero = Decimal(0).scaleb(-decimals)
    groups: dict[_K, list[tuple[Decimal, Decimal]]] = defaultdict(list)
    for key, rate, amount in taxed:
        groups[key].append((rate, amount))
    found = []
    for key in sorted(groups):
        bases = [amount for _, amount in groups[key]]
        base = sum(bases, zero)
        rate = groups[key][0][0]
        parts = bases if rounding == "line" else [base]
        taxes = (
            round_amount(Fraction(part) * Fraction(rate), decimals, Rounding.HALF_UP)
            for part in parts
        )
        found.append((key, base, sum(taxes, zero)))
    return found
