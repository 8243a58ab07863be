"""A cycle's usage after its named rules: what they leave at the price of its records."""

from collections import defaultdict
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction

import polars as pl

from billing_assets.charging.line import Line
from billing_assets.reference.volume_terms import Counted, Window


@dataclass(frozen=True)
class Worth:
    """What a rule charges for the usage that it prices together.

    `agreements`, `destinations` and `accounts` say which usage (no account or destination: all).
    `until` tells what it comes to for the days before a day: without this cycle's usage, and
    with it.
    """

    agreements: Set[str]
    destinations: Set[str]
    accounts: Set[str]
    until: Callable[[date], tuple[Fraction, Fraction]]

    def is_counted_by(self, agreement: str, term: Counted) -> bool:
        """Whether a term of an agreement counts the usage; never a part (`reference.bindings`)."""
        return self.agreements <= set(term.agreements or (agreement,)) and all(
            not named or (priced and priced <= set(named))
            for named, priced in (
                (term.destinations, self.destinations),
                (term.accounts, self.accounts),
            )
        )

    def over(self, days: Window) -> tuple[Fraction, Fraction]:
        """What it comes to for some days, the same way."""
        (was_before, before), (was, now) = (self.until(day) for day in days)
        return was - was_before, now - before


@dataclass
class Priced:
    """Usage of a cycle after its named rules.

    `kept` is the cycle's usage that stays at the price of its records, `kept_before` that of
    other cycles, `legs` are those behind the first. `taken` is what a rule of an agreement priced
    of both, by the two names, `worth` what rules charge for it.
    """

    kept: pl.DataFrame
    kept_before: pl.DataFrame
    legs: pl.LazyFrame | None = None
    lines: list[Line] = field(default_factory=list)
    taken: dict[tuple[str, str], list[pl.DataFrame]] = field(
        default_factory=lambda: defaultdict(list)
    )
    worth: list[Worth] = field(default_factory=list)
