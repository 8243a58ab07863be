"""Taking files in: archive, parse, land, log, in an order that a crash cannot break.

Bytes are archived by hash before anything reads them. Rows land by file, so landing a file again
changes nothing. The file log's entry is the moment of truth; only then a file leaves the inbox.
"""

import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path

import duckdb
import polars as pl

from billing_assets.core.errors import BillingError, InputError, Problem
from billing_assets.core.ids import sha256_of, sha256_of_file
from billing_assets.intake.parse import ParsedFile, parse_file
from billing_assets.intake.presets import preset_of
from billing_assets.intake.resolve import Resolved, around, resolve_day
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import DUPLICATE, LANDED, PARTIAL, REJECTED, SUSPENSE, XDR
from billing_assets.reference.models import Source
from billing_assets.registry.blobs import BlobStore
from billing_assets.registry.files import FileFacts
from billing_assets.registry.registry import Registry
from billing_assets.registry.schema import FileState

BATCH_ROWS = 1_000_000
"""Rows that land in one commit: few commits, and a bounded amount in memory."""

_TOLD_ROWS = 20
"""Refused rows of one file that the report names; all stand in `rejected`."""

_ARRIVING = (".part", ".tmp", ".filepart")
"""Endings under which transfers write: such a file is not here yet."""

Progress = Callable[[int, int], None]
"""Called with the files done so far and in all."""


@dataclass
class IntakeReport:
    """What became of the files of an inbox.

    `landed` and `redelivered` are file names, `quarantined` the reasons of refused files; counts
    are of records. `days` are the UTC days to make anew: those on which records landed, and the
    days around parts of calls. `problems` are refused rows and files that could not be taken;
    `warnings` is what was taken and should be looked at.
    """

    landed: list[str] = field(default_factory=list)
    redelivered: list[str] = field(default_factory=list)
    quarantined: list[Problem] = field(default_factory=list)
    received: int = 0
    rejected: int = 0
    filtered: int = 0
    days: set[date] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class _Arrived:
    """A file of the inbox that is new, with its key."""

    path: Path
    source: Source
    content: bytes
    facts: FileFacts
    key: int


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
        self._batch: list[_Taken] = []

    def take_in(
        self, inbox: Path, sources: Mapping[str, Source], progress: Progress | None = None
    ) -> IntakeReport:
        """Take in every file of the inbox, and tell of each what became of it.

        Files stay where they are when their folder is no source, or its source cannot be used.
        """
        waiting = list(self._waiting(inbox, sources))
        workers = os.cpu_count() or 1
        parsing: deque[tuple[_Arrived, Future[ParsedFile]]] = deque()
        done = 0

        def finish(most: int) -> None:
            nonlocal done
            while len(parsing) > most:
                self._finish(*parsing.popleft())
                done += 1
                if progress:
                    progress(done, len(waiting))

        # files are parsed side by side, and logged and landed one after another in their order
        with ThreadPoolExecutor(workers) as pool:
            for path, source in waiting:
                try:
                    content = path.read_bytes()
                except FileNotFoundError:
                    # another run has taken it meanwhile
                    done += 1
                    continue
                sha256 = sha256_of(content)
                if any(
                    facts.sha256 == sha256
                    for facts in (
                        *(one.facts for one, _ in parsing),
                        *(one.facts for one in self._batch),
                    )
                ):
                    # the same content is on its way: it must be logged before this one is told
                    finish(0)
                    self._land()
                arrived = self._arrived(path, source, content, sha256)
                if arrived is None:
                    done += 1
                    continue
                parsing.append((arrived, pool.submit(self._parse, arrived)))
                finish(workers)
            finish(0)
        self._land()
        if progress and waiting:
            progress(len(waiting), len(waiting))
        return self.report

    def _waiting(self, inbox: Path, sources: Mapping[str, Source]) -> Iterator[tuple[Path, Source]]:
        """Files to take in, with their sources; folders that cannot be used are told."""
        for folder in sorted(path for path in inbox.glob("*") if path.is_dir()):
            files = [path for path in sorted(folder.iterdir()) if _is_here(path)]
            if not files:
                continue
            source = sources.get(folder.name)
            if source is None:
                self.report.problems += [
                    Problem("lies in a folder that is no source of sources.yaml", str(path))
                    for path in files
                ]
                continue
            try:
                check_source(source)
            except BillingError as error:
                self.report.problems.append(Problem(str(error), str(folder)))
                continue
            for path in files:
                yield path, source

    def _arrived(self, path: Path, source: Source, content: bytes, sha256: str) -> _Arrived | None:
        """A new file with its key; None for one that had landed already."""
        known = self.registry.files.by_hash(sha256)
        facts = FileFacts(
            sha256=sha256,
            name=path.name,
            source=source.source,
            preset=source.preset,
            size=len(content),
            state=FileState.LANDED,
            sequence=sequence_of(source, path.name),
            archive_path=sha256,
        )
        if known is not None and known.state is FileState.LANDED:
            if (known.source, known.name) != (facts.source, facts.name):
                self.registry.files.record(facts, now=self.now, who=self.who)
            self.report.redelivered.append(path.name)
            path.unlink(missing_ok=True)
            return None
        if facts.sequence is None:
            self.report.warnings.append(
                Problem(f"has no number by the pattern {source.pattern!r}", path.name)
            )
        key = self.registry.files.assign_file_key(sha256, now=self.now, who=self.who)
        return _Arrived(path, source, content, facts, key)

    def _parse(self, arrived: _Arrived) -> ParsedFile:
        """Archive and parse one file; raises `InputError` when it is refused."""
        self.blobs.put(arrived.content)
        name = arrived.path.name
        try:
            return parse_file(
                arrived.content,
                name,
                arrived.source,
                key=arrived.key,
                sha256=arrived.facts.sha256,
                arrived=self.now.date(),
            )
        except InputError:
            raise
        except (BillingError, duckdb.Error, pl.exceptions.PolarsError) as error:
            # no file may stop the others, whatever is in it
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{name} is refused",
                [Problem(f"cannot be read by the preset {arrived.source.preset}: {reason}", name)],
            ) from error

    def _finish(self, arrived: _Arrived, parsing: Future[ParsedFile]) -> None:
        """Put a parsed file into the batch, or a refused one aside."""
        try:
            parsed = parsing.result()
        except InputError as error:
            self._refuse(arrived, error)
            return
        self._batch.append(_Taken(arrived.path, arrived.facts, parsed))
        if sum(one.parsed.received for one in self._batch) >= BATCH_ROWS:
            self._land()

    def _refuse(self, arrived: _Arrived, error: InputError) -> None:
        """Keep a refused file in quarantine with its reason beside it."""
        path, sha256 = arrived.path, arrived.facts.sha256
        folder = self.quarantine / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / path.name
        if kept.exists() and sha256_of_file(kept) != sha256:
            # another refused file of this name stays
            kept = folder / f"{sha256[:12]}_{path.name}"
        reason = "\n".join(str(problem) for problem in error.problems)
        (folder / f"{kept.name}.reason.txt").write_text(reason + "\n")
        refused = replace(arrived.facts, state=FileState.QUARANTINED, message=reason)
        self.registry.files.record(refused, now=self.now, who=self.who)
        with suppress(FileNotFoundError):
            path.replace(kept)
        self.report.quarantined += error.problems

    def _land(self) -> None:
        """Land the batch in one commit a table, log its files, and take them from the inbox."""
        batch, self._batch = self._batch, []
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
            one.path.unlink(missing_ok=True)
            self._count(one)

    def _count(self, one: _Taken) -> None:
        report, parsed = self.report, one.parsed
        report.landed.append(one.facts.name)
        for count in parsed.counts:
            report.received += count.received
            report.rejected += count.rejected
            report.filtered += count.filtered
        report.days.update(parsed.landed["day"].unique())
        for day in parsed.landed.filter(pl.col("part").is_not_null())["day"].unique():
            report.days.update(around(day))
        report.warnings += parsed.warnings
        report.problems += [
            Problem(row["reason"], one.facts.name, row["row"], row["field"], row["value"])
            for row in parsed.rejected.head(_TOLD_ROWS).iter_rows(named=True)
        ]
        more = parsed.rejected.height - _TOLD_ROWS
        if more > 0:
            report.problems.append(
                Problem(f"{more:,} more rows are rejected; see the table", one.facts.name)
            )


