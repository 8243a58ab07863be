"""Open the database, bring it to the current schema, and run one writer at a time.

Writers are serialised on both backends (`BEGIN IMMEDIATE` on SQLite, an advisory lock on
PostgreSQL): the audit chain and gapless numbers need an order, and the registry writes little.
Nothing here knows a billing word.
"""

import fcntl
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, OperationalError

from billing_assets.core.errors import BillingError
from billing_assets.core.ids import sha256_of
from billing_assets.registry.schema import to_json

BUSY_SECONDS = 120
"""How long a writer waits for another; a finalisation renders its documents while it writes."""

MIGRATIONS = Path(__file__).parent / "migrations"

_WRITER_LOCK = 0x1CB
"""Key of PostgreSQL's advisory lock: any number, but the same one in every process."""


class RegistryBusy(BillingError):
    """Another process kept the registry for longer than `BUSY_SECONDS`; safe to run again."""


class Database:
    """Connections to one registry: `writing()` and `reading()` are its transactions."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._writing = threading.local()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give the only writing transaction there is; it is undone when the block raises.

        Raises `RegistryBusy` when another process does not let go of it, and `RuntimeError`
        when this thread is already writing (it would wait for itself).
        """
        if getattr(self._writing, "active", False):
            raise RuntimeError("a registry method was called inside another one's transaction")
        with self._engine.connect() as connection:
            try:
                _begin_writing(connection)
            except OperationalError as error:
                raise RegistryBusy(
                    f"the registry could not be locked for writing: {error.orig}",
                    hint="another process is writing; run it again when that one has ended",
                ) from error
            self._writing.active = True
            try:
                yield connection
                connection.commit()
            finally:
                self._writing.active = False

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a transaction for reads; it never waits for a writer."""
        with self._engine.connect() as connection:
            yield connection

    @contextmanager
    def exclusive(self, name: str) -> Iterator[bool]:
        """Hold a named lock beside any transaction; gives False when another process has it.

        It ends with the block or with the process. On SQLite it is a file beside the database.
        """
        if self._engine.dialect.name == "sqlite":
            folder = Path(str(self._engine.url.database)).with_suffix(".locks")
            folder.mkdir(exist_ok=True)
            with (folder / sha256_of(name.encode())[:16]).open("w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield False
                    return
                yield True
            return
        with self._engine.connect() as connection:
            key = {"key": int(sha256_of(name.encode())[:15], 16)}
            held = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), key))
            try:
                yield held
            finally:
                if held:
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)

    def migrate(self) -> None:
        """Bring the database to the current schema; any number of processes may do so at once.

        Raises `BillingError` when a newer version of the program made the database.
        """
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        script = ScriptDirectory.from_config(config)
        if self._engine.dialect.name == "sqlite":
            _use_write_ahead_log(self._engine)
        with self.reading() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
        if current == script.get_current_head():
            return
        if current not in {None, *(revision.revision for revision in script.walk_revisions())}:
            raise BillingError(
                f"the registry is at revision {current}, which this version does not know",
                hint="install the version that last wrote it, or a newer one",
            )
        with self.writing() as connection:
            # alembic looks at the revision again, now that no other process can change it
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def close(self) -> None:
        """Close the pooled connections."""
        self._engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise BillingError(
            "the registry's URL cannot be read",
            hint="sqlite:////path/registry.db or postgresql://user@host/name",
        ) from error
    if parsed.get_backend_name() == "postgresql":
        try:
            return create_engine(
                parsed,
                json_serializer=to_json,
                pool_pre_ping=True,
                # a snapshot from before the lock was granted would show outdated numbers
                isolation_level="READ COMMITTED",
            )
        except ModuleNotFoundError as error:
            raise BillingError(
                f"PostgreSQL needs the driver {error.name}", hint=f"pip install {error.name}"
            ) from error
    if parsed.get_backend_name() != "sqlite" or parsed.database in {None, "", ":memory:"}:
        raise BillingError(
            f"the registry cannot live in {parsed.render_as_string()}",
            hint="use a SQLite file or a PostgreSQL database",
        )
    Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
    # NullPool: no open file crosses a fork, and connecting to a file costs next to nothing
    engine = create_engine(
        parsed, json_serializer=to_json, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS}
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: DBAPIConnection, _record: object) -> None:
    """Let SQLAlchemy, not the driver, begin transactions; survive a power cut."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))


def _begin_writing(connection: Connection) -> None:
    """Take the write lock before anything is read, so that what is read stays true."""
    if connection.dialect.name == "sqlite":
        connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        connection.begin()
        return
    connection.execute(text(f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER_LOCK})


def _use_write_ahead_log(engine: Engine) -> None:
    """Switch a new SQLite file to WAL; the file remembers it.

    The switch fails at once, without the busy timeout, while another process has the file
    open, so it is tried again until it holds.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    with engine.connect() as connection:
        # on the driver's own connection: SQLAlchemy would begin a transaction, which forbids it
        cursor = connection.connection.cursor()
        while True:
            try:
                cursor.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if time.monotonic() > deadline:
                    raise RegistryBusy(f"the registry could not be opened: {error}") from error
                time.sleep(0.02)
