"""The file log: every mediation file that was delivered, its key, its fate and its counts.

A file is its content: the same bytes under another name are a redelivery of one file. Whether
a sequence has gaps or a balance holds is judged by the controls, not here.
Rules: catalogue 1.4 (duplicates of files) and 1.5 (file audit).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)

from billing_assets.core.errors import BillingError
from billing_assets.core.ids import FILE_KEY_BITS
from billing_assets.registry import audit
from billing_assets.registry.database import Database
from billing_assets.registry.schema import FileState, file, file_count, file_delivery, file_key

_KEY_DIGITS = FILE_KEY_BITS // 4


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What intake found out about one delivered file.

    `sequence` is the file's number at its source, `size` in bytes; `message` says why it was
    quarantined; `archive_path` is where its bytes are kept; `totals` are whole-file figures,
    such as the record count that a trailer declares.
    """

    sha256: str
    name: str
    source: str
    preset: str
    size: int
    state: FileState
    sequence: int | None = None
    message: str = ""
    archive_path: str = ""
    totals: Mapping[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FileEntry(FileFacts):
    """A file of the log: its 36-bit key, and when it was first delivered."""

    file_key: int
    received_at: datetime


@dataclass(frozen=True)
class DayCount:
    """Records of one file on one UTC day."""

    day: date
    received: int
    landed: int
    rejected: int = 0
    filtered: int = 0


@dataclass(frozen=True, kw_only=True)
class FileCount(DayCount):
    """Records of one file on one UTC day, with the file's key."""

    file_key: int


@dataclass(frozen=True)
class Delivery:
    """One arrival of a file under one name of one source.

    `copy` tells arrivals under the same name apart: when the delivered copy was put there, in
    nanoseconds.
    """

    file_key: int
    source: str
    name: str
    received_at: datetime
    state: FileState
    copy: int = 0


@dataclass(frozen=True)
class Arrival:
    """A delivered copy of a file, what intake found in it, and its counts by UTC day."""

    facts: FileFacts
    counts: tuple[DayCount, ...] = ()
    copy: int = 0


class FileLog:
    """Writes and reads the file log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def assign_file_key(self, sha256: str, *, now: datetime, who: str) -> int:
        """Return the key of a content, the same at every call; the first call reserves it.

        It is the first nine hex digits of the hash, or, where another content has those, the
        next nine. Raises `ValueError` for anything but a SHA-256 in lower-case hex.
        """
        return self.assign_file_keys([sha256], now=now, who=who)[sha256]

    def assign_file_keys(
        self, contents: Sequence[str], *, now: datetime, who: str
    ) -> dict[str, int]:
        """Keys of several contents by hash, reserved in one transaction."""
        with self._database.writing() as connection:
            return {
                sha256: _assign_key(connection, sha256, now=now, who=who) for sha256 in contents
            }

    def record(
        self,
        facts: FileFacts,
        counts: Sequence[DayCount] = (),
        *,
        copy: int = 0,
        now: datetime,
        who: str,
    ) -> Delivery:
        """Log what became of a delivered file, with its counts by UTC day.

        Taking the same file in again under its own name replaces its facts and counts, so a
        replay changes nothing. The same content under another name is logged as `redelivered`
        and leaves the file alone, unless the file was quarantined and has landed only now.
        Raises `ValueError` when `facts.state` is `redelivered`: that is found out here.
        """
        return self.record_all([Arrival(facts, tuple(counts), copy)], now=now, who=who)[0]

    def record_all(
        self, arrivals: Sequence["Arrival"], *, now: datetime, who: str
    ) -> list[Delivery]:
        """Log several delivered files in one transaction; `record` says how."""
        if any(one.facts.state is FileState.REDELIVERED for one in arrivals):
            raise ValueError("a file has landed or is quarantined; redelivery is found out here")
        with self._database.writing() as connection:
            return [_record(connection, one, now=now, who=who) for one in arrivals]

    def restate(
        self, entry: FileEntry, counts: Sequence[DayCount], *, now: datetime, who: str
    ) -> None:
        """Write what holds of a known file from now on: it was withdrawn, or read once more."""
        facts = FileFacts(**{name: getattr(entry, name) for name in FileFacts.__dataclass_fields__})
        with self._database.writing() as connection:
            known = _one(connection, select(file).where(file.c.file_key == entry.file_key))
            if known is None:
                raise ValueError(f"{entry.name} is not in the file log")
            _replace(connection, known, facts, counts, now=now, who=who)

    def redelivered(self, facts: FileFacts, copy: int, *, now: datetime, who: str) -> bool:
        """Log a copy of a landed file as `redelivered`; False when it is the one that landed."""
        with self._database.writing() as connection:
            key = _assign_key(connection, facts.sha256, now=now, who=who)
            known = select(file_delivery.c.state).where(*_this_copy(key, facts, copy))
            if connection.scalar(known) is FileState.LANDED:
                return False
            again = Arrival(facts, copy=copy)
            _deliver(connection, key, again, FileState.REDELIVERED, now=now, who=who)
            return True

    def by_key(self, key: int) -> FileEntry | None:
        """Return the file that a record id leads to."""
        return self._find(select(file).where(file.c.file_key == key))

    def by_hash(self, sha256: str) -> FileEntry | None:
        """Return the file with this content, if it was ever delivered."""
        return self._find(select(file).where(file.c.sha256 == sha256))

    def by_hashes(self, contents: Sequence[str]) -> dict[str, FileEntry]:
        """Those of some contents that were ever delivered, by hash."""
        found = self._list(select(file).where(file.c.sha256.in_(contents)))
        return {entry.sha256: entry for entry in found}

    def by_name(self, name: str) -> list[FileEntry]:
        """Return every file that was delivered under a name, oldest first."""
        delivered = select(file_delivery.c.file_key).where(file_delivery.c.name == name)
        return self._list(
            select(file)
            .where(file.c.file_key.in_(delivered))
            .order_by(file.c.received_at, file.c.file_key)
        )

    def of_source(self, source: str) -> list[FileEntry]:
        """Return a source's files in the order of their sequence numbers, unnumbered last."""
        return self._list(
            select(file)
            .where(file.c.source == source)
            .order_by(file.c.sequence.nulls_last(), file.c.received_at, file.c.file_key)
        )

    def sources(self) -> list[str]:
        """Return every source that ever delivered, in alphabetical order."""
        with self._database.reading() as connection:
            return list(
                connection.scalars(select(file.c.source).distinct().order_by(file.c.source))
            )

    def counts(self, first: date, end: date) -> list[FileCount]:
        """Return the counts of the UTC days from `first` up to, not including, `end`."""
        query = (
            select(file_count)
            .where(file_count.c.day >= first, file_count.c.day < end)
            .order_by(file_count.c.day, file_count.c.file_key)
        )
        with self._database.reading() as connection:
            return [FileCount(**row) for row in connection.execute(query).mappings()]

    def days_of(self, key: int) -> list[date]:
        """Return the UTC days of a file's records; none for a file that is not in the log."""
        query = select(file_count.c.day).where(file_count.c.file_key == key)
        with self._database.reading() as connection:
            return list(connection.scalars(query.order_by(file_count.c.day)))

    def archived(self) -> list[tuple[FileEntry, date, date]]:
        """Return every archived file with the first and last UTC day of its records, by the last.

        A file without records has the day of its receipt.
        """
        day = file_count.c.day
        span = (
            select(file_count.c.file_key, func.min(day).label("first"), func.max(day).label("last"))
            .group_by(file_count.c.file_key)
            .subquery()
        )
        query = select(file, span.c.first, span.c.last).outerjoin(
            span, file.c.file_key == span.c.file_key
        )
        with self._database.reading() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        found = []
        for row in rows:
            first, last = row.pop("first"), row.pop("last")
            received = row["received_at"].date()
            if row["archive_path"]:
                found.append((FileEntry(**row), first or received, last or received))
        return sorted(found, key=lambda one: (one[2], one[0].source, one[0].name))

    def deliveries(self, key: int) -> list[Delivery]:
        """Return every arrival of a file, oldest first."""
        return self._deliveries(file_delivery.c.file_key == key)

    def redeliveries(self) -> list[Delivery]:
        """Return every arrival of a content that was there already, oldest first."""
        return self._deliveries(file_delivery.c.state == FileState.REDELIVERED)

    def _deliveries(self, condition: ColumnElement[bool]) -> list[Delivery]:
        query = (
            select(file_delivery)
            .where(condition)
            .order_by(file_delivery.c.received_at, file_delivery.c.source, file_delivery.c.name)
        )
        with self._database.reading() as connection:
            return [Delivery(**row) for row in connection.execute(query).mappings()]

    def _find(self, query: Select) -> FileEntry | None:
        with self._database.reading() as connection:
            return _one(connection, query)

    def _list(self, query: Select) -> list[FileEntry]:
        with self._database.reading() as connection:
            return [_entry(row) for row in connection.execute(query).mappings()]


def _assign_key(connection: Connection, sha256: str, *, now: datetime, who: str) -> int:
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ValueError(f"{sha256!r} is not a SHA-256 in lower-case hex")
    reserved = connection.scalar(select(file_key.c.file_key).where(file_key.c.sha256 == sha256))
    if reserved is not None:
        return reserved
    for start in range(0, len(sha256) - _KEY_DIGITS + 1, _KEY_DIGITS):
        key = int(sha256[start : start + _KEY_DIGITS], 16)
        taken = select(file_key.c.file_key).where(file_key.c.file_key == key)
        if connection.scalar(taken) is None:
            connection.execute(insert(file_key).values(file_key=key, sha256=sha256))
            audit.append(
                connection,
                "file.key",
                f"file:{sha256}",
                now=now,
                who=who,
                after={"file_key": key},
            )
            return key
    raise BillingError(f"every possible key of the file {sha256} is taken by other files")


def _record(connection: Connection, arrival: Arrival, *, now: datetime, who: str) -> Delivery:
    facts, counts, state = arrival.facts, arrival.counts, arrival.facts.state
    key = _assign_key(connection, facts.sha256, now=now, who=who)
    known = _one(connection, select(file).where(file.c.file_key == key))
    if known is None:
        _insert(connection, key, facts, counts, now=now, who=who)
    else:
        same_name = (known.source, known.name) == (facts.source, facts.name)
        mended = known.state is FileState.QUARANTINED and state is FileState.LANDED
        if same_name or mended:
            _replace(connection, known, facts, counts, now=now, who=who)
        else:
            state = FileState.REDELIVERED
    return _deliver(connection, key, arrival, state, now=now, who=who)


def _insert(
    connection: Connection,
    key: int,
    facts: FileFacts,
    counts: Sequence[DayCount],
    *,
    now: datetime,
    who: str,
) -> None:
    connection.execute(insert(file).values(file_key=key, received_at=now, **asdict(facts)))
    _write_counts(connection, key, counts)
    audit.append(
        connection,
        f"file.{facts.state}",
        f"file:{facts.sha256}",
        now=now,
        who=who,
        after={**asdict(facts), "counts": counts},
    )


def _replace(
    connection: Connection,
    known: FileEntry,
    facts: FileFacts,
    counts: Sequence[DayCount],
    *,
    now: datetime,
    who: str,
) -> None:
    """Write what another pass over a known file found, unless it found the same."""
    entry = FileEntry(**asdict(facts), file_key=known.file_key, received_at=known.received_at)
    rows = connection.execute(
        select(*(column for column in file_count.c if column.name != "file_key"))
        .where(file_count.c.file_key == known.file_key)
        .order_by(file_count.c.day)
    )
    counted = [DayCount(**row) for row in rows.mappings()]
    if entry == known and counted == sorted(counts, key=lambda count: count.day):
        return
    connection.execute(
        update(file).where(file.c.file_key == known.file_key).values(**asdict(facts))
    )
    _write_counts(connection, known.file_key, counts)
    audit.append(
        connection,
        f"file.{facts.state}",
        f"file:{facts.sha256}",
        now=now,
        who=who,
        before={**asdict(known), "counts": counted},
        after={**asdict(entry), "counts": counts},
    )


def _write_counts(connection: Connection, key: int, counts: Sequence[DayCount]) -> None:
    connection.execute(delete(file_count).where(file_count.c.file_key == key))
    if counts:
        connection.execute(
            insert(file_count), [{"file_key": key, **asdict(count)} for count in counts]
        )


def _deliver(
    connection: Connection,
    key: int,
    arrival: Arrival,
    state: FileState,
    *,
    now: datetime,
    who: str,
) -> Delivery:
    """Keep one row for each copy under which a file arrived, with the time it first did."""
    facts = arrival.facts
    this_one = and_(*_this_copy(key, facts, arrival.copy))
    row = connection.execute(select(file_delivery).where(this_one)).mappings().one_or_none()
    if row is not None and row["state"] is state:
        return Delivery(**row)
    if row is None:
        delivery = Delivery(key, facts.source, facts.name, now, state, arrival.copy)
        connection.execute(insert(file_delivery).values(**asdict(delivery)))
    else:
        delivery = replace(Delivery(**row), state=state)
        connection.execute(update(file_delivery).where(this_one).values(state=state))
    if state is FileState.REDELIVERED:
        audit.append(
            connection,
            "file.redelivered",
            f"file:{facts.sha256}",
            now=now,
            who=who,
            after={"source": facts.source, "name": facts.name},
        )
    return delivery


def _this_copy(key: int, facts: FileFacts, copy: int) -> list[ColumnElement[bool]]:
    found = {"file_key": key, "source": facts.source, "name": facts.name, "copy": copy}
    return [file_delivery.c[column] == value for column, value in found.items()]


def _one(connection: Connection, query: Select) -> FileEntry | None:
    row = connection.execute(query).mappings().one_or_none()
    return _entry(row) if row else None


def _entry(row: RowMapping) -> FileEntry:
    return FileEntry(**row)
