"""Billing cycles: which local days of a partner close together, and what a cycle is called.

A calendar has monthly, weekly or semi-monthly cycles; ad hoc ones are opened by people. All are
cut in the partner's zone. A cycle belongs to the month in which its last day lies.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from billing_assets.core.periods import Period, month_period
from billing_assets.reference.models import DAYS, Cadence, Partner
from billing_assets.registry.cycles import ADJUSTMENT
from billing_assets.registry.cycles import Cycle as RegisteredCycle

_WEEK = timedelta(days=7)
_MID_MONTH = 16
"""The day of the month on which the second semi-monthly cycle begins."""


@dataclass(frozen=True)
class Cycle:
    """A partner's billing period; `month` ('YYYY-MM') is the one in which it ends."""

    cycle: str
    partner: str
    month: str
    period: Period
    cadence: str = Cadence.MONTHLY


def cycles_of_month(partner: Partner, month: str) -> list[Cycle]:
    """The cycles of a partner's calendar that end in a month ('YYYY-MM'), in order of time.

    None for a partner that is billed ad hoc. Raises `ValueError` for what is no month.
    """
    calendar = month_period(month, partner.zone)
    match partner.cadence:
        case Cadence.MONTHLY:
            named = [(month, calendar)]
        case Cadence.SEMI_MONTHLY:
            middle = calendar.start.replace(day=_MID_MONTH)
            named = [
                (f"{month}-A", Period(calendar.start, middle, partner.zone)),
                (f"{month}-B", Period(middle, calendar.end, partner.zone)),
            ]
        case Cadence.WEEKLY:
            named = [(_week_name(week), week) for week in _weeks(partner, calendar)]
        case Cadence.AD_HOC:
            named = []
    return [
        Cycle(f"{partner.partner}/{name}", partner.partner, month, period, partner.cadence)
        for name, period in named
    ]


def ad_hoc_cycle(partner: Partner, first: date, last: date) -> Cycle:
    """A cycle of any days of a partner, both included; a whole calendar month is called by it.

    Raises `ValueError` when the last day is before the first.
    """
    period = Period(first, last + timedelta(days=1), partner.zone)
    month = last.isoformat()[:7]
    whole = partner.cadence is Cadence.AD_HOC and period == month_period(month, partner.zone)
    name = month if whole else f"{first}--{last}"
    return Cycle(f"{partner.partner}/{name}", partner.partner, month, period, Cadence.AD_HOC)


def adjustment_of(known: RegisteredCycle, others: Collection[str]) -> Cycle:
    """The next cycle that adjusts a final one: what its days have gained or lost since.

    `others` are the names of all cycles of the partner.
    """
    number = next(n for n in range(1, len(others) + 2) if f"{known.id}/A{n}" not in others)
    return Cycle(f"{known.id}/A{number}", known.partner, known.month, known.period, ADJUSTMENT)


def registered_cycle(known: RegisteredCycle) -> Cycle:
    """A cycle as it stands in the registry."""
    return Cycle(known.id, known.partner, known.month, known.period, known.cadence)


def is_closed(cycle: Cycle, now: datetime) -> bool:
    """Whether the period is over at an instant, in the partner's zone."""
    return cycle.period.end_utc <= now


def calendar(partner: Partner, first: date, last: date) -> list[Cycle]:
    """The cycles of a partner's calendar whose last day lies between two days, both included."""
    return [
        cycle
        for month in _months(first, last)
        for cycle in cycles_of_month(partner, month)
        if first <= cycle.period.last_day <= last
    ]


def newly_closed(partner: Partner, now: datetime) -> Cycle:
    """The last cycle of a partner's calendar that is over at an instant.

    Raises `ValueError` for a partner that is billed ad hoc and has none.
    """
    today = now.astimezone(ZoneInfo(partner.zone)).date()
    over = calendar(partner, today - timedelta(days=62), today - timedelta(days=1))
    if not over:
        raise ValueError(f"{partner.partner} has no calendar")
    return over[-1]


def _weeks(partner: Partner, month: Period) -> Iterator[Period]:
    """Weeks from the partner's own first weekday on whose last day lies in a month."""
    begins = DAYS.index(partner.week_starts)
    start = month.start - timedelta(days=(month.start.weekday() - begins) % 7)
    while start + _WEEK <= month.end:
        yield Period(start, start + _WEEK, partner.zone)
        start += _WEEK


def _week_name(week: Period) -> str:
    """The ISO 8601 week of the week's fourth day: each week has a name of its own."""
    year, number, _ = (week.start + timedelta(days=3)).isocalendar()
    return f"{year}-W{number:02d}"


def _months(first: date, last: date) -> Iterator[str]:
    month = first.replace(day=1)
    while month <= last:
        yield month.isoformat()[:7]
        month = (month + timedelta(days=32)).replace(day=1)
