"""The timeline of an agreement: stretches of UTC in which its zone offset, band and rates hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from billing_assets.reference.bands import day_segments
from billing_assets.reference.load import InForce
from billing_assets.reference.models import Calendar


@dataclass(frozen=True)
class Stretch:
    """UTC [start, end) with one offset from UTC (seconds), one band and one set of rates."""

    start: datetime
    end: datetime
    offset: int
    band: str


def offset_at(instant: datetime, zone: ZoneInfo) -> int:
    """Seconds east of UTC at an instant."""
    offset = instant.astimezone(zone).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def constant_offsets(
    start: datetime, end: datetime, zone: str
) -> list[tuple[datetime, datetime, int]]:
    """Cut [start, end) where a zone's clocks change; changes are found to the second."""
    place = ZoneInfo(zone)
    pieces: list[tuple[datetime, datetime, int]] = []
    at, offset = start, offset_at(start, place)
    probe = start
    while probe < end:
        following = min(probe + timedelta(hours=1), end)
        if offset_at(following, place) != offset:
            low, high = probe, following
            while high - low > timedelta(seconds=1):
                middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
                if offset_at(middle, place) == offset:
                    low = middle
                else:
                    high = middle
            if high < end:
                pieces.append((at, high, offset))
                at, offset = high, offset_at(high, place)
        probe = following
    pieces.append((at, end, offset))
    return pieces


def timeline(
    agreement: InForce,
    calendar: Calendar,
    start: datetime,
    end: datetime,
    rate_changes: Sequence[datetime],
) -> list[Stretch]:
    """The stretches of an agreement inside [start, end), in order, without holes.

    `rate_changes` are instants at which any row of its deck begins or ends.
    """
    first, last = max(start, agreement.start), min(end, agreement.end)
    if first >= last:
        return []
    stretches: list[Stretch] = []
    for piece_start, piece_end, offset in constant_offsets(first, last, agreement.terms.zone):
        for band_start, band_end, band in _bands(
            agreement, calendar, piece_start, piece_end, offset
        ):
            inside = [at for at in rate_changes if band_start < at < band_end]
            edges = [band_start, *sorted(set(inside)), band_end]
            stretches += [Stretch(a, b, offset, band) for a, b in pairwise(edges)]
    return stretches


def _bands(
    agreement: InForce, calendar: Calendar, start: datetime, end: datetime, offset: int
) -> list[tuple[datetime, datetime, str]]:
    """Cut a stretch of constant offset by the bands of its local days."""
    bands = agreement.terms.bands
    if bands is None:
        return [(start, end, "")]
    shift = timedelta(seconds=offset)
    found: list[tuple[datetime, datetime, str]] = []
    day = (start + shift).date()
    while True:
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC) - shift
        if midnight >= end:
            return found
        for begin, finish, band in day_segments(bands, day, calendar):
            a = max(start, midnight + timedelta(seconds=begin))
            b = min(end, midnight + timedelta(seconds=finish))
            if a < b and band is not None:
                found.append((a, b, band))
        day += timedelta(days=1)
