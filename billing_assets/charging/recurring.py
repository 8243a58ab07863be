"""Recurring fees: the monthly price by the actual days of the period (I01 to I03)."""

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
    days = (end - first).days
    if days <= 0:
        return None
    steps = [f"{plain(fee.quantity)} x {plain(fee.price)} {terms.currency} a month"]
    if days != cycle.period.days:
        steps.append(f"{days} of {cycle.period.days} days")
    return rule_line(
        terms,
        key=("recurring", terms.key, fee.fee),
        kind="recurring",
        title=fee.title,
        days=(first, end - timedelta(days=1)),
        exact=Fraction(fee.price) * Fraction(fee.quantity) * Fraction(days, cycle.period.days),
        steps=steps,
        rule="recurring by actual days",
        quantity=fee.quantity,
        unit="month",
        price=fee.price,
    )
