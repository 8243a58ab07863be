"""Exact money: scaled integers, decimals and the five rounding rules.

Binary floats are refused. Amounts and rates of single records are int64 in units of 10^-10 of
the currency (`E10`); sums and document amounts are `Decimal`.
"""

from dataclasses import dataclass
from decimal import MAX_PREC, Context, Decimal, Inexact, InvalidOperation
from enum import StrEnum
from fractions import Fraction
from functools import cache

import polars as pl
from iso4217 import Currency

SCALE = 10
"""Decimals of a rate or of a record's amount."""

E10 = 10**SCALE
"""Units of 10^-10 in one unit of currency."""


class Rounding(StrEnum):
    """Rounding methods of an agreement, all symmetric about zero."""

    HALF_UP = "half_up"
    HALF_EVEN = "half_even"
    UP = "up"
    DOWN = "down"


_WIDE = Context(prec=MAX_PREC)
"""Moves the point of a number of any length: the default context cuts at 28 digits."""


def round_amount(value: Decimal | Fraction | int, decimals: int, method: Rounding) -> Decimal:
    """Round an exact value once to `decimals` places.

    >>> round_amount(Fraction(95, 60) * Fraction("0.0035"), 6, Rounding.HALF_UP)
    Decimal('0.005542')
    """
    numerator, denominator = value.as_integer_ratio()
    whole, rest = divmod(abs(numerator) * 10**decimals, denominator)
    twice = 2 * rest
    if rest and (
        method is Rounding.UP
        or (method is Rounding.HALF_UP and twice >= denominator)
        or (
            method is Rounding.HALF_EVEN
            and (twice > denominator or (twice == denominator and whole % 2))
        )
    ):
        whole += 1
    return Decimal(-whole if numerator < 0 else whole).scaleb(-decimals, _WIDE)


@cache
def minor_units(currency: str) -> int:
    """Decimals of a currency's minor unit by ISO 4217 (JPY 0, EUR 2, KWD 3).

    Raises `ValueError` for a code that ISO 4217 does not know or that has no minor unit.
    """
    exponent = Currency(currency).exponent
    if exponent is None:
        raise ValueError(f"{currency} has no minor unit")
    return exponent


_EXACT = Context(prec=60, traps=[Inexact])


def to_e10(value: Decimal) -> int:
    """Return an exact decimal as an integer of 10^-10 units.

    Raises `ValueError` when it has more than ten decimals, or more than sixty digits: nothing is
    rounded in silence.

    >>> to_e10(Decimal("0.0120"))
    120000000
    """
    try:
        return int(_EXACT.to_integral_exact(_EXACT.scaleb(value, SCALE)))
    except Inexact as error:
        is_small = value.adjusted() < _EXACT.prec - SCALE
        most = f"{SCALE} decimals" if is_small else f"{_EXACT.prec} digits"
        raise ValueError(f"{value} has more than {most}") from error


def from_e10(units: int) -> Decimal:
    """Return an integer of 10^-10 units as a decimal with ten places."""
    return Decimal(units).scaleb(-SCALE, _WIDE)


def decimal_of_e10(units: pl.Expr) -> pl.Expr:
    """A column of integers of 10^-10 units as exact Decimal(38, 10)."""
    return units.cast(pl.Int128).cast(pl.Decimal(38, 0)) * pl.lit(Decimal(1).scaleb(-SCALE))


def parse_decimal(text: str) -> Decimal:
    """Parse a plain decimal as written in a sheet ('0.0120').

    Raises `ValueError` for anything else: spaces inside, exponents, NaN, thousands marks.
    """
    stripped = text.strip()
    if not stripped or any(c not in "0123456789.-+" for c in stripped):
        raise ValueError(f"{text!r} is not a decimal number")
    try:
        return Decimal(stripped)
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is not a decimal number") from error


@dataclass(frozen=True)
class Money:
    """An exact amount and its ISO 4217 currency."""

    amount: Decimal
    currency: str

    def __add__(self, other: "Money") -> "Money":
        if other.currency != self.currency:
            raise ValueError(f"cannot add {other.currency} to {self.currency}")
        return Money(self.amount + other.amount, self.currency)

    def rounded(self, decimals: int | None = None, method: Rounding = Rounding.HALF_UP) -> "Money":
        """Round once, by default to the currency's minor unit."""
        places = minor_units(self.currency) if decimals is None else decimals
        return Money(round_amount(self.amount, places, method), self.currency)

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"