def make_day(lake: Lake, day: date) -> Resolved:
    """Make a day's records of what landed, and replace its slices."""
    today = lake.scan(LANDED, part={"day": day})
    others = [one for one in around(day) if one != day]
    parts = lake.scan(LANDED, part={"day": others}).filter(pl.col("part").is_not_null())
    resolved = resolve_day(day, pl.concat([today, parts]).collect(engine="streaming"))
    lake.replace_slice(XDR, resolved.xdr, {"day": day})
    lake.replace_slice(DUPLICATE, resolved.duplicate, {"day": day})
    lake.replace_slice(PARTIAL, resolved.partial, {"day": day})
    lake.replace_slice(SUSPENSE, resolved.suspense, {"day": day, "stage": "xdr"})
    return resolved


def check_source(source: Source) -> None:
    """Raise `BillingError` when a source cannot be used: its preset, options or name pattern."""
    preset_of(source)
    try:
        pattern = re.compile(source.pattern)
    except re.error as error:
        raise BillingError(
            f"pattern of source {source.source} is no expression: {error}"
        ) from error
    if "sequence" not in pattern.groupindex:
        raise BillingError(
            f"pattern of source {source.source} names no group 'sequence'",
            hint="write (?P<sequence>[0-9]+) where the file's number stands",
        )


def sequence_of(source: Source, name: str) -> int | None:
    """The file's number at its source, by the source's pattern; None when the name has none."""
    found = re.match(source.pattern, name)
    return int(found["sequence"]) if found and (found["sequence"] or "").isdecimal() else None


def _is_here(path: Path) -> bool:
    """Whether a file has wholly arrived, by its name."""
    return path.is_file() and not path.name.startswith(".") and path.suffix not in _ARRIVING
