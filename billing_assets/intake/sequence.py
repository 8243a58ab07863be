"""Continuity of files: numbers missing or seen twice, hours without a file (1.5, P03)."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from billing_assets.reference.sources import Source
from billing_assets.registry.files import FileEntry
from billing_assets.registry.registry import Registry


@dataclass(frozen=True)
class SequenceReport:
    """A source's files in order: how many, which numbers are missing and which came twice.

    `uncovered` are stretches of UTC hours, half-open, in which no record of any file ended,
    though files before and after have some.
    """

    source: str
    files: int
    missing: tuple[int, ...]
    duplicate: tuple[int, ...]
    uncovered: tuple[tuple[datetime, datetime], ...] = ()


def sequence_gaps(received: Iterable[int], wrap: int) -> tuple[list[int], list[int]]:
    """Missing and repeated numbers of files, roughly in the order in which the switch made them.

    Numbers run from 1 to `wrap` and begin again. Each is taken as the nearest to the newest one
    before it, so files may be out of order by less than half a round.

    >>> sequence_gaps([9997, 9998, 1, 2, 2, 4], 9999)
    ([9999, 3], [2])
    """
    places = Counter(_places(received, wrap))
    if not places:
        return [], []
    between = range(min(places), max(places))
    return (
        [(place - 1) % wrap + 1 for place in between if place not in places],
        [(place - 1) % wrap + 1 for place in sorted(places) if places[place] > 1],
    )


def _places(received: Iterable[int], wrap: int) -> list[int]:
    """Where each number stands when rounds are counted through: 9999, 1 are 9999, 10000."""
    newest: int | None = None
    places: list[int] = []
    for number in received:
        if newest is None:
            place = newest = number
        else:
            ahead = (number - newest) % wrap
            place = newest + ahead - (wrap if ahead > wrap // 2 else 0)
            newest = max(newest, place)
        places.append(place)
    return places


def missing_between(registry: Registry, source: Source, keys: Collection[int]) -> list[int]:
    """Numbers that no file of a source bears, between the first and the last of some files."""
    numbered = _numbered(registry.files.of_source(source.source), _last_days(registry))
    places = _places([number for _, number, _ in numbered], source.sequence_wrap)
    known = set(places)
    own = [place for place, (_, _, key) in zip(places, numbered, strict=True) if key in keys]
    between = range(min(own), max(own)) if own else range(0)
    return [(place - 1) % source.sequence_wrap + 1 for place in between if place not in known]


def _numbered(
    files: Sequence[FileEntry], last_days: Mapping[int, date]
) -> list[tuple[date, int, int]]:
    """Day, number and key of a source's files in the order in which the switch made them.

    Names need not sort over a wrap, and come again in the next round; a switch writes a record
    when its call ends, so late records do not move a file.
    """
    return sorted(
        (last_days.get(entry.file_key, entry.received_at.date()), entry.sequence, entry.file_key)
        for entry in files
        if entry.sequence is not None
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
        files = registry.files.of_source(source.source)
        numbered = _numbered(files, last_days)
        received = [number for _, number, _ in numbered]
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
                tuple(uncovered_hours(_spans(files))),
            )
        )
    return reports


def ranges(numbers: Sequence[int]) -> str:
    """Numbers in their order, runs of neighbours as ranges.

    >>> ranges([9998, 9999, 1, 2, 3, 7])
    '9998-9999, 1-3, 7'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def uncovered_hours(
    spans: Iterable[tuple[datetime, datetime]],
) -> list[tuple[datetime, datetime]]:
    """Stretches of hours between the first and the last span that none of them touches."""
    hour = timedelta(hours=1)

    def floor(time: datetime) -> datetime:
        return time.replace(minute=0, second=0, microsecond=0)

    found: list[tuple[datetime, datetime]] = []
    reached: datetime | None = None
    for first, last in sorted((floor(first), floor(last) + hour) for first, last in spans):
        if reached is not None and first > reached:
            found.append((reached, first))
        reached = last if reached is None else max(reached, last)
    return found


def hours_text(ends: pl.Series) -> str:
    """The UTC hours in which records ended, as text of runs: '2026-03-10T00/2026-03-10T05;...'."""
    runs: list[list[datetime]] = []
    for hour in ends.dt.truncate("1h").unique().sort():
        if runs and hour - runs[-1][1] == timedelta(hours=1):
            runs[-1][1] = hour
        else:
            runs.append([hour, hour])
    return ";".join("/".join(f"{hour:%Y-%m-%dT%H}" for hour in run) for run in runs)


def _spans(files: Sequence[FileEntry]) -> list[tuple[datetime, datetime]]:
    """The runs of hours in which the records of files ended, first and last hour of each.

    What lies before every file's newest run are late records: they begin no stretch.
    """
    texts = [str(entry.totals.get("hours", "")).split(";") for entry in files]
    runs = [
        [datetime.fromisoformat(f"{hour}:00+00:00") for hour in run.split("/")]
        for of_file in texts
        for run in of_file
        if run
    ]
    newest = [datetime.fromisoformat(f"{t[-1].split('/')[0]}:00+00:00") for t in texts if t[-1]]
    return [(first, last) for first, last in runs if last >= min(newest)]


def _last_days(registry: Registry) -> dict[int, date]:
    """The last UTC day of the landed records of each file, by file key."""
    days: dict[int, date] = {}
    for count in registry.files.counts(date.min, date.max):
        if count.landed:
            days[count.file_key] = max(count.day, days.get(count.file_key, count.day))
    return days
