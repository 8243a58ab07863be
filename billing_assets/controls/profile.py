"""Days and hours without a record where there usually are some (catalogue 1.5, 4.1).

The usual is a median, so that one odd day does not change it: of the same weekdays for a day, of
the same hour of working days or of weekends for an hour. Days before a partner's first record
tell nothing.
"""

from collections.abc import Sequence
from datetime import date
from statistics import median

import polars as pl

_LEAST_DAYS = 2
"""Fewer days to compare with are no profile."""


def silent_days(
    traffic: pl.DataFrame, days: Sequence[date], usual_day: int
) -> list[tuple[date, int]]:
    """Days without an attempt whose weekday usually has `usual_day` of them or more.

    `traffic` has columns day, hour (UTC) and attempts; the days of a week are compared with
    those of the other weeks in it. Returns each day with the usual number.
    """
    totals = _by(traffic, "day")
    begun = min(totals, default=None)
    if begun is None:
        return []
    found = []
    known = sorted(set(totals) | {day for day in days if day >= begun})
    for day in days:
        others = [
            totals.get(one, 0) for one in known if one.weekday() == day.weekday() and one != day
        ]
        if day > begun and not totals.get(day) and len(others) >= _LEAST_DAYS:
            usual = int(median(others))
            if usual >= usual_day and usual > 0:
                found.append((day, usual))
    return found


def silent_hours(
    traffic: pl.DataFrame, days: Sequence[date], usual_hour: int
) -> list[tuple[date, int, int]]:
    """Hours without an attempt, on days with some, that usually have `usual_hour` or more.

    Returns day, hour (UTC) and the usual number.
    """
    attempts = {
        (day, hour): count
        for day, hour, count in traffic.select("day", "hour", "attempts").iter_rows()
    }
    known = sorted({day for day, _ in attempts})
    usual: dict[tuple[bool, int], int] = {}
    for weekend in (False, True):
        alike = [day for day in known if (day.weekday() >= 5) is weekend]
        if len(alike) > _LEAST_DAYS:
            for hour in range(24):
                usual[weekend, hour] = int(median(attempts.get((day, hour), 0) for day in alike))
    return [
        (day, hour, usual[day.weekday() >= 5, hour])
        for day in days
        if day in known and day != known[0]
        for hour in range(24)
        if usual.get((day.weekday() >= 5, hour), 0) >= max(usual_hour, 1)
        and not attempts.get((day, hour))
    ]


def _by(traffic: pl.DataFrame, column: str) -> dict[date, int]:
    return dict(traffic.group_by(column).agg(pl.col("attempts").sum()).iter_rows())
