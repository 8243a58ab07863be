"""The audit log: whole as written, and any change of it found."""

import shutil
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError

from billing_assets.core.errors import StateError
from billing_assets.registry import Registry
from billing_assets.registry.audit import AuditLog, BrokenLink
from billing_assets.registry.database import Database
from tests.registry_support import NOW, approve, draft, execute, freeze, without_guards

pytest_plugins = ("tests.registry_fixtures",)


def billed(registry: Registry) -> None:
    """Finalise one cycle with one document."""
    approve(registry, "P14/2026-03", [draft("P14/2026-03/invoice")])
    drafts = registry.documents.drafts("P14/2026-03", 1)
    registry.documents.finalise("P14/2026-03", drafts, freeze, now=NOW, who="carla")


def test_every_step_of_a_cycle_leaves_its_line_with_who_and_what(registry: Registry) -> None:
    billed(registry)
    lines = registry.audit.entries("cycle:P14/2026-03")
    assert [(line.action, line.who) for line in lines] == [
        ("cycle.open", "ana"),
        ("cycle.rated", "ana"),
        ("cycle.validated", "ana"),
        ("cycle.draft", "ana"),
        ("cycle.approved", "bruno"),
        ("cycle.final", "carla"),
    ]
    assert lines[4].before == '{"approved_by":null,"state":"draft"}'
    assert lines[4].after == '{"approved_by":"bruno","state":"approved"}'
    assert {line.at for line in lines} == {NOW}
    assert len(registry.audit.entries()) == 8  # the reference load and the document, too
    assert registry.audit.verify() is None


def test_an_empty_log_is_whole(registry: Registry) -> None:
    assert registry.audit.verify() is None
    assert registry.audit.head() is None


@pytest.mark.parametrize("table", ["audit", "document"])
@pytest.mark.parametrize("change", ["UPDATE {} SET who = 'eve'", "DELETE FROM {}"])
def test_the_database_refuses_to_change_the_log_and_issued_documents(
    registry: Registry, url: str, table: str, change: str
) -> None:
    billed(registry)
    statement = change.format(table)
    if table == "document":
        statement = statement.replace("who", "partner")
    with pytest.raises(DBAPIError, match=f"{table} is append-only"):
        execute(url, statement)


def test_a_row_changed_behind_the_registry_is_found(registry: Registry, url: str) -> None:
    billed(registry)
    execute(url, *without_guards(url), "UPDATE audit SET who = 'ana' WHERE seq = 6")
    assert registry.audit.verify() == BrokenLink(6, "was changed after it was written")


def test_a_row_changed_with_its_hash_recomputed_breaks_the_next_one(
    registry: Registry, url: str
) -> None:
    billed(registry)
    execute(url, *without_guards(url), f"UPDATE audit SET hash = '{'9' * 64}' WHERE seq = 3")
    broken = registry.audit.verify()
    assert broken is not None
    assert broken.seq == 3


def test_a_row_taken_out_is_found(registry: Registry, url: str) -> None:
    billed(registry)
    execute(url, *without_guards(url), "DELETE FROM audit WHERE seq = 4")
    assert registry.audit.verify() == BrokenLink(4, "is missing; the next row is 5")


def test_rows_cut_off_at_the_end_show_against_a_head_noted_before(
    registry: Registry, url: str
) -> None:
    billed(registry)
    noted = registry.audit.head()
    assert noted is not None
    assert registry.audit.verify(noted) is None
    execute(url, *without_guards(url), "DELETE FROM audit WHERE seq >= 7")
    assert registry.audit.verify() is None  # the rest of the chain is whole
    assert registry.audit.verify(noted) == BrokenLink(7, "is missing; row 8 was noted")


def test_any_single_change_of_any_row_is_found_at_that_row(tmp_path: Path) -> None:
    original, copy = tmp_path / "registry.db", tmp_path / "copy.db"
    with Registry.open(f"sqlite:///{original}") as registry:
        billed(registry)
        rows = len(registry.audit.entries())
    with closing(sqlite3.connect(original, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    columns = ["at", "who", "action", "subject", "before", "after", "previous_hash", "hash"]

    @settings(max_examples=30, deadline=None)
    @given(st.integers(1, rows), st.sampled_from(columns), st.characters(codec="utf-8"))
    def check(seq: int, column: str, mark: str) -> None:
        shutil.copyfile(original, copy)
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            connection.execute("DROP TRIGGER audit_no_update")
            new = "2026-04-02 09:30:00.000001" if column == "at" else f"changed{mark}"
            connection.execute(f'UPDATE audit SET "{column}" = ? WHERE seq = ?', (new, seq))
        broken = AuditLog(Database(f"sqlite:///{copy}")).verify()
        for left in tmp_path.glob("copy.db-*"):
            left.unlink()
        assert broken is not None
        assert broken.seq == seq

    check()


@pytest.mark.parametrize(
    ("now", "who", "error", "said"),
    [
        (NOW, " ", StateError, "needs the name"),
        (datetime(2026, 4, 2), "ana", ValueError, "not a UTC time"),  # noqa: DTZ001
    ],
)
def test_a_change_without_a_name_or_a_utc_time_is_undone(
    registry: Registry, now: datetime, who: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        registry.files.assign_file_key("a" * 64, now=now, who=who)
    assert registry.audit.entries() == []
    registry.files.assign_file_key("a" * 64, now=NOW, who="ana")
