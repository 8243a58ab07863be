"""Continuity of file sequences: gaps and numbers seen twice, over the wrap (catalogue 1.5, P03)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from billing_assets.reference.sources import Source
from billing_assets.registry.registry import Registry


@dataclass(frozen=True)
class SequenceReport:
    """A source's files in order: how many, which numbers are missing and which came twice."""

    source: str
    files: int
    missing: tuple[int, ...]
    duplicate: tuple[int, ...]


def sequence_gaps(received: Iterable[int], wrap: int) -> tuple[list[int], list[int]]:
    """Missing and repeated numbers of files, roughly in the order in which the switch made them.

    Numbers run from 1 to `wrap` and begin again. Each is taken as the nearest to the newest one
    before it, so files may be out of order by less than half a round.

    >>> sequence_gaps([9997, 9998, 1, 2, 2, 4], 9999)
    ([9999, 3], [2])
    """
    newest: int | None = None
    places: Counter[int] = Counter()
    for number in received:
        if newest is None:
            place = newest = number
        else:
            ahead = (number - newest) % wrap
            place = newest + ahead - (wrap if ahead > wrap // 2 else 0)
            newest = max(newest, place)
        places[place] += 1
    if not places:
        return [], []
    between = range(min(places), max(places))
    return (
        [(place - 1) % wrap + 1 for place in between if place not in places],
        [(place - 1) % wrap + 1 for place in sorted(places) if places[place] > 1],
    )


def sequence_report(registry: Registry, sources: Sequence[Source]) -> list[SequenceReport]:
    """Continuity of every source's files, refused ones included: they came.

    A number came twice when two contents bear it, or when its file was delivered again under
    another name.
    """
    again = {(one.file_key, one.name) for one in registry.files.redeliveries()}
    last_days = _last_days(registry)
    reports = []
    for source in sources:
        # names need not sort over a wrap, and come again in the next round; a switch writes a
        # record when its call ends, so late records do not move a file
        files = registry.files.of_source(source.source)
        numbered = [
            (
                last_days.get(entry.file_key, entry.received_at.date()),
                entry.sequence,
                entry.file_key,
            )
            for entry in files
            if entry.sequence is not None
        ]
        received = [number for _, number, _ in sorted(numbered)]
        missing, duplicate = sequence_gaps(received, source.sequence_wrap)
        redelivered = {
            entry.sequence
            for entry in files
            if entry.sequence is not None
            and any(key == entry.file_key and name != entry.name for key, name in again)
        }
        reports.append(
            SequenceReport(
                source.source,
                len(numbered),
                tuple(missing),
                tuple(sorted({*duplicate, *redelivered})),
            )
        )
    return reports


def _last_days(registry: Registry) -> dict[int, date]:
    """The last UTC day of the landed records of each file, by file key."""
    days: dict[int, date] = {}
    for count in registry.files.counts(date.min, date.max):
        if count.landed:
            days[count.file_key] = max(count.day, days.get(count.file_key, count.day))
    return days
