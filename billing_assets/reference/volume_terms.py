"""Terms on the volume of a period: tiers, bundles, discounts, rebates and commitments.

A rule counts the usage of some agreements, destinations and accounts over a month, quarter, year
or deal, in the unit of the agreement's price. Bounds are written once: a tier begins where the
one before ends. Days are local days of the agreement.
"""

from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from billing_assets.reference.forms import Form, Identifier
from billing_assets.reference.values import (
    Day,
    DecimalText,
    Money,
    Price,
    Quantity,
    check_amount,
)

Period = Literal["month", "quarter", "year", "deal"]
TaxTreatment = Literal["", "compensation"]
Window = tuple[date, date]
"""Days of one accumulator: the first, and the one after the last."""

Share = Annotated[DecimalText, Field(ge=0, le=1)]


class Opening(Form):
    """What an accumulator held before we counted: usage up to and including a day.

    `quantity` in the unit of price, `amount` in money; `of` is the account or destination when
    each has an accumulator of its own.
    """

    until: Day
    quantity: Quantity = Decimal(0)
    amount: Money = Decimal(0)
    of: str = ""


class Counted(Form):
    """Which usage a term counts, and over which days.

    Without `agreements` it is the one in which the term stands; empty `destinations` and
    `accounts` are all. A `deal` runs from `from` to `to` (exclusive), a quarter and a year are
    those of the calendar. With `prorate` a window that `from` or `to` cuts counts by its days.
    """

    title: str = ""
    period: Period
    agreements: tuple[Identifier, ...] = ()
    destinations: tuple[str, ...] = ()
    accounts: tuple[Identifier, ...] = ()
    valid_from: Day | None = Field(default=None, alias="from")
    valid_to: Day | None = Field(default=None, alias="to")
    prorate: bool = False
    opening: tuple[Opening, ...] = ()

    @model_validator(mode="after")
    def _has_its_days(self) -> "Counted":
        if self.period == "deal" and (self.valid_from is None or self.valid_to is None):
            raise ValueError("period: deal needs from and to")
        if self.valid_from and self.valid_to and self.valid_to <= self.valid_from:
            raise ValueError("ends before it begins")
        return self

    def window(self, day: date) -> Window | None:
        """The whole window in which a day lies, None when the term does not hold on it."""
        first, end = self.valid_from or date.min, self.valid_to or date.max
        if not first <= day < end:
            return None
        return (first, end) if self.period == "deal" else calendar_window(self.period, day)

    def held(self, window: Window) -> Window:
        """The days of a window on which the term holds."""
        first, end = self.valid_from or date.min, self.valid_to or date.max
        return max(first, window[0]), min(end, window[1])

    def opened(self, window: Window, of: str = "") -> tuple[Decimal, Decimal]:
        """Quantity and amount that a window holds from before."""
        mine = [o for o in self.opening if window[0] <= o.until < window[1] and o.of == of]
        return (
            sum((o.quantity for o in mine), Decimal(0)),
            sum((o.amount for o in mine), Decimal(0)),
        )


class Tier(Form):
    """A part of the scale: up to a bound, or without an end.

    `price` is for one unit, `fee` for the whole tier, `discount` a fraction of the spend.
    `from`, if written, must be the bound before.
    """

    start: Quantity | None = Field(default=None, alias="from")
    up_to: Annotated[Quantity, Field(gt=0)] | None = None
    price: Price | None = None
    fee: Money | None = None
    discount: Share | None = None


Model = Literal["graduated", "all_unit", "flat_fee", "bundle", "discount", "rebate"]

CREDITS = ("discount", "rebate")
"""Models that price no usage: they give some of its price back."""

_FOR_MODELS = {
    "accumulate": ("graduated", "all_unit", "flat_fee", "bundle"),
    "in_call_order": ("graduated",),
    "on": CREDITS,
    "prorate": ("flat_fee", "bundle"),
}
"""Fields that only some models heed: another one would pass over them in silence."""

_TIER_FIELD = {
    "graduated": "price",
    "all_unit": "price",
    "flat_fee": "fee",
    "discount": "discount",
    "rebate": "price",
}


