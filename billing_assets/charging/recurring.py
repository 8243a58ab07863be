"""Recurring fees: the monthly price by the actual days of each calendar month (I01 to I03).

The days of a cycle decide, not its length: the weeks of a month charge its fee once between them.
"""

from calendar import monthrange
from collections.abc import Iterator
from datetime import date, timedelta
from fractions import Fraction

from billing_assets.charging.cycles import Cycle
from billing_assets.charging.line import Facts, Line, days_in_force, plain, rule_line
from billing_assets.reference.load import InForce
from billing_assets.reference.models import Recurring


def recurring_lines(facts: Facts) -> list[Line]:
    """The recurring fees of a cycle's agreements."""
    return [
        line
        for agreement in facts.agreements
        for fee in agreement.terms.recurring
        if (line := _recurring_line(facts.cycle, agreement, fee)) is not None
    ]


def _recurring_line(cycle: Cycle, agreement: InForce, fee: Recurring) -> Line | None:
    """A fee by the days on which it and its agreement hold, out of the days of the period."""
    terms = agreement.terms
    # the version's own days: the next version of an agreement takes over its fees
    begins, ends = days_in_force(agreement)
    first = max(cycle.period.start, fee.valid_from, begins)
    end = min(cycle.period.end, ends, fee.valid_to or date.max)
    if first >= end:
        return None
    steps = [f"{plain(fee.quantity)} x {plain(fee.price)} {terms.currency} a month"]
    shares = list(_months(first, end))
    steps += [f"{part} of {whole} days" for part, whole in shares if part != whole]
    months = sum((Fraction(part, whole) for part, whole in shares), Fraction(0))
    return rule_line(
        terms,
        key=("recurring", terms.key, fee.fee),
        kind="recurring",
        title=fee.title,
        days=(first, end - timedelta(days=1)),
        exact=Fraction(fee.price) * Fraction(fee.quantity) * months,
        steps=steps,
        rule="recurring by actual days",
        quantity=fee.quantity,
        unit="month",
        price=fee.price,
    )


def _months(first: date, end: date) -> Iterator[tuple[int, int]]:
    """Days of [first, end) in each calendar month, with the days that the month has."""
    while first < end:
        whole = monthrange(first.year, first.month)[1]
        following = first.replace(day=1) + timedelta(days=whole)
        yield (min(following, end) - first).days, whole
        first = following
