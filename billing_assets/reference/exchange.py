"""The rule by which an agreement's charges are converted into the currency of its invoice."""

from fractions import Fraction
from typing import Literal

from pydantic import model_validator

from billing_assets.core.fx import Rate
from billing_assets.reference.forms import Form
from billing_assets.reference.values import CurrencyCode, ExchangeRate


class FixedRate(Form):
    """A rate that the contract states: units of `currency` for one of `base`."""

    base: CurrencyCode
    currency: CurrencyCode
    units_per_base: ExchangeRate

    @property
    def rate(self) -> Rate:
        """The rate, exact."""
        return Rate(self.base, self.currency, Fraction(self.units_per_base))


class Exchange(Form):
    """Conversion of an agreement's lines `to` the currency of the invoice (L01, L05).

    `rule` names the fixing: of each `event_day`, of the `invoice_date`, the `average` of the
    period's fixings, of the period's `last_day` or the last day of the `previous_month`, or `fixed`
    by the contract, which states it.
    Fixings are of the `source`, else of the carrier's; `through` names a third currency to cross
    by where the pair itself is not quoted. Each line is rounded once.
    """

    to: CurrencyCode
    rule: Literal["event_day", "invoice_date", "average", "last_day", "previous_month", "fixed"]
    fixed: FixedRate | None = None
    source: str = ""
    through: CurrencyCode | None = None

    @model_validator(mode="after")
    def _states_a_rate_or_finds_it(self) -> "Exchange":
        if (self.rule == "fixed") is (self.fixed is None):
            raise ValueError("rule: fixed needs the rate under fixed, and no other rule has one")
        if self.fixed and (self.source or self.through):
            raise ValueError("a rate that the contract states has no source and no third currency")
        return self

    def problem(self, currency: str) -> str:
        """Why it cannot convert from an agreement's currency; empty when it can."""
        if self.to == currency:
            return f"converts {currency} to {currency}: leave exchange out"
        if self.fixed and {self.fixed.base, self.fixed.currency} != {self.to, currency}:
            return (
                f"states {self.fixed.currency} per {self.fixed.base}, which does not convert "
                f"{currency} to {self.to}"
            )
        return ""
