"""Terms of fees that no record causes (recurring, one-time, capacity), and of percentages.

Days are local days of the agreement. Changes are dated steps, so that what held on a day in the
past stays written.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, model_validator

from billing_assets.core.money import Rounding, round_amount
from billing_assets.reference.forms import Form, Identifier, Name
from billing_assets.reference.values import (
    WHOLE,
    Day,
    DecimalText,
    Money,
    Price,
    Quantity,
    check_amount,
)

_FAR = date.max

PERCENTAGE_OF = ("usage", "tier", "bundle", "share")
"""The kinds of charges that a percentage is taken of."""


class QuantityStep(Form):
    """The quantity of a fee from a day on; 0 suspends it."""

    day: Day = Field(alias="from")
    quantity: Quantity


class PriceStep(Form):
    """The price of a fee from a day on."""

    day: Day = Field(alias="from")
    price: Money


class IndexStep(Form):
    """A change of the price by a percentage from a day on; 2.5 raises it by 2.5 %."""

    day: Day = Field(alias="from")
    percent: Annotated[DecimalText, Field(gt=-100, le=1000)]


class Recurring(Form):
    """A fee by calendar month, quarter or year for some quantity (I01 to I05).

    `bill`: each cycle bills its own `days`; or a whole period is billed in `arrears` by the cycle
    of its last day, or in `advance` by the cycle of its first day less `lead_days`. Part of a
    period counts by `day_count`: the days of the calendar, or months of 30 days. `quantities` and
    `prices` step from their days on; `indexation` compounds on the price in force, rounded once
    to `price_decimals`.
    """

    fee: Identifier
    title: Name
    price: Money
    quantity: Annotated[Quantity, Field(gt=0)] = Decimal(1)
    valid_from: Day = Field(alias="from")
    valid_to: Day | None = Field(default=None, alias="to")
    every: Literal["month", "quarter", "year"] = "month"
    bill: Literal["days", "arrears", "advance"] = "days"
    lead_days: Annotated[int, Field(ge=0, le=366), WHOLE] = 0
    day_count: Literal["actual", "30/360"] = "actual"
    quantities: tuple[QuantityStep, ...] = ()
    prices: tuple[PriceStep, ...] = ()
    indexation: tuple[IndexStep, ...] = ()
    price_decimals: Annotated[int, Field(ge=0, le=10), WHOLE] | None = None

    @model_validator(mode="after")
    def _is_in_order(self) -> "Recurring":
        if self.valid_to is not None and self.valid_to < self.valid_from:
            raise ValueError(f"to {self.valid_to} is before from {self.valid_from}")
        if self.lead_days and self.bill != "advance":
            raise ValueError("lead_days is for bill: advance")
        if bool(self.indexation) is not (self.price_decimals is not None):
            raise ValueError("indexation and price_decimals go together: what it is rounded to")
        for name, steps in (
            ("quantities", self.quantities),
            ("prices", self.prices),
            ("indexation", self.indexation),
        ):
            _check_steps(name, [step.day for step in steps], self.valid_from, self.valid_to)
        if {step.day for step in self.prices} & {step.day for step in self.indexation}:
            raise ValueError("a price and an indexation from the same day: one of them is meant")
        self._check_amounts()
        return self

    def _check_amounts(self) -> None:
        """Refuse steps after which a period, or one unit of it, comes to too much."""
        prices = {step.day: step.price for step in self.prices}
        factors = {step.day: 1 + step.percent / 100 for step in self.indexation}
        quantities = {step.day: step.quantity for step in self.quantities}
        price, quantity = self.price, self.quantity
        for day in sorted({self.valid_from, *self.changes}):
            price = prices.get(day, price * factors.get(day, 1))
            quantity = quantities.get(day, quantity)
            check_amount(max(quantity, Decimal(1)), price, f"from {day} ")

    @property
    def changes(self) -> list[date]:
        """The days from which quantity or price may be another, in order."""
        return sorted({step.day for step in (*self.quantities, *self.prices, *self.indexation)})

    def quantity_on(self, day: date) -> Decimal:
        """The quantity that holds on a day."""
        reached = [step.quantity for step in self.quantities if step.day <= day]
        return reached[-1] if reached else self.quantity

    def price_on(self, day: date) -> Decimal:
        """The price that holds on a day: the last one set, indexed since, rounded once."""
        stated = [(step.day, step.price) for step in self.prices if step.day <= day]
        since, price = stated[-1] if stated else (date.min, self.price)
        exact = Fraction(price)
        indexed = [one.percent for one in self.indexation if since < one.day <= day]
        for percent in indexed:
            exact *= 1 + Fraction(percent) / 100
        if not indexed or self.price_decimals is None:
            return price
        return round_amount(exact, self.price_decimals, Rounding.HALF_UP)


class OneTime(Form):
    """A fee that is charged once, in the cycle that bills its day (I04)."""

    fee: Identifier
    title: Name
    price: Money
    quantity: Annotated[Quantity, Field(gt=0)] = Decimal(1)
    day: Day = Field(alias="on")

    @model_validator(mode="after")
    def _is_bounded(self) -> "OneTime":
        check_amount(self.quantity, self.price)
        return self


class Capacity(Form):
    """Capacity of ports by month: a commitment, and what a percentile of samples is above it (H06).

    `commit` is in Mbps, prices are for one Mbps a month. `samples` names CSV files relative to the
    agreement; the `ports` are added up by instant. A sample is due every `interval_minutes`; when
    more than `tolerance` of them (a fraction) are missing, the cycle is blocked. A month that
    `from` or `to` cuts is by actual days.
    """

    capacity: Identifier
    title: Name
    commit: Quantity
    commit_price: Money
    burst_price: Money
    share: Annotated[DecimalText, Field(gt=0, le=1)] = Decimal("0.95")
    interval_minutes: Annotated[int, Field(ge=1, le=10080), WHOLE] = 5
    tolerance: Annotated[DecimalText, Field(ge=0, lt=1)] = Decimal("0.01")
    samples: Name
    ports: Annotated[tuple[Name, ...], Field(min_length=1)]
    valid_from: Day = Field(alias="from")
    valid_to: Day | None = Field(default=None, alias="to")

    @model_validator(mode="after")
    def _is_in_order(self) -> "Capacity":
        if self.valid_to is not None and self.valid_to < self.valid_from:
            raise ValueError(f"to {self.valid_to} is before from {self.valid_from}")
        if len(set(self.ports)) < len(self.ports):
            raise ValueError("ports: one stands twice")
        check_amount(self.commit, self.commit_price)
        return self


class Percentage(Form):
    """A surcharge of a fraction of what usage is charged, on a line of its own.

    `at_least` is for each unit of every line: so a hub that sells at cost keeps its margin. Empty
    `destinations` are all. Counted is what usage lines, tiers, bundles and revenue shares charge;
    free traffic, fees for a period, credits, shortfalls and other surcharges are not.
    """

    percentage: Identifier
    title: Name
    rate: Annotated[DecimalText, Field(gt=0, le=1)]
    at_least: Price | None = None
    destinations: tuple[str, ...] = ()


def require_distinct(field: str, names: Sequence[str]) -> None:
    """Raise `ValueError` when two fees of a field have the same name: their lines would be one."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{field}: {twice[0]} stands twice; changes are dated steps of one fee")


def _check_steps(name: str, days: Sequence[date], first: date, end: date | None) -> None:
    """Refuse steps out of order or outside the fee's own days."""
    for number, day in enumerate(days, 1):
        if number > 1 and day <= days[number - 2]:
            raise ValueError(f"{name}: step {number} from {day} overlaps the one before it")
        if not first <= day < (end or _FAR):
            raise ValueError(f"{name}: step {number} from {day} is outside the days of the fee")
