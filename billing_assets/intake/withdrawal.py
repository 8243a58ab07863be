"""A mediation file taken back, or read once more from the archive, as its switch or a person asks.

Both leave the other files alone and can be repeated: the file log says what holds, the rows that
landed are replaced by file, and the days are made of them anew.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime

import polars as pl

from billing_assets.core.errors import NotFound, StateError
from billing_assets.intake.parse import parse_file
from billing_assets.intake.resolve import around
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import LANDED, REJECTED, XDR
from billing_assets.reference.sources import Source
from billing_assets.registry.blobs import BlobStore
from billing_assets.registry.files import DayCount, FileEntry, FileLog
from billing_assets.registry.schema import FileState


def file_named(log: FileLog, name: str) -> FileEntry:
    """The file of a name or a content hash; raises `NotFound`, or `StateError` for several."""
    found = log.by_name(name)
    if not found and len(name) == 64:
        found = [entry for entry in [log.by_hash(name)] if entry]
    if not found:
        raise NotFound(f"no file {name}", hint="`icb intake files` lists them")
    if len(found) > 1:
        hashes = ", ".join(entry.sha256 for entry in found)
        raise StateError(
            f"{len(found)} files are called {name}", hint=f"name one by hash: {hashes}"
        )
    return found[0]


def withdraw(
    entry: FileEntry, reason: str, *, lake: Lake, log: FileLog, now: datetime, who: str
) -> list[date]:
    """Take a file's rows back; returns the UTC days to make anew.

    Its bytes stay in the archive, its records are counted as filtered. Raises `StateError`
    without a reason, or for a file that never landed.
    """
    _require_reason(reason, "withdrawn")
    if entry.state is FileState.QUARANTINED:
        raise StateError(f"{entry.name} never landed: it is in quarantine")
    counts = [one for one in log.counts(date.min, date.max) if one.file_key == entry.file_key]
    days = _days(lake, entry, [one.day for one in counts])
    nothing_left = [DayCount(one.day, one.received, 0, 0, one.received) for one in counts]
    log.restate(
        replace(entry, state=FileState.WITHDRAWN, message=reason), nothing_left, now=now, who=who
    )
    for table in (LANDED, REJECTED):
        lake.replace_slice(table, pl.DataFrame(schema=table.schema), {"file": [entry.sha256]})
    return days


def replay(
    entry: FileEntry,
    reason: str,
    sources: Mapping[str, Source],
    *,
    lake: Lake,
    log: FileLog,
    blobs: BlobStore,
    now: datetime,
    who: str,
) -> list[date]:
    """Read a file's archived bytes again by its source as it is described now, and land them.

    Rows keep their record ids. Returns the UTC days to make anew. Raises `StateError` without a
    reason or a source, `InputError` when the file is refused; it then is as it was.
    """
    _require_reason(reason, "read again")
    if entry.source not in sources:
        raise StateError(f"{entry.name} is of source {entry.source}, which is not described")
    parsed = parse_file(
        blobs.get(entry.archive_path),
        entry.name,
        sources[entry.source],
        key=entry.file_key,
        sha256=entry.sha256,
        arrived=entry.received_at,
    )
    counted = [c.day for c in log.counts(date.min, date.max) if c.file_key == entry.file_key]
    before = _days(lake, entry, counted)
    for table, rows in ((LANDED, parsed.landed), (REJECTED, parsed.rejected)):
        lake.replace_slice(table, rows, {"file": [entry.sha256]})
    landed = replace(entry, state=FileState.LANDED, message="", totals=parsed.totals)
    log.restate(landed, parsed.counts, now=now, who=who)
    return sorted({*before, *_days(lake, entry, [one.day for one in parsed.counts])})


def _days(lake: Lake, entry: FileEntry, days: list[date]) -> list[date]:
    """Days of a file, and those whose calls its parts may belong to; these too where it has no
    rows, since it may have had parts."""
    landed = lake.scan(LANDED, part={"file": [entry.sha256]})
    flags = landed.select(pl.len(), parts=pl.col("part").is_not_null().any()).collect()
    if flags["len"].item() and not flags["parts"].item():
        return sorted(days)
    held = {*days, *lake.days(XDR)}
    return sorted({near for day in days for near in around(day) if near in held})


def _require_reason(reason: str, what: str) -> None:
    if not reason.strip():
        raise StateError(f"a file is {what} for a reason", hint="say it: --reason")
