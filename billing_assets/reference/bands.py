"""Time bands: which band holds at a local moment, by windows, weekdays and holidays.

Local wall-clock logic only; turning instants into local time is the caller's.
"""

from datetime import date, timedelta
from itertools import pairwise

from billing_assets.reference.models import DAYS, Bands, BandWindow, Calendar

DAY = 86400


def holds_on(window: BandWindow, day: date, calendar: Calendar, holidays_named: bool) -> bool:
    """Whether a window begins on a local day.

    On a holiday only windows of `holiday` or `every` hold, provided any window of the bands
    names `holiday`; otherwise a holiday is the weekday that it falls on.
    """
    if "every" in window.days:
        return True
    if holidays_named and day in calendar.holidays:
        return "holiday" in window.days
    name = DAYS[day.weekday()]
    kind = "weekend" if name in calendar.weekend else "weekday"
    return name in window.days or kind in window.days


def windows_of_day(bands: Bands, day: date, calendar: Calendar) -> list[tuple[int, int, str]]:
    """Windows that touch a local day as (from second, to second, band), clipped to the day."""
    named = any("holiday" in window.days for window in bands.windows)
    before = day - timedelta(days=1)
    found: list[tuple[int, int, str]] = []
    for window in bands.windows:
        over_midnight = window.end <= window.start
        if holds_on(window, day, calendar, named):
            found.append((window.start, DAY if over_midnight else window.end, window.band))
        if over_midnight and window.end and holds_on(window, before, calendar, named):
            found.append((0, window.end, window.band))
    return sorted(found)


def day_segments(bands: Bands, day: date, calendar: Calendar) -> list[tuple[int, int, str | None]]:
    """The bands of one local day as (from second, to second, band), in order, without holes.

    The band is None where no window holds and there is no `otherwise`. Windows do not overlap:
    loading refuses that (`band_problems`).
    """
    segments: list[tuple[int, int, str | None]] = []

    def extend(start: int, end: int, band: str | None) -> None:
        if segments and segments[-1][2] == band:
            segments[-1] = (segments[-1][0], end, band)
        elif start < end:
            segments.append((start, end, band))

    reached = 0
    for start, end, band in windows_of_day(bands, day, calendar):
        if reached < start:
            extend(reached, start, bands.otherwise)
        extend(start, end, band)
        reached = end
    if reached < DAY:
        extend(reached, DAY, bands.otherwise)
    return segments


def band_problems(bands: Bands, calendar: Calendar) -> list[str]:
    """Sentences about windows that overlap, leave a gap without an `otherwise`, or hold on
    holidays that no calendar names.

    Every pair of neighbouring days of the week is tried, each as a plain day and as a holiday.
    """
    problems: list[str] = []
    named = any("holiday" in window.days for window in bands.windows)
    monday = date(2024, 1, 1)
    for offset in range(7):
        day = monday + timedelta(days=offset)
        before = day - timedelta(days=1)
        for holidays in ((), (day,), (before,), (before, day)) if named else ((),):
            trial = Calendar(weekend=calendar.weekend, holidays=holidays)
            place = f"on {DAYS[day.weekday()]}" + (", a holiday" if day in holidays else "")
            for (_, end, first), (start, _, second) in pairwise(windows_of_day(bands, day, trial)):
                if start < end:
                    problems.append(
                        f"windows {first} and {second} overlap {place} at {_clock(start)}"
                    )
            problems += [
                f"no band holds {place} from {_clock(start)}; name one in `otherwise`"
                for start, _, band in day_segments(bands, day, trial)
                if band is None
            ]
    if named and bands.calendar is None and not problems:
        problems.append("a window holds on holidays: name their `calendar`")
    return list(dict.fromkeys(problems))


def _clock(second: int) -> str:
    return f"{second // 3600:02d}:{second // 60 % 60:02d}"
