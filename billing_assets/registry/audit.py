"""The audit log: who did what to which subject, when, with its state before and after.

Rows are only added. Each row's hash covers the hash of the row before it, so a row that was
changed, removed or put in shows; triggers refuse UPDATE and DELETE to anyone who is not
determined. Rows cut off at the end show against a head that was noted elsewhere.
"""

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Connection, RowMapping, insert, select

from billing_assets.core.errors import StateError
from billing_assets.core.ids import sha256_of
from billing_assets.registry.database import Database
from billing_assets.registry.schema import audit, to_json


@dataclass(frozen=True)
class AuditEntry:
    """One line of the log; `before` and `after` are canonical JSON text (None: nothing)."""

    seq: int
    at: datetime
    who: str
    action: str
    subject: str
    before: str | None
    after: str | None
    previous_hash: str
    hash: str


@dataclass(frozen=True)
class BrokenLink:
    """The first place where the log is not what was written."""

    seq: int
    reason: str


def append(
    connection: Connection,
    action: str,
    subject: str,
    *,
    now: datetime,
    who: str,
    before: object = None,
    after: object = None,
) -> None:
    """Add a line inside the caller's writing transaction.

    Raises `StateError` when `who` is blank and `ValueError` when `now` is not a UTC time, which
    undoes the change.
    """
    if now.utcoffset() != timedelta(0):
        raise ValueError(f"{now} is not a UTC time")
    if not who.strip():
        raise StateError(
            "every change needs the name of the one who makes it",
            hint="set ICB_USER, and name who approves",
        )
    last = connection.execute(_NEWEST).mappings().one_or_none()
    facts = {
        "seq": last["seq"] + 1 if last else 1,
        "at": now,
        "who": who,
        "action": action,
        "subject": subject,
        "before": None if before is None else to_json(before),
        "after": None if after is None else to_json(after),
        "previous_hash": last["hash"] if last else "",
    }
    connection.execute(insert(audit).values(**facts, hash=_hash(facts)))


class AuditLog:
    """Reads and proves the log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def verify(self, noted: AuditEntry | None = None) -> BrokenLink | None:
        """Recompute the whole chain and return its first broken row, None when it is whole.

        `noted` is an entry (a former `head()`) that was kept outside the database: it must
        still be in the log, which shows when rows were cut off at the end.
        """
        expected, previous = 1, ""
        with self._database.reading() as connection:
            rows = connection.execution_options(yield_per=1000).execute(
                select(audit).order_by(audit.c.seq)
            )
            for row in rows.mappings():
                facts = {name: value for name, value in row.items() if name != "hash"}
                if row["seq"] != expected:
                    return BrokenLink(expected, f"is missing; the next row is {row['seq']}")
                if row["previous_hash"] != previous:
                    return BrokenLink(expected, "does not continue the row before it")
                if row["hash"] != _hash(facts):
                    return BrokenLink(expected, "was changed after it was written")
                if noted is not None and row["seq"] == noted.seq and row["hash"] != noted.hash:
                    return BrokenLink(expected, "is not the row that was noted")
                expected, previous = expected + 1, row["hash"]
        if noted is not None and noted.seq >= expected:
            return BrokenLink(expected, f"is missing; row {noted.seq} was noted")
        return None

    def note(
        self, action: str, subject: str, *, now: datetime, who: str, after: object = None
    ) -> None:
        """Log something that was done and changes no other table. Raises as `append` does."""
        with self._database.writing() as connection:
            append(connection, action, subject, now=now, who=who, after=after)

    def expired_days(self, table: str) -> set[date]:
        """Return the days of a table that retention has deleted."""
        return {
            date.fromisoformat(json.loads(entry.after or "{}")["day"])
            for entry in self.entries(f"table:{table}")
            if entry.action == "retention.delete"
        }

    def head(self) -> AuditEntry | None:
        """Return the newest entry, whose hash vouches for all before it."""
        with self._database.reading() as connection:
            row = connection.execute(_NEWEST).mappings().one_or_none()
        return _entry(row) if row else None

    def entries(self, subject: str | None = None) -> list[AuditEntry]:
        """Return the entries of a subject ('cycle:P14/2026-03'), or all, oldest first."""
        query = select(audit).order_by(audit.c.seq)
        if subject is not None:
            query = query.where(audit.c.subject == subject)
        with self._database.reading() as connection:
            return [_entry(row) for row in connection.execute(query).mappings()]


_NEWEST = select(audit).order_by(audit.c.seq.desc()).limit(1)


def _entry(row: RowMapping) -> AuditEntry:
    return AuditEntry(**row)


def _hash(facts: dict[str, object]) -> str:
    return sha256_of(to_json(facts).encode())
