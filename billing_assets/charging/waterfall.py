"""Sharing out money by priority: exact parts that add up to what there was."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from billing_assets.reference.share_terms import RevenueShare, Take


@dataclass(frozen=True)
class Part:
    """What a take was due and got; `take` is None for the remainder."""

    take: Take | None
    to: str
    due: Fraction
    amount: Fraction

    @property
    def is_short(self) -> bool:
        """Whether there was not enough for it."""
        return abs(self.amount) < abs(self.due)


def waterfall(
    rule: RevenueShare, base: Fraction, units: Fraction, calls: Fraction | int
) -> list[Part]:
    """The parts of an amount net of VAT, in the order of their priority, the remainder last.

    `units` are those of the price. Parts have the sign of the base, none exceeds what was left
    for it, and they add up to the base exactly. Nothing is rounded.
    """
    sign = -1 if base < 0 else 1
    left = abs(base)
    parts: list[Part] = []
    for stage in rule.stages():
        there = left
        for take in stage:
            due = _due(take, there, abs(units) if take.per == "unit" else abs(Fraction(calls)))
            amount = min(due, left)
            left -= amount
            parts.append(Part(take, take.to, sign * due, sign * amount))
    parts.append(Part(None, rule.remainder, sign * left, sign * left))
    assert sum(part.amount for part in parts) == base, "parts do not add up to what is shared"
    return parts


def net_of_vat(rule: RevenueShare, gross: Fraction) -> Fraction:
    """A retail amount without the VAT that it includes."""
    return gross / (1 + Fraction(rule.vat))


def by_party(parts: list[Part]) -> Mapping[str, Fraction]:
    """The parts of each party added up."""
    found: dict[str, Fraction] = {}
    for part in parts:
        found[part.to] = found.get(part.to, Fraction(0)) + part.amount
    return found


def _due(take: Take, there: Fraction, count: Fraction) -> Fraction:
    if take.share is None:
        return Fraction(take.price or 0) * count
    due = Fraction(take.share) * there
    if take.at_most is not None:
        due = min(due, Fraction(take.at_most) * count)
    return due if take.at_least is None else max(due, Fraction(take.at_least) * count)
