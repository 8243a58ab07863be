"""Open items: how late they are, what interest that costs, and what credit is used.

Amounts are of one currency at a time; the caller keeps currencies apart.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from billing_assets.core.money import Rounding, minor_units, round_amount

Basis = Literal[360, 365]
"""Days of a year by which annual interest is divided (actual/360, actual/365)."""

BUCKETS: tuple[str, ...] = ("current", "1-30", "31-60", "61-90", "over 90")
"""Days past due by which open items are told apart (O04)."""

_UP_TO = (0, 30, 60, 90)


def days_late(due: date, at: date) -> int:
    """Days past due at the end of a day; 0 for what is not due before it."""
    return max(0, (at - due).days)


def bucket(due: date, at: date) -> str:
    """The bucket of an item: an item is current up to and including its due date."""
    late = days_late(due, at)
    return BUCKETS[sum(late > up_to for up_to in _UP_TO)]


def ageing(items: Iterable[tuple[date, Decimal]], at: date) -> Mapping[str, Decimal]:
    """Open amounts by bucket, from due dates and amounts; credits are negative (O04).

    >>> ageing([(date(2026, 3, 31), Decimal("2000.00"))], date(2026, 4, 30))["1-30"]
    Decimal('2000.00')
    """
    found = dict.fromkeys(BUCKETS, Decimal(0))
    for due, amount in items:
        found[bucket(due, at)] += amount
    return found


def late_interest(
    amount: Decimal,
    annual_percent: Decimal,
    days: int,
    currency: str,
    *,
    basis: Basis = 365,
    method: Rounding = Rounding.HALF_UP,
) -> Decimal:
    """Simple interest on an overdue amount, actual days by a year of `basis`, rounded once (O02).

    A credit bears none. Raises `ValueError` for days or a rate below zero.

    >>> late_interest(Decimal("10000.00"), Decimal("12.15"), 23, "EUR")
    Decimal('76.56')
    """
    if days < 0 or annual_percent < 0:
        raise ValueError("interest is for days and a rate that are not below zero")
    exact = Fraction(max(amount, Decimal(0))) * Fraction(annual_percent) / 100 * days / basis
    return round_amount(exact, minor_units(currency), method)


def exposure(
    open_amount: Decimal, unbilled: Decimal, deposit: Decimal, nettable: Decimal
) -> Decimal:
    """Credit that a partner uses: open and unbilled, less its deposit and what can be netted (O05).

    Below zero when it is covered by more.
    """
    return open_amount + unbilled - deposit - nettable
