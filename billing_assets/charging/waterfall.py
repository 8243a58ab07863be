"""Sharing out money by priority: exact parts that add up to what there was."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from billing_assets.reference.share_terms import RevenueShare, Take


@dataclass(frozen=True)
class Part:
    """What a take got of what was `there` for it, and was `due`; `take` is None for the remainder.

    `is_short`: there was not enough for it, or for the price that it passes on.
    """

    take: Take | None
    to: str
    there: Fraction
    due: Fraction
    amount: Fraction
    is_short: bool = False


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
            count = abs(units) if take.per == "unit" else abs(Fraction(calls))
            due, needed = _due(take, there, count)
            amount = min(due, left)
            left -= amount
            is_short = needed > there
            parts.append(Part(take, take.to, sign * there, sign * due, sign * amount, is_short))
    parts.append(Part(None, rule.remainder, sign * left, sign * left, sign * left))
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


def _due(take: Take, there: Fraction, count: Fraction) -> tuple[Fraction, Fraction]:
    """What a take is due, and what must be there so that all get what was agreed."""
    floor = Fraction(take.at_least or 0) * count
    if take.price is not None:
        due = Fraction(take.price) * count
        return due, due
    if take.passes_on is not None:
        passed = Fraction(take.passes_on) * count
        return max(there - passed, floor, Fraction(0)), passed + floor
    due = Fraction(take.share or 0) * there
    if take.at_most is not None:
        due = min(due, Fraction(take.at_most) * count)
    due = max(due, floor)
    return due, due
