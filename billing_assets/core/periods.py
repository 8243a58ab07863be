"""Periods of local calendar days, and the UTC instants at which they begin and end.

All windows are half-open. Records are UTC; a period is cut in the agreement's zone.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from billing_assets.core.errors import BillingError


def midnight_utc(day: date, zone: str) -> datetime:
    """The UTC instant at which a local day begins.

    Where clocks skip midnight, the day begins at the first instant that bears its date.
    """
    local = datetime.combine(day, time(), ZoneInfo(zone))
    instant = local.astimezone(UTC)
    if instant.astimezone(ZoneInfo(zone)).date() < day:
        instant += timedelta(hours=1)
    return instant


@dataclass(frozen=True, order=True)
class Period:
    """Local days from `start` up to, and not including, `end`, in an IANA `zone`."""

    start: date
    end: date
    zone: str = "UTC"

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError(f"period {self.start}..{self.end} has no day")

    @property
    def last_day(self) -> date:
        """The last day that belongs to the period."""
        return self.end - timedelta(days=1)

    @property
    def days(self) -> int:
        """Number of local days."""
        return (self.end - self.start).days

    @property
    def start_utc(self) -> datetime:
        """First instant of the period."""
        return midnight_utc(self.start, self.zone)

    @property
    def end_utc(self) -> datetime:
        """First instant after the period."""
        return midnight_utc(self.end, self.zone)

    def utc_days(self) -> list[date]:
        """Every UTC day that shares an instant with the period: the slices it reads."""
        last = (self.end_utc - timedelta(microseconds=1)).date()
        first = self.start_utc.date()
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]

    def __str__(self) -> str:
        return f"{self.start} to {self.last_day} ({self.zone})"


def month_period(month: str, zone: str = "UTC") -> Period:
    """The period of a calendar month written 'YYYY-MM'.

    Raises `BillingError` when it is not one.
    """
    try:
        start = date.fromisoformat(f"{month}-01")
    except ValueError as error:
        raise BillingError(f"{month!r} is not a month such as 2026-03") from error
    end = (start + timedelta(days=32)).replace(day=1)
    return Period(start, end, zone)
