"""Terms that share out what callers pay: revenue shares and waterfalls.

The usage of such an agreement is rated at the retail price; a share says who gets what of it.
Days are local days of the agreement.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import Annotated, Literal

from pydantic import Field, model_validator

from billing_assets.core.errors import Problem
from billing_assets.reference.forms import Form, Identifier
from billing_assets.reference.values import WHOLE, Day, DecimalText, Price
from billing_assets.reference.volume_terms import Share, Window, calendar_window
from billing_assets.reference.yamltext import Located

CARRIER = "carrier"
"""How terms of sharing name ourselves; every other party is a partner."""


class Take(Form):
    """What one party takes, after all of a lower `priority` have taken theirs.

    Either a `price` for each unit or call, or a `share` (a fraction) of what they left, or all but
    the price that it `passes_on` to those after it. Takes of one priority are shares of the same
    rest. `at_least` and `at_most` bound a share, `at_least` what is kept of a price passed on, for
    each unit or call. Nobody takes more than there is; where that is too little for a price passed
    on, or for a take that is `required`, the cycle is blocked.
    """

    priority: Annotated[int, Field(ge=1), WHOLE]
    to: Identifier
    title: str = ""
    price: Price | None = None
    share: Share | None = None
    passes_on: Price | None = None
    per: Literal["unit", "call"] = "unit"
    at_least: Price | None = None
    at_most: Price | None = None
    required: bool = False

    @property
    def is_bounded(self) -> bool:
        """Whether it is a share between bounds."""
        return self.at_least is not None or self.at_most is not None

    @model_validator(mode="after")
    def _is_price_or_share(self) -> "Take":
        if sum(one is not None for one in (self.price, self.share, self.passes_on)) != 1:
            raise ValueError("a take is a price, a share or a price that it passes_on: one of them")
        if self.at_most is not None and self.share is None:
            raise ValueError("at_most is for a share")
        if self.at_least is not None and self.price is not None:
            raise ValueError("at_least is for a share and for passes_on")
        if self.at_least is not None and self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(f"at_most {self.at_most} is below at_least {self.at_least}")
        return self


class PartOf(Form):
    """What a partner gets of a share that stands in another partner's agreement.

    On the supplier leg it is what we owe it: its parts, or in a chain what reaches it. On the
    customer leg it is what it passes on in a chain, which it owes us.
    """

    part: Identifier
    title: str = ""
    agreement: Identifier
    share: Identifier

    @property
    def name(self) -> str:
        """How documents call it."""
        return self.title or self.part


class RevenueShare(Form):
    """Who gets what of the price of some usage (J01, J05, S11).

    Empty `destinations`, `bands` and `accounts` are all; usage is shared out by the first rule
    that names it. Retail prices include VAT at the fraction `vat`, 0 when they do not. What the
    `takes` leave belongs to `remainder`. In a `chain` each party gets from the one before all that
    it has not kept, and passes on what it does not keep itself; the agreement's partner begins
    it. Each destination, band, origin and price is shared out by
    itself, over the calendar month.
    """

    share: Identifier
    title: str = ""
    destinations: tuple[str, ...] = ()
    bands: tuple[str, ...] = ()
    accounts: tuple[Identifier, ...] = ()
    valid_from: Day | None = Field(default=None, alias="from")
    valid_to: Day | None = Field(default=None, alias="to")
    vat: Annotated[DecimalText, Field(ge=0, le=1)] = Decimal(0)
    takes: tuple[Take, ...]
    remainder: Identifier
    chain: bool = False

    @property
    def name(self) -> str:
        """How documents call it."""
        return self.title or self.share

    @property
    def parties(self) -> list[str]:
        """All who may get a part, each once."""
        return sorted({self.remainder, *(take.to for take in self.takes)})

    def stages(self) -> Iterator[list[Take]]:
        """The takes by priority, those of one priority together."""
        for _, takes in groupby(sorted(self.takes, key=_priority), key=_priority):
            yield list(takes)

    def window(self, day: date) -> Window | None:
        """The month of a day, None when the rule does not hold on it."""
        first, end = self.held((date.min, date.max))
        return calendar_window("month", day) if first <= day < end else None

    def held(self, window: Window) -> Window:
        """The days of a window on which the rule holds."""
        first, end = self.valid_from or date.min, self.valid_to or date.max
        return max(first, window[0]), min(end, window[1])

    @model_validator(mode="after")
    def _can_be_paid(self) -> "RevenueShare":
        if self.valid_from and self.valid_to and self.valid_to <= self.valid_from:
            raise ValueError("ends before it begins")
        if not self.takes:
            raise ValueError("shares out nothing: it has no takes")
        for stage in self.stages():
            said = f"takes of priority {stage[0].priority}"
            total = sum((take.share or Decimal(0) for take in stage), Decimal(0))
            if total > 1:
                raise ValueError(f"{said} share out {100 * total}%, more than there is")
            if len(stage) > 1 and any(take.share is None or take.is_bounded for take in stage):
                raise ValueError(f"{said} must all be shares without bounds: who is paid first?")
        if self.chain:
            self._check_chain()
        return self

    def _check_chain(self) -> None:
        order = [*(take.to for take in sorted(self.takes, key=_priority)), self.remainder]
        if any(len(stage) > 1 for stage in self.stages()) or len(set(order)) < len(order):
            raise ValueError("in a chain every party stands once, and alone at its priority")
        prices = [one.passes_on for one in self.takes if one.passes_on is not None]
        if prices != sorted(prices, reverse=True):
            raise ValueError("in a chain a price passed on is never more than the one before")


def share_problems(
    shares: Sequence[RevenueShare],
    partner: str,
    *,
    is_paid: bool,
    partners: Collection[str],
    bands: Collection[str],
    located: Located,
) -> Iterator[Problem]:
    """Parties and bands of an agreement's shares that are none, and rules without its partner.

    `is_paid`: it is the partner that gets its part from us, and not we from it.
    """
    for number, rule in enumerate(shares):
        place = ("shares", number)
        if is_paid and partner not in rule.parties:
            said = f"names no part of {partner}, whose agreement this is"
            yield Problem(said, located.file, located.line(place), "shares", rule.share)
        for band in sorted(set(rule.bands) - set(bands)):
            line = located.line((*place, "bands"))
            field = f"shares.{number}.bands"
            yield Problem("is no band of the agreement", located.file, line, field, band)
        named = [
            *((("takes", n, "to"), take.to) for n, take in enumerate(rule.takes)),
            (("remainder",), rule.remainder),
        ]
        for path, party in named:
            if party != CARRIER and party not in partners:
                yield Problem(
                    f"is neither {CARRIER} nor a partner that is in partners/",
                    located.file,
                    located.line((*place, *path)),
                    ".".join(str(part) for part in (*place, *path)),
                    party,
                )


def _priority(take: Take) -> int:
    return take.priority
