"""Conversion of amounts between currencies: exact rates, one rounding, differences.

A rate is kept as it is quoted, in units of the currency per one unit of the base. The other
direction divides by it: an inverse is never stored, so none is ever rounded.
"""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from billing_assets.core.money import Rounding, minor_units, round_amount


@dataclass(frozen=True)
class Rate:
    """`units_per_base` units of `currency` for one unit of `base`, exact.

    Raises `ValueError` when it is not above zero.
    """

    base: str
    currency: str
    units_per_base: Fraction

    def __post_init__(self) -> None:
        if self.units_per_base <= 0:
            raise ValueError(f"{self.currency} per {self.base} must be above zero")

    def factor(self, source: str, target: str) -> Fraction:
        """Units of `target` for one of `source`, exact; either direction of the rate.

        Raises `ValueError` for currencies that the rate is not of.
        """
        if source == target:
            return Fraction(1)
        if (source, target) == (self.base, self.currency):
            return self.units_per_base
        if (source, target) == (self.currency, self.base):
            return 1 / self.units_per_base
        raise ValueError(f"{self.currency} per {self.base} does not convert {source} to {target}")


def cross(first: Rate, second: Rate, source: str, through: str, target: str) -> Rate:
    """The rate of `target` per `source` by way of a third currency, not rounded.

    Raises `ValueError` when the two rates do not lead from one to the other.
    """
    factor = first.factor(source, through) * second.factor(through, target)
    return Rate(source, target, factor)


def convert(
    amount: Decimal | Fraction,
    rate: Rate,
    source: str,
    target: str,
    method: Rounding = Rounding.HALF_UP,
) -> Decimal:
    """An amount of `source` in `target`, rounded once to the minor unit of `target`.

    >>> usd = Rate("EUR", "USD", Fraction("1.0850"))
    >>> convert(Decimal("12345.67"), usd, "USD", "EUR")
    Decimal('11378.50')
    """
    exact = Fraction(amount) * rate.factor(source, target)
    return round_amount(exact, minor_units(target), method)


def difference(
    amount: Decimal,
    booked: Rate,
    now: Rate,
    source: str,
    home: str,
    method: Rounding = Rounding.HALF_UP,
) -> Decimal:
    """Home-currency difference of an amount between the rate it was booked at and another.

    Realised when `now` is the rate of the payment, revaluation when it is that of a closing day.
    A receivable is a positive amount and a payable a negative one: above zero is a gain. It is
    the difference of two rounded amounts, as the ledger holds them, so that the books agree.
    """
    return convert(amount, now, source, home, method) - convert(
        amount, booked, source, home, method
    )
