"""Tax as data (catalogue 2.4): the rules of tax.yaml, a partner's facts, and which rule holds.

Rules are read from the top and the first that fits decides; what a rule leaves out fits any. A
supply that none fits has no tax position, and is never one at zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from billing_assets.core.errors import BillingError
from billing_assets.core.periods import Period
from billing_assets.reference.fees import require_distinct
from billing_assets.reference.forms import Form, Identifier, Name
from billing_assets.reference.values import Country, Day, DecimalText

TaxCategory = Literal["S", "AE", "O", "E", "G", "Z"]
"""EN 16931 categories: standard, reverse charge, outside scope, exempt, export, zero rated."""

Treatment = Literal[
    "standard", "reduced", "zero", "exempt", "reverse_charge", "export", "outside_scope"
]

CATEGORIES: dict[Treatment, TaxCategory] = {
    "standard": "S",
    "reduced": "S",
    "zero": "Z",
    "exempt": "E",
    "reverse_charge": "AE",
    "export": "G",
    "outside_scope": "O",
}

EXEMPTIONS: dict[TaxCategory, tuple[str, str]] = {
    "AE": ("VATEX-EU-AE", "Reverse charge"),
    "G": ("VATEX-EU-G", "Export outside the EU"),
    "O": ("VATEX-EU-O", "Not subject to VAT"),
    "E": ("", "Exempt from VAT"),
}
"""VATEX code and words of the categories that need them, where a rule gives none of its own."""

Direction = Literal["sale", "purchase"]
"""A sale is what we supply to a partner, a purchase what it supplies to us."""

TaxRounding = Literal["document", "line"]
"""Where tax is rounded: once for a category and rate, or on each line (worked example K01)."""

EU = frozenset(
    {
        *("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU"),
        *("IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"),
    }
)
"""The member states (ISO 3166) that are one VAT area."""

Share = Annotated[DecimalText, Field(ge=0, le=1)]
Place = Country | Literal["EU", "non-EU", "any"]
ServiceName = Literal["voice", "sms", "data", "event"]
_Vatex = Annotated[str, StringConstraints(pattern=r"^VATEX-[A-Z]{2}-[A-Z0-9-]+$")]


class Certificate(Form):
    """A paper that changes a partner's tax between two days, both included.

    `certificate` is its kind as rules name it (a reseller's, of residence, of exemption).
    """

    certificate: Identifier
    number: str = ""
    valid_from: Day = Field(alias="from")
    last_day: Day

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last_day < self.valid_from:
            raise ValueError("last_day is before from")
        return self


class Tax(Form):
    """A partner's tax facts towards us.

    The rules of tax.yaml decide its position by its country, `status` and `certificates`. Where
    no rule can say it, `category` and `rate` (a fraction, 0.23) state it outright, with `reason`
    as the document's words. `vat_checked` is the day on which the VAT id was last confirmed,
    `vat_valid_to` the last day on which it is known to be valid. `rounding` is the partner's own
    in place of tax.yaml's. `shares` are its parts of factors' bases (interstate traffic, say).
    With `gross_up` who pays bears the tax that is withheld.
    """

    category: TaxCategory | None = None
    rate: Share = Decimal(0)
    status: Literal["business", "consumer", "exempt"] = "business"
    vat_id: str = ""
    vat_checked: Day | None = None
    vat_valid_to: Day | None = None
    registration: str = ""
    reason: str = ""
    certificates: tuple[Certificate, ...] = ()
    rounding: TaxRounding | None = None
    shares: dict[Identifier, Share] = Field(default_factory=dict)
    gross_up: bool = False

    @model_validator(mode="after")
    def _stated_whole(self) -> Self:
        if self.category is None and (self.rate or self.reason):
            raise ValueError("rate and reason belong to a category; rules have their own")
        return self

    def holds(self, certificate: str | None, day: date) -> bool:
        """Whether a certificate of a kind is valid on a day; asking for none always holds."""
        return certificate is None or any(
            one.certificate == certificate and one.valid_from <= day <= one.last_day
            for one in self.certificates
        )


class _Dated(Form):
    """What every rule is bound to: places, dates (`to` is the first day without it), services."""

    supplier: Place
    customer: Place
    services: tuple[ServiceName, ...] = ()
    certificate: Identifier | None = None
    valid_from: Day = Field(default=date(1970, 1, 1), alias="from")
    valid_to: Day | None = Field(default=None, alias="to")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.valid_to and self.valid_to <= self.valid_from:
            raise ValueError("to is not after from")
        return self

    def fits(self, supply: "Supply") -> bool:
        """Whether the rule speaks of a supply."""
        return (
            self.valid_from <= supply.day < (self.valid_to or date.max)
            and _is_in(self.supplier, supply.supplier, supply.customer)
            and _is_in(self.customer, supply.customer, supply.supplier)
            and (not self.services or supply.service in self.services)
            and supply.partner.holds(self.certificate, supply.day)
        )


class TaxRule(_Dated):
    """How supplies between two places are taxed.

    `EU` is a member state other than the counterparty's own country, `non-EU` any country outside
    the union other than the counterparty's; a supply at home needs the country's own rule.
    `customer_status` is who buys; `certificate` asks for a valid one of the partner. `rate` is a
    fraction; under a reverse charge it is what we account for ourselves on a purchase. `code` and
    `reason` are the exemption's code (VATEX) and the legend of the document.
    """

    rule: Identifier
    customer_status: tuple[Literal["business", "consumer", "exempt"], ...] = ()
    direction: Direction | None = None
    treatment: Treatment
    rate: Share = Decimal(0)
    code: _Vatex | None = None
    reason: str = ""

    @model_validator(mode="after")
    def _rate_fits_treatment(self) -> Self:
        taxed = self.treatment in ("standard", "reduced")
        reverse = self.treatment == "reverse_charge"
        if (taxed or (reverse and self.direction != "sale")) and not self.rate:
            who = ": a purchase is taxed by ourselves" if reverse else ""
            raise ValueError(f"{self.treatment} needs a rate above zero{who}")
        if self.rate and not taxed and (not reverse or self.direction == "sale"):
            raise ValueError(f"{self.treatment} bears no rate")
        if (self.code or self.reason) and self.category in ("S", "Z"):
            raise ValueError(f"{self.treatment} has no exemption reason (BR-S-10, BR-Z-10)")
        if self.category == "E" and not (self.code or self.reason):
            raise ValueError("an exemption needs its reason or code (BR-E-10)")
        return self

    @property
    def category(self) -> TaxCategory:
        """The EN 16931 category of the treatment."""
        return CATEGORIES[self.treatment]


class WithholdingRule(_Dated):
    """Part of the net that who pays keeps back for its tax office.

    A rate of a treaty asks for its `certificate`, and stands before the rate without one.
    """

    rule: Identifier
    direction: Direction | None = None
    rate: Annotated[DecimalText, Field(ge=0, lt=1)]


class DatedRate(Form):
    """A factor that holds from a day until the next one."""

    valid_from: Day = Field(alias="from")
    rate: Annotated[DecimalText, Field(ge=0, le=10)]


class Factor(Form):
    """A contribution passed through to customers: base x share x factor of the day (K05).

    The base is the net of a sale's lines of the `services` and `origins`; `share` is the part of
    it that is assessed, unless the partner has a share of its own. A customer with a valid
    `exempt_with` certificate pays none. Each of `rates` holds until the next.
    """

    factor: Identifier
    title: Name
    customer: Place
    services: tuple[ServiceName, ...] = ()
    origins: tuple[Name, ...] = ()
    share: Share = Decimal(1)
    exempt_with: Identifier | None = None
    rates: Annotated[tuple[DatedRate, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _rates_in_order(self) -> Self:
        days = [one.valid_from for one in self.rates]
        if days != sorted(set(days)):
            raise ValueError("rates must be by day, each day once")
        return self

    def on(self, day: date) -> DatedRate | None:
        """The rate of a day; None before the first."""
        return max(
            (one for one in self.rates if one.valid_from <= day),
            key=lambda one: one.valid_from,
            default=None,
        )


class TaxRules(Form):
    """tax.yaml: rules of tax and withholding by first fit, factors, and the rounding of tax."""

    rounding: TaxRounding = "document"
    rules: tuple[TaxRule, ...] = ()
    withholding: tuple[WithholdingRule, ...] = ()
    factors: tuple[Factor, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        require_distinct("rules", [one.rule for one in self.rules])
        require_distinct("withholding", [one.rule for one in self.withholding])
        require_distinct("factors", [one.factor for one in self.factors])
        return self


class NoTaxRule(BillingError):
    """No rule says how a supply is taxed; the message names its places, status, service, day."""


@dataclass(frozen=True)
class Supply:
    """One supply: who to whom (countries), of what and when; `partner` has the partner's facts."""

    direction: Direction
    supplier: str
    customer: str
    partner: Tax
    service: str
    day: date

    @property
    def customer_status(self) -> str:
        """Who buys: the partner as it is, ourselves as a business."""
        return self.partner.status if self.direction == "sale" else "business"


@dataclass(frozen=True)
class Taxation:
    """What a partner's supplies are taxed by: the rules, our country, its country and facts."""

    rules: TaxRules
    home: str
    country: str
    partner: Tax

    def supply(self, *, sale: bool, service: str, day: date) -> Supply:
        """A supply of ours to the partner (`sale`), or of the partner's to us."""
        supplier, customer = (self.home, self.country) if sale else (self.country, self.home)
        direction: Direction = "sale" if sale else "purchase"
        return Supply(direction, supplier, customer, self.partner, service, day)


@dataclass(frozen=True)
class Position:
    """How a supply is taxed: what its document bears, and what we assess ourselves.

    `rate` stands on the document, `self_assessed` is the rate of output and input tax that we
    account for. `rule` names the rule, empty for a position that the partner states.
    """

    category: TaxCategory
    rate: Decimal = Decimal(0)
    self_assessed: Decimal = Decimal(0)
    code: str = ""
    reason: str = ""
    rule: str = ""


COMPENSATION = Position("E", reason="Compensation: no consideration for a supply")
"""What makes no supply bears no tax; category O cannot stand beside others (BR-O-11)."""


def supply_day(last_day: date, period: Period) -> date:
    """The day whose rules hold for what was supplied until `last_day` and is billed for a period.

    A supply billed by periods is complete at the end of its period (VAT Directive Art. 64); what
    belongs to an earlier one keeps its own day.
    """
    return last_day if last_day < period.start else period.last_day


def position(rules: TaxRules, supply: Supply) -> Position:
    """The tax position of a supply; raises `NoTaxRule` when no rule says it."""
    stated = supply.partner
    if stated.category is not None:
        return Position(stated.category, stated.rate, reason=stated.reason)
    for rule in rules.rules:
        if (
            rule.direction in (None, supply.direction)
            and (not rule.customer_status or supply.customer_status in rule.customer_status)
            and rule.fits(supply)
        ):
            reverse = rule.treatment == "reverse_charge"
            assessed = rule.rate if reverse and supply.direction == "purchase" else Decimal(0)
            return Position(
                rule.category,
                Decimal(0) if reverse else rule.rate,
                assessed,
                rule.code or "",
                rule.reason,
                rule.rule,
            )
    service = supply.service or "any service"
    raise NoTaxRule(
        f"no tax rule for {service} from {supply.supplier} to {supply.customer} "
        f"({supply.customer_status}, {supply.direction}) on {supply.day}",
        hint="add it to tax.yaml, or state the partner's tax.category",
    )


def withholding(rules: TaxRules, supply: Supply) -> WithholdingRule | None:
    """The rule by which who pays for a supply keeps tax back; None when nothing is."""
    fitting = (
        rule
        for rule in rules.withholding
        if rule.direction in (None, supply.direction) and rule.fits(supply)
    )
    rule = next(fitting, None)
    return rule if rule and rule.rate else None


def factors_of(rules: TaxRules, supply: Supply) -> Sequence[Factor]:
    """The factors that a supply pays: sales alone, none that a valid certificate exempts."""
    return [
        factor
        for factor in rules.factors
        if supply.direction == "sale"
        and _is_in(factor.customer, supply.customer, supply.supplier)
        and (not factor.services or supply.service in factor.services)
        and (factor.exempt_with is None or not supply.partner.holds(factor.exempt_with, supply.day))
    ]


def _is_in(place: str, country: str, counterparty: str) -> bool:
    """Whether a country is in a place, as seen from the other side's country."""
    if place == "any":
        return True
    if place == "EU":
        return country in EU and country != counterparty
    if place == "non-EU":
        return country not in EU and country != counterparty
    return place == country
