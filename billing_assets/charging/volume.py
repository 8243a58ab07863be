"""Prices by volume: arithmetic of tiers, bundles, discounts and commitments on exact numbers.

Quantities are in the unit of the price and may be fractions of it. Nothing is rounded here.
"""

from collections.abc import Sequence
from fractions import Fraction

from billing_assets.reference.volume_terms import Commitment, Tier, VolumeRule


def tier_parts(
    tiers: Sequence[Tier], before: Fraction, quantity: Fraction
) -> list[tuple[Tier, Fraction]]:
    """A quantity that begins at a position of the scale, cut at the bounds (D01, D04, D08).

    A negative quantity goes back from there, as usage does that is taken back.

    >>> scale = [Tier(up_to="100000", price="0.0100"), Tier(price="0.0085")]
    >>> [str(q) for _, q in tier_parts(scale, Fraction("99999.5"), Fraction(2))]
    ['1/2', '3/2']
    """

    def inside(tier: Tier, below: Fraction, position: Fraction) -> Fraction:
        capped = position if tier.up_to is None else min(position, Fraction(tier.up_to))
        return max(Fraction(0), capped - below)

    parts: list[tuple[Tier, Fraction]] = []
    below = Fraction(0)
    for tier in tiers:
        parts.append((tier, inside(tier, below, before + quantity) - inside(tier, below, before)))
        below = below if tier.up_to is None else Fraction(tier.up_to)
    return [(tier, part) for tier, part in parts if part]


def tier_reached(rule: VolumeRule, total: Fraction) -> Tier:
    """The tier in which a total ends; `bounds` says which one holds at exactly a bound."""
    for tier in rule.tiers:
        if tier.up_to is None or total < tier.up_to:
            return tier
        if total == tier.up_to and rule.bounds == "inclusive":
            return tier
    raise AssertionError("the last tier has no bound")


def graduated(rule: VolumeRule, before: Fraction, quantity: Fraction) -> Fraction:
    """Each part at its tier's price."""
    return sum(
        (
            part * Fraction(tier.price or 0)
            for tier, part in tier_parts(rule.tiers, before, quantity)
        ),
        Fraction(0),
    )


def all_unit(
    rule: VolumeRule,
    quantity: Fraction,
    opening: Fraction = Fraction(0),
    foreign: Fraction = Fraction(0),
) -> Fraction:
    """A quantity at the price of the tier reached, and what that changes of the opening (D02).

    What is `foreign` of the opening counts for the tier and keeps a price of its own.
    """
    reached = Fraction(tier_reached(rule, opening + quantity).price or 0)
    earlier = Fraction(tier_reached(rule, opening).price or 0)
    return quantity * reached + (opening - foreign) * (reached - earlier)


def credited(rule: VolumeRule, total: Fraction) -> Fraction:
    """What a discount gives on a spend (D06), or a rebate on a quantity (D05); at least 0."""

    def share(tier: Tier) -> Fraction:
        return Fraction((tier.discount if rule.model == "discount" else tier.price) or 0)

    if rule.on == "all":
        return total * share(tier_reached(rule, total))
    return sum(
        (part * share(tier) for tier, part in tier_parts(rule.tiers, Fraction(0), total)),
        Fraction(0),
    )


def inside_bundle(included: Fraction, before: Fraction, quantity: Fraction) -> Fraction:
    """How much of a quantity that begins at a position lies inside the included volume."""
    return min(before + quantity, included) - min(before, included)


def pay_or_play(rule: VolumeRule, quantity: Fraction) -> Fraction:
    """A bundle's fee, its inner price, and what lies beyond at the overage price (E04, S13)."""
    inside = inside_bundle(Fraction(rule.included or 0), Fraction(0), quantity)
    beyond = (quantity - inside) * Fraction(rule.overage_price or 0)
    return Fraction(rule.fee) + inside * Fraction(rule.price) + beyond


def missing(
    terms: Commitment, reached: Fraction, *, share: Fraction, carried: Fraction
) -> Fraction:
    """What is charged as missing, in the commitment's own measure (E01 to E07).

    `share` is the part of the window on which the commitment holds, `carried` the excess of the
    window before.
    """
    due = Fraction(terms.amount or terms.quantity or 0) * share
    floor = due * (1 - Fraction(terms.tolerance))
    if reached + carried >= floor:
        return Fraction(0)
    return (floor if terms.beyond_tolerance == "part" else due) - reached - carried


def excess(terms: Commitment, reached: Fraction, *, share: Fraction) -> Fraction:
    """What a window leaves for the next one, when the commitment carries it (E06)."""
    if not terms.carry:
        return Fraction(0)
    return max(Fraction(0), reached - Fraction(terms.amount or terms.quantity or 0) * share)
