"""Taking files in: archive, parse, land, log, in an order that a crash cannot break.

Bytes are archived by hash before anything reads them. Rows land by file, so landing a file again
changes nothing. The file log's entry is the moment of truth; only then a file leaves the inbox.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl

from billing_assets.core.errors import BillingError, InputError, Problem
from billing_assets.core.ids import sha256_of, sha256_of_file
from billing_assets.intake.inbox import Seen, Waiting, check_sum, sequence_of, waiting_files
from billing_assets.intake.parse import ParsedFile, kept_content, parse_file
from billing_assets.intake.resolve import NEAR, Resolved, around, resolve_day
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import DUPLICATE, LANDED, PARTIAL, REJECTED, SUSPENSE, XDR
from billing_assets.reference.sources import Source
from billing_assets.registry.blobs import BlobStore
from billing_assets.registry.files import Arrival, FileEntry, FileFacts
from billing_assets.registry.registry import Registry
from billing_assets.registry.schema import FileState

BATCH_ROWS = 1_000_000
"""Rows that land in one commit: few commits, and a bounded amount in memory."""

_TOLD_ROWS = 20
"""Refused rows of one file that the report names; all stand in `rejected`."""

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
    """A file of the inbox with its content, and why it is refused before anybody parses it."""

    file: Waiting
    content: bytes
    seen: Seen
    facts: FileFacts
    damage: InputError | None


@dataclass(frozen=True)
class _Taken:
    """A parsed file that waits for its batch."""

    file: Waiting
    seen: Seen
    arrival: Arrival
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
        self._parsing: deque[tuple[_Arrived, Future[ParsedFile]]] = deque()

    def take_in(
        self, inbox: Path, sources: Mapping[str, Source], progress: Progress | None = None
    ) -> IntakeReport:
        """Take in every file of the inbox, and tell of each what became of it.

        Files stay where they are when their folder is no source, or its source cannot be used.
        """
        waiting = list(waiting_files(inbox, sources, self.report.problems))
        workers = os.cpu_count() or 1
        done = 0
        # files are parsed side by side, and logged and landed one after another in their order
        with ThreadPoolExecutor(workers) as pool:
            for group in _groups(waiting):
                arrived = self._read(group)
                contents = [one.facts.sha256 for one in arrived]
                known = self.registry.files.by_hashes(contents)
                new = [sha256 for sha256 in contents if not _landed(known.get(sha256))]
                keys = self.registry.files.assign_file_keys(new, now=self.now, who=self.who)
                for one in arrived:
                    sha256 = one.facts.sha256
                    if sha256 in self._on_its_way():
                        # the first of the two must be logged before this one is told
                        self._finish(0)
                        self._land()
                        known.update(self.registry.files.by_hashes([sha256]))
                    if _landed(known.get(sha256)):
                        self._tell_again(one)
                    else:
                        # a mended file came when it was refused
                        before = known.get(sha256)
                        came = before.received_at if before else self.now
                        parsing = pool.submit(self._parse, one, keys[sha256], came)
                        self._parsing.append((one, parsing))
                        self._finish(2 * workers)
                done += len(group)
                if progress:
                    progress(done - len(self._parsing), len(waiting))
            self._finish(0)
        self._land()
        if progress and waiting:
            progress(len(waiting), len(waiting))
        return self.report

    def _read(self, group: Sequence[Waiting]) -> list[_Arrived]:
        """The files' contents; one that another run has taken meanwhile is left out."""
        arrived = []
        for file in group:
            try:
                seen, content = file.seen(), file.path.read_bytes()
                damage = _torn(file, content)
                grows = file.seen() != seen
            except FileNotFoundError:
                continue
            except OSError as error:
                message = f"cannot be read: {error.strerror}"
                self.report.problems.append(Problem(message, file.path.name))
                continue
            if grows:
                self.report.problems.append(Problem("still grows", file.path.name))
                continue
            try:
                if damage is None:
                    content = kept_content(content, file.path.name, file.source)
            except InputError as error:
                damage = error
            sha256 = sha256_of(content)
            facts = FileFacts(
                sha256=sha256,
                name=file.path.name,
                source=file.source.source,
                preset=file.source.preset,
                size=len(content),
                state=FileState.LANDED,
                sequence=sequence_of(file.source, file.path.name),
                archive_path=sha256,
            )
            arrived.append(_Arrived(file, content, seen, facts, damage))
        return arrived

    def _on_its_way(self) -> set[str]:
        """Contents that are parsed, or wait for their batch."""
        return {
            *(one.facts.sha256 for one, _ in self._parsing),
            *(one.arrival.facts.sha256 for one in self._batch),
        }

    def _tell_again(self, one: _Arrived) -> None:
        """Log another delivery of a landed content, unless it is the copy that landed."""
        log = self.registry.files
        if log.redelivered(one.facts, one.seen.changed, now=self.now, who=self.who):
            self.report.redelivered.append(one.facts.name)
        self._leave(one.file, one.seen)

    def _leave(self, file: Waiting, seen: Seen) -> None:
        """Take a file from the inbox, unless it is another one by now."""
        if not file.leave(seen):
            message = "changed after it was read: it stays, to be taken in as it is now"
            self.report.problems.append(Problem(message, file.path.name))

    def _parse(self, arrived: _Arrived, key: int, came: datetime) -> ParsedFile:
        """Archive and parse one file; raises `InputError` when it is refused."""
        self.blobs.put(arrived.content)
        name, file = arrived.facts.name, arrived.file
        if arrived.damage is not None:
            raise arrived.damage
        try:
            return parse_file(
                arrived.content,
                name,
                file.source,
                key=key,
                sha256=arrived.facts.sha256,
                arrived=came,
            )
        except InputError:
            raise
        except (BillingError, duckdb.Error, pl.exceptions.PolarsError, ValueError) as error:
            # no file may stop the others, whatever is in it
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{name} is refused",
                [Problem(f"cannot be read by the preset {file.source.preset}: {reason}", name)],
            ) from error

    def _finish(self, most: int) -> None:
        """Put parsed files into the batch, refused ones aside, until so many are left."""
        while len(self._parsing) > most:
            arrived, parsing = self._parsing.popleft()
            try:
                parsed = parsing.result()
            except InputError as error:
                self._refuse(arrived, error)
                continue
            facts = replace(arrived.facts, totals=parsed.totals)
            arrival = Arrival(facts, parsed.counts, arrived.seen.changed)
            self._batch.append(_Taken(arrived.file, arrived.seen, arrival, parsed))
            if sum(one.parsed.received for one in self._batch) >= BATCH_ROWS:
                self._land()

    def _refuse(self, arrived: _Arrived, error: InputError) -> None:
        """Keep a refused file in quarantine with its reason beside it."""
        path, sha256 = arrived.file.path, arrived.facts.sha256
        folder = self.quarantine / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / path.name
        if kept.exists() and sha256_of_file(kept) != sha256:
            # another refused file of this name stays
            kept = folder / f"{sha256[:12]}_{path.name}"
        reason = "\n".join(str(problem) for problem in error.problems)
        (folder / f"{kept.name}.reason.txt").write_text(reason + "\n")
        refused = replace(arrived.facts, state=FileState.QUARANTINED, message=reason)
        self.registry.files.record(refused, copy=arrived.seen.changed, now=self.now, who=self.who)
        if arrived.damage is None:
            # not as it came: what may not be kept is taken out
            kept.write_bytes(arrived.content)
        else:
            with suppress(FileNotFoundError):
                if arrived.file.seen() == arrived.seen:
                    path.replace(kept)
        self._leave(arrived.file, arrived.seen)
        self.report.quarantined += error.problems

    def _land(self) -> None:
        """Land the batch in one commit a table, log its files, and take them from the inbox."""
        batch, self._batch = self._batch, []
        if not batch:
            return
        part = {"file": [one.arrival.facts.sha256 for one in batch]}
        for table, frames in (
            (LANDED, [one.parsed.landed for one in batch]),
            (REJECTED, [one.parsed.rejected for one in batch]),
        ):
            # the rows of a file are in their order already; words are written faster as categories
            words = [name for name in _WORDS if name in table.schema]
            rows = pl.concat(frames).lazy().with_columns(pl.col(words).cast(pl.Categorical))
            self.lake.replace_slice(table, rows, part)
        self.registry.files.record_all([one.arrival for one in batch], now=self.now, who=self.who)
        for one in batch:
            self._leave(one.file, one.seen)
            self._count(one)

    def _count(self, one: _Taken) -> None:
        report, parsed, facts = self.report, one.parsed, one.arrival.facts
        report.landed.append(facts.name)
        for count in parsed.counts:
            report.received += count.received
            report.rejected += count.rejected
            report.filtered += count.filtered
        report.days.update(parsed.landed["day"].unique())
        for day in parsed.landed.filter(pl.col("part").is_not_null())["day"].unique():
            report.days.update(around(day))
        report.warnings += parsed.warnings
        if facts.sequence is None:
            source = one.file.source
            message = (
                f"has no number up to {source.sequence_wrap} by the pattern {source.pattern!r}"
            )
            report.warnings.append(Problem(message, facts.name))
        report.problems += [
            Problem(row["reason"], facts.name, row["row"], row["field"], row["value"])
            for row in parsed.rejected.head(_TOLD_ROWS).iter_rows(named=True)
        ]
        more = parsed.rejected.height - _TOLD_ROWS
        if more > 0:
            report.problems.append(
                Problem(f"{more:,} more rows are rejected; see the table", facts.name)
            )


