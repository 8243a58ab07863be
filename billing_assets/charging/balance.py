"""Bill-and-keep up to a ratio: only what one side receives beyond it is charged (H04, S09)."""

from decimal import Decimal
from fractions import Fraction


def balance_charge(
    received: int | Decimal, sent: int | Decimal, *, ratio: Decimal, rate: Decimal
) -> tuple[Fraction, Fraction]:
    """Quantity beyond `ratio` times what was sent, and its price; both exact, at least 0.

    `received` and `sent` are messages or minutes of a period, `rate` the price of one.

    >>> balance_charge(1_500_000, 1_200_000, ratio=Decimal("1.10"), rate=Decimal("0.0100"))
    (Fraction(180000, 1), Fraction(1800, 1))
    """
    beyond = max(Fraction(0), Fraction(received) - Fraction(ratio) * Fraction(sent))
    return beyond, beyond * Fraction(rate)