class VolumeRule(Counted):
    """A named rule that prices usage by its volume.

    graduated: each tier's price for the part inside it. all_unit: the price of the tier reached
    for all of the window. flat_fee: the fee of the tier reached. bundle: `included` units for
    `fee` a window and `price` a unit; beyond them `overage_price`, or the agreement's own prices.
    discount: a fraction of the spend, credited. rebate: a price a unit, credited. The last two
    are settled at the window's end, on the `part` in each tier or on `all`.

    `bounds`: at exactly a bound the lower tier holds (inclusive) or the next one (exclusive).
    `in_call_order` cuts each tier by destination in the order of event time and record id.
    """

    rule: Identifier
    model: Model
    accumulate: Literal["together", "by_account", "by_destination"] = "together"
    bounds: Literal["inclusive", "exclusive"] = "inclusive"
    in_call_order: bool = False
    tiers: tuple[Tier, ...] = ()
    on: Literal["part", "all"] = "part"
    included: Annotated[Quantity, Field(gt=0)] | None = None
    fee: Money = Decimal(0)
    price: Price = Decimal(0)
    overage_price: Price | None = None

    @property
    def name(self) -> str:
        """How documents call it."""
        return self.title or self.rule

    @model_validator(mode="after")
    def _fits_its_model(self) -> "VolumeRule":
        for field, models in _FOR_MODELS.items():
            usual = VolumeRule.model_fields[field].default
            if self.model not in models and getattr(self, field) != usual:
                raise ValueError(f"{field} is for {', '.join(models)}, not {self.model}")
        if any(bool(one.of) is (self.accumulate == "together") for one in self.opening):
            raise ValueError("opening.of goes with accumulate: by_account or by_destination")
        if self.model == "bundle":
            if self.included is None:
                raise ValueError("a bundle needs included")
            if self.tiers:
                raise ValueError("a bundle has no tiers")
            if not {"fee", "price"} & self.model_fields_set:
                raise ValueError("a bundle needs fee or price; write 0 for what is free")
            return self
        if not self.tiers:
            raise ValueError(f"{self.model} needs tiers")
        if self.included is not None or self.fee or self.price or self.overage_price is not None:
            raise ValueError("included, fee, price and overage_price are for a bundle")
        _check_tiers(self.tiers, _TIER_FIELD[self.model])
        return self


def _check_tiers(tiers: tuple[Tier, ...], priced_by: str) -> None:
    """Refuse a scale with gaps, overlaps, falling bounds or an end."""
    below = Decimal(0)
    for number, tier in enumerate(tiers, 1):
        last = number == len(tiers)
        if tier.start is not None and tier.start != below:
            wrong = "overlaps the one before" if tier.start < below else "leaves a gap before it"
            raise ValueError(f"tier {number} from {tier.start} {wrong}, which ends at {below}")
        if tier.up_to is None and not last:
            raise ValueError(f"tier {number} has no up_to, and is not the last")
        if tier.up_to is not None and last:
            raise ValueError(
                f"the last tier ends at {tier.up_to}: volume above has no price; leave up_to out"
            )
        if tier.up_to is not None and tier.up_to <= below:
            raise ValueError(f"tier {number} up to {tier.up_to} falls below {below}")
        for name in ("price", "fee", "discount"):
            if (getattr(tier, name) is None) is (name == priced_by):
                raise ValueError(f"tier {number} needs {priced_by} and nothing else")
        below = tier.up_to or below


class Commitment(Counted):
    """What must be reached in each window; what is missing is charged once, at its end.

    Either an `amount` of spend, or a `quantity` with the `price` of a missing unit. A shortfall
    inside the `tolerance` (a fraction of the commitment) is forgiven; beyond it `part` charges
    what is missing below the tolerance, `all` what is missing below the commitment. With `carry`
    what was above the commitment counts in the next window too. `prorate` is the default here.
    `tax_treatment: compensation` makes shortfalls no supply.
    """

    commitment: Identifier
    amount: Annotated[Money, Field(gt=0)] | None = None
    quantity: Annotated[Quantity, Field(gt=0)] | None = None
    price: Price | None = None
    tolerance: Annotated[DecimalText, Field(ge=0, lt=1)] = Decimal(0)
    beyond_tolerance: Literal["part", "all"] = "part"
    carry: bool = False
    prorate: bool = True
    tax_treatment: TaxTreatment = ""
    alerts: tuple[Share, ...] = (Decimal("0.5"), Decimal("0.75"), Decimal("0.9"), Decimal(1))

    @property
    def name(self) -> str:
        """How documents call it."""
        return self.title or self.commitment

    @model_validator(mode="after")
    def _is_money_or_volume(self) -> "Commitment":
        if (self.amount is None) is (self.quantity is None):
            raise ValueError("a commitment is either an amount or a quantity")
        if (self.quantity is None) is not (self.price is None):
            raise ValueError("a quantity needs the price of a missing unit; an amount has none")
        check_amount(self.quantity or Decimal(0), self.price or Decimal(0))
        if any(one.of for one in self.opening):
            raise ValueError("opening.of is for rules that accumulate by account or destination")
        return self


def calendar_window(period: str, day: date) -> Window:
    """The calendar month, quarter or year of a day.

    >>> calendar_window("quarter", date(2026, 2, 10))
    (datetime.date(2026, 1, 1), datetime.date(2026, 4, 1))
    """
    months = {"month": 1, "quarter": 3, "year": 12}[period]
    first = date(day.year, (day.month - 1) // months * months + 1, 1)
    after = first
    for _ in range(months):
        after = (after + timedelta(days=32)).replace(day=1)
    return first, after
