"""Continuity of file sequences: gaps and numbers seen twice, over the wrap (catalogue 1.5, P03)."""

from collections.abc import Sequence
from dataclasses import dataclass

from billing_assets.reference.models import Source
from billing_assets.registry.registry import Registry
from billing_assets.registry.schema import FileState


@dataclass(frozen=True)
class SequenceReport:
    """A source's files in order: how many, which numbers are missing and which came twice."""

    source: str
    files: int
    missing: tuple[int, ...]
    duplicate: tuple[int, ...]


def sequence_gaps(received: Sequence[int], wrap: int) -> tuple[list[int], list[int]]:
    """Missing and repeated numbers of files in the order in which the switch made them.

    Numbers run from 1 to `wrap` and begin again.

    >>> sequence_gaps([9997, 9998, 1, 2, 2, 4], 9999)
    ([9999, 3], [2])
    """
    missing: list[int] = []
    duplicate: list[int] = []
    previous: int | None = None
    for number in received:
        if previous is None:
            previous = number
            continue
        step = (number - previous) % wrap
        if step == 0:
            duplicate.append(number)
            continue
        if step > wrap // 2:
            # behind the last one: a file that came again or late fills its own gap
            if number in missing:
                missing.remove(number)
            else:
                duplicate.append(number)
            continue
        missing += [(previous + n - 1) % wrap + 1 for n in range(1, step)]
        previous = number
    return missing, duplicate


def sequence_report(registry: Registry, sources: Sequence[Source]) -> list[SequenceReport]:
    """Continuity of every source's files, refused ones included: they came."""
    reports = []
    for source in sources:
        entries = [e for e in registry.files.of_source(source.source) if e.sequence is not None]
        ordered = sorted(entries, key=lambda entry: entry.name)
        numbers = [entry.sequence for entry in ordered if entry.sequence is not None]
        missing, duplicate = sequence_gaps(numbers, source.sequence_wrap)
        again = [
            entry.sequence
            for entry in ordered
            if entry.sequence is not None
            and any(
                d.state is FileState.REDELIVERED for d in registry.files.deliveries(entry.file_key)
            )
        ]
        reports.append(
            SequenceReport(
                source.source, len(entries), tuple(missing), tuple(sorted({*duplicate, *again}))
            )
        )
    return reports
