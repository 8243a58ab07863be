"""Bilateral deals: what two sides promise each other, over an agreement of each direction.

A file of `deals/` is one deal of one partner. A swap promises volumes at a price in one or both
directions; a balance keeps traffic free while it is balanced, and prices what exceeds that.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from billing_assets.reference.forms import Form, Identifier, Name
from billing_assets.reference.values import WHOLE, Day, DecimalText, Price, Quantity, check_amount
from billing_assets.reference.volume_terms import (
    Commitment,
    Counted,
    Opening,
    Period,
    Share,
    TaxTreatment,
    VolumeRule,
    Window,
)


class Direction(Form):
    """What one side sends: under which agreement, and for a swap how much at which price.

    Beyond `quantity` units the `excess_price` holds, or the agreement's own prices. A shortfall
    is charged at `shortfall_price`, the deal's price unless given; `tolerance` forgives a part.
    """

    agreement: Identifier
    destinations: tuple[str, ...] = ()
    quantity: Annotated[Quantity, Field(gt=0)] | None = None
    price: Price | None = None
    excess_price: Price | None = None
    shortfall: Literal["payable", "forgiven"] = "payable"
    shortfall_price: Price | None = None
    tolerance: Annotated[DecimalText, Field(ge=0, lt=1)] = Decimal(0)
    opening: tuple[Opening, ...] = ()

    @model_validator(mode="after")
    def _is_bounded(self) -> "Direction":
        for price in (self.price, self.shortfall_price):
            check_amount(self.quantity or Decimal(0), price or Decimal(0))
        return self


class Balance(Form):
    """Traffic that is free while balanced: only what exceeds the smaller flow by more than the
    `tolerance` (a fraction of it) costs `price` a unit, owed by who sent more (F03, H04, S09).

    With `payer: partner` only what we receive too much is charged. With `ratio` nothing is
    charged until the larger flow is more than `ratio` times the smaller one for
    `consecutive` windows in a row (F04).
    """

    tolerance: Annotated[DecimalText, Field(ge=0)] = Decimal(0)
    price: Price
    payer: Literal["either", "partner"] = "either"
    ratio: Annotated[DecimalText, Field(ge=1)] | None = None
    consecutive: Annotated[int, Field(ge=1, le=24), WHOLE] = 1


class Deal(Form):
    """One deal: `received` is what the partner sends us, `sent` what we send.

    A swap has `quantity` and `price` in each direction; with `mutual_release` no side pays a
    shortfall when both miss their volume. A balance has a `balance`. `alerts` are fractions of
    the volume whose passing is told, `alarm_day` the day from which a forecast miss is.
    """

    deal: Identifier
    title: str = ""
    partner: Identifier
    period: Period = "deal"
    valid_from: Day = Field(alias="from")
    valid_to: Day | None = Field(default=None, alias="to")
    received: Direction | None = None
    sent: Direction | None = None
    mutual_release: bool = False
    balance: Balance | None = None
    tax_treatment: TaxTreatment = ""
    alerts: tuple[Share, ...] = (Decimal("0.5"), Decimal("0.75"), Decimal("0.9"), Decimal(1))
    alarm_day: Annotated[int, Field(ge=1, le=366), WHOLE] = 10

    @property
    def name(self) -> Name:
        """How documents call it."""
        return self.title or self.deal

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Its directions, received first."""
        return tuple(one for one in (self.received, self.sent) if one)

    @model_validator(mode="after")
    def _is_whole(self) -> "Deal":
        if self.period == "deal" and self.valid_to is None:
            raise ValueError("a deal without a period needs to")
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError("ends before it begins")
        if not self.directions:
            raise ValueError("a deal needs received or sent")
        for word, one in (("received", self.received), ("sent", self.sent)):
            given = 0 if one is None else sum(x is not None for x in (one.quantity, one.price))
            if one and self.balance and given:
                raise ValueError(f"{word} of a balance takes no quantity and no price")
            if one and not self.balance and given < 2:
                raise ValueError(f"{word} needs quantity and price")
        if self.balance and not (self.received and self.sent):
            raise ValueError("a balance needs received and sent")
        if self.mutual_release and not (self.received and self.sent):
            raise ValueError("mutual_release needs received and sent")
        return self

    def window(self, day: date) -> Window | None:
        """The window in which a day lies, None when the deal does not hold on it."""
        return self.counted(self.directions[0]).window(day)

    def counted(self, direction: Direction) -> Counted:
        """What a direction counts, over the deal's windows."""
        return Counted.model_validate(self._window(direction))

    def rules(self, direction: Direction) -> tuple[VolumeRule, Commitment | None]:
        """A swap's direction as the volume rule and the commitment of its agreement."""
        assert direction.quantity is not None and direction.price is not None
        window = {**self._window(direction), "prorate": True}
        rule = VolumeRule.model_validate(
            {
                **window,
                "rule": self.deal,
                "model": "bundle",
                "included": direction.quantity,
                "price": direction.price,
                "overage_price": direction.excess_price,
            }
        )
        if direction.shortfall == "forgiven":
            return rule, None
        price = direction.shortfall_price
        commitment = Commitment.model_validate(
            {
                **window,
                "title": f"{self.name}, shortfall",
                "commitment": self.deal,
                "quantity": direction.quantity,
                "price": direction.price if price is None else price,
                "tolerance": direction.tolerance,
                "tax_treatment": self.tax_treatment,
                "alerts": self.alerts,
            }
        )
        return rule, commitment

    def _window(self, direction: Direction) -> Mapping[str, object]:
        return {
            "title": self.name,
            "period": self.period,
            "from": self.valid_from,
            "to": self.valid_to,
            "destinations": direction.destinations,
            "opening": direction.opening,
        }
