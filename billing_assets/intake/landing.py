"""Taking files in: archive, parse, land, log, in an order that a crash cannot break.

Bytes are archived by hash before anything reads them. Rows land by file, so landing a file again
changes nothing. The file log's entry is the moment of truth; only then a file leaves the inbox.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from billing_assets.core.errors import BillingError, InputError, Problem
from billing_assets.core.ids import sha256_of
from billing_assets.intake.parse import ParsedFile, parse_file
from billing_assets.intake.resolve import REACH_DAYS, Resolved, resolve_day
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import DUPLICATE, LANDED, PARTIAL, REJECTED, SUSPENSE, XDR
from billing_assets.reference.models import Source
from billing_assets.registry.blobs import BlobStore
from billing_assets.registry.files import FileFacts
from billing_assets.registry.registry import Registry
from billing_assets.registry.schema import FileState

BATCH_ROWS = 1_000_000
"""Rows that land in one commit: few commits, and a bounded amount in memory."""

Progress = Callable[[int, int], None]
"""Called with the files done so far and in all."""


@dataclass
class IntakeReport:
    """What became of the files of an inbox."""

    landed: list[str] = field(default_factory=list)
    redelivered: list[str] = field(default_factory=list)
    quarantined: list[Problem] = field(default_factory=list)
    received: int = 0
    rejected: int = 0
    filtered: int = 0
    days: set[date] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class _Taken:
    """A parsed file that waits for its batch."""

    path: Path
    facts: FileFacts
    parsed: ParsedFile


class Intake:
    """Takes the files of an inbox in, source by source, in the order of their names."""

    def __init__(
        self,
        *,
        lake: Lake,
        registry: Registry,
        blobs: BlobStore,
        quarantine: Path,
        now: datetime,
        who: str,
    ) -> None:
        self.lake, self.registry, self.blobs = lake, registry, blobs
        self.quarantine, self.now, self.who = quarantine, now, who
        self.report = IntakeReport()

    def take_in(
        self, inbox: Path, sources: Mapping[str, Source], progress: Progress | None = None
    ) -> IntakeReport:
        """Take in every file of the inbox; files of an unknown source folder stay and are told."""
        waiting = list(_files(inbox))
        batch: list[_Taken] = []
        for done, path in enumerate(waiting):
            source = sources.get(path.parent.name)
            if source is None:
                self.report.problems.append(
                    Problem("lies in a folder that is no source of sources.yaml", str(path))
                )
                continue
            if sum(one.parsed.received for one in batch) >= BATCH_ROWS:
                self._land(batch)
                batch = []
            content = path.read_bytes()
            sha256 = sha256_of(content)
            if any(one.facts.sha256 == sha256 for one in batch):
                # the same content twice in one batch: the first must be logged to tell
                self._land(batch)
                batch = []
            taken = self._take(path, source, content, sha256)
            if taken is not None:
                batch.append(taken)
            if progress:
                progress(done + 1, len(waiting))
        self._land(batch)
        return self.report

    def _take(self, path: Path, source: Source, content: bytes, sha256: str) -> _Taken | None:
        """Archive and parse one file; None when it goes no further."""
        known = self.registry.files.by_hash(sha256)
        facts = FileFacts(
            sha256=sha256,
            name=path.name,
            source=source.source,
            preset=source.preset,
            size=len(content),
            state=FileState.LANDED,
            sequence=_sequence(source, path.name),
            archive_path=self.blobs.put(content),
        )
        if known is not None and known.state is FileState.LANDED:
            if (known.source, known.name) != (facts.source, facts.name):
                self.registry.files.record(facts, now=self.now, who=self.who)
                self.report.redelivered.append(path.name)
            path.unlink()
            return None
        key = self.registry.files.assign_file_key(sha256, now=self.now, who=self.who)
        try:
            parsed = parse_file(
                content, path.name, source, key=key, sha256=sha256, arrived=self.now.date()
            )
        except InputError as error:
            self._refuse(path, facts, error)
            return None
        return _Taken(path, facts, parsed)

    def _refuse(self, path: Path, facts: FileFacts, error: InputError) -> None:
        """Keep a refused file in quarantine with its reason beside it."""
        folder = self.quarantine / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        reason = "\n".join(str(problem) for problem in error.problems)
        (folder / f"{path.name}.reason.txt").write_text(reason + "\n")
        refused = FileFacts(**{**vars(facts), "state": FileState.QUARANTINED, "message": reason})
        self.registry.files.record(refused, now=self.now, who=self.who)
        path.replace(folder / path.name)
        self.report.quarantined += error.problems

    def _land(self, batch: list[_Taken]) -> None:
        """Land parsed files in one commit a table, log them, and take them from the inbox."""
        if not batch:
            return
        part = {"file": [one.facts.sha256 for one in batch]}
        for table, frames in (
            (LANDED, [one.parsed.landed for one in batch]),
            (REJECTED, [one.parsed.rejected for one in batch]),
        ):
            self.lake.replace_slice(table, pl.concat(frames), part)
        for one in batch:
            self.registry.files.record(one.facts, one.parsed.counts, now=self.now, who=self.who)
            one.path.unlink()
            self._count(one)

    def _count(self, one: _Taken) -> None:
        report = self.report
        report.landed.append(one.facts.name)
        for count in one.parsed.counts:
            report.received += count.received
            report.rejected += count.rejected
            report.filtered += count.filtered
            if count.landed:
                report.days.add(count.day)
        for row in one.parsed.rejected.iter_rows(named=True):
            report.problems.append(
                Problem(row["reason"], one.facts.name, row["row"], row["field"], row["value"])
            )


def make_day(lake: Lake, day: date) -> Resolved:
    """Make a day's records of what landed, and replace its slices."""
    around = [day + timedelta(days=n) for n in range(-REACH_DAYS, REACH_DAYS + 1)]
    today = lake.scan(LANDED, part={"day": day})
    parts = lake.scan(LANDED, part={"day": [one for one in around if one != day]}).filter(
        pl.col("part").is_not_null()
    )
    resolved = resolve_day(day, pl.concat([today, parts]).collect(engine="streaming"))
    lake.replace_slice(XDR, resolved.xdr, {"day": day})
    lake.replace_slice(DUPLICATE, resolved.duplicate, {"day": day})
    lake.replace_slice(PARTIAL, resolved.partial, {"day": day})
    lake.replace_slice(SUSPENSE, resolved.suspense, {"day": day, "stage": "xdr"})
    return resolved


def _files(inbox: Path) -> Iterator[Path]:
    for folder in sorted(path for path in inbox.glob("*") if path.is_dir()):
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                yield path


def _sequence(source: Source, name: str) -> int | None:
    """The file's number at its source, by the source's pattern; None when the name has none."""
    try:
        found = re.match(source.pattern, name)
    except re.error as error:
        raise BillingError(
            f"pattern of source {source.source} is no expression: {error}"
        ) from error
    return int(found["sequence"]) if found else None