def make_day(lake: Lake, day: date, now: datetime) -> Resolved:
    """Make a day's records of what landed until `now`, and replace its slices."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    whole = pl.col("part").is_null()
    today = lake.scan(LANDED, part={"day": day})
    others = [one for one in around(day) if one != day]
    parts = lake.scan(LANDED, part={"day": others}).filter(~whole)
    eve = lake.scan(LANDED, part={"day": day - timedelta(days=1)}).filter(
        whole & (pl.col("answer_time") >= midnight - NEAR)
    )
    landed = pl.concat([today, parts, eve]).collect(engine="streaming")
    resolved = resolve_day(day, landed, now)
    lake.replace_slice(XDR, resolved.xdr, {"day": day})
    lake.replace_slice(DUPLICATE, resolved.duplicate, {"day": day})
    lake.replace_slice(PARTIAL, resolved.partial, {"day": day})
    lake.replace_slice(SUSPENSE, resolved.suspense, {"day": day, "stage": "xdr"})
    return resolved


def _torn(file: Waiting, content: bytes) -> InputError | None:
    """Why a file is not as its checksum says, if there is one and it is not."""
    try:
        if file.sidecar is not None:
            check_sum(content, file.path.name, file.sidecar)
    except InputError as error:
        return error
    return None


def _groups(waiting: Sequence[Waiting]) -> Iterator[list[Waiting]]:
    """Files whose keys are reserved together: few enough to hold their contents."""
    group: list[Waiting] = []
    size = 0
    for file in waiting:
        with suppress(FileNotFoundError):
            size += file.path.stat().st_size
        group.append(file)
        if size >= _GROUP_BYTES or len(group) >= _GROUP_FILES:
            yield group
            group, size = [], 0
    if group:
        yield group


_WORDS = (
    "service",
    "switch",
    "in_trunk",
    "out_trunk",
    "a_kind",
    "event_type",
    "status",
    "reason",
    "field",
)

_GROUP_BYTES, _GROUP_FILES = 128 * 1024 * 1024, 500


def _landed(entry: FileEntry | None) -> bool:
    """Whether a content needs no landing: it did, or it was withdrawn and comes back by hand."""
    return entry is not None and entry.state in (FileState.LANDED, FileState.WITHDRAWN)
