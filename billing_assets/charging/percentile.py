"""Capacity by percentile: the level of a port's samples, and the price of commitment and burst
(H06). No interpolation: the level is always one of the samples."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction


def percentile(samples: Sequence[int | Decimal], share: Decimal = Decimal("0.95")) -> Decimal:
    """The highest sample once the top (1 - share) of them, in whole samples, are dropped.

    Samples are in the unit of the port's price (Mbps). Raises `ValueError` without samples or
    for a share outside 0 (exclusive) to 1.

    >>> percentile([10, 20, 30, 40], Decimal("0.75"))
    Decimal('30')
    """
    if not samples or not 0 < share <= 1:
        raise ValueError("a percentile needs samples and a share above 0 and up to 1")
    dropped = int(Fraction(len(samples)) * (1 - Fraction(share)))
    return Decimal(sorted(samples, reverse=True)[dropped])


def capacity_charge(
    level: Decimal, *, commit: Decimal, commit_price: Decimal, burst_price: Decimal
) -> Fraction:
    """Exact price of a month: the commitment whole, and the level above it at the burst price."""
    burst = max(Fraction(0), Fraction(level) - Fraction(commit))
    return Fraction(commit) * Fraction(commit_price) + burst * Fraction(burst_price)
