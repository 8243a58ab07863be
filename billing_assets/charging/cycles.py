"""Billing cycles: which local days of a partner close together."""

from dataclasses import dataclass
from datetime import date

from billing_assets.core.periods import Period, month_period
from billing_assets.reference.models import Partner


@dataclass(frozen=True)
class Cycle:
    """A partner's billing period; `month` is the month in which it ends."""

    cycle: str
    partner: str
    month: str
    period: Period


def monthly_cycle(partner: Partner, month: str) -> Cycle:
    """The cycle of a calendar month ('YYYY-MM') in the partner's zone."""
    return Cycle(
        cycle=f"{partner.partner}/{month}",
        partner=partner.partner,
        month=month,
        period=month_period(month, partner.zone),
    )


def is_closed(cycle: Cycle, today: date) -> bool:
    """Whether the period lies wholly before a local date."""
    return cycle.period.end <= today
