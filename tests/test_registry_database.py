"""Opening and migrating the registry, its transactions, and exact values in it."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, inspect
from sqlalchemy.dialects import sqlite

from billing_assets.core.errors import BillingError
from billing_assets.registry import Registry, audit, database
from billing_assets.registry.schema import ExactDecimal, UtcTime, metadata, to_json
from tests.registry_support import NOW, execute

pytest_plugins = ("tests.registry_fixtures",)


def test_opening_an_empty_database_makes_every_table_as_the_schema_declares_it(url: str) -> None:
    Registry.open(url).close()
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == "0006"
    engine.dispose()


def test_opening_again_keeps_what_is_in_it(url: str) -> None:
    with Registry.open(url) as registry:
        registry.versions.load_reference("a" * 64, {}, now=NOW, who="ana")
    with Registry.open(url) as registry:
        current = registry.versions.current_reference()
    assert current is not None
    assert current.hash == "a" * 64


def test_processes_that_open_an_empty_registry_at_once_all_succeed(url: str) -> None:
    code = (
        "import sys; from billing_assets.registry import Registry; sys.stdin.readline();"
        "Registry.open(sys.argv[1]).close()"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, url], stdin=subprocess.PIPE) for _ in range(4)
    ]
    for process in processes:  # all have imported what they need and wait for the line
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.close()
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0, 0]
    engine = create_engine(url)
    assert set(metadata.tables) <= set(inspect(engine).get_table_names())
    engine.dispose()


def test_a_migration_that_fails_leaves_nothing_behind(url: str) -> None:
    execute(url, "CREATE TABLE number_series (in_the_way INTEGER)")
    with pytest.raises(BillingError, match="number_series"):
        Registry.open(url)
    engine = create_engine(url)
    assert inspect(engine).get_table_names() == ["number_series"]
    engine.dispose()


def test_a_registry_of_a_newer_version_is_refused_with_a_sentence(url: str) -> None:
    Registry.open(url).close()
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(BillingError, match="revision 9999, which this version does not know"):
        Registry.open(url)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("registry.db", "cannot be read"),
        ("sqlite://", "cannot live in"),
        ("mysql://host/name", "cannot live in"),
    ],
)
def test_an_url_that_names_no_usable_database_is_refused(wrong: str, said: str) -> None:
    with pytest.raises(BillingError, match=said):
        Registry.open(wrong)


def test_an_unreachable_database_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "registry.db").mkdir()
    with pytest.raises(BillingError, match="cannot be opened"):
        Registry.open(f"sqlite:///{tmp_path / 'registry.db'}")


def test_a_writer_that_waits_too_long_is_told_that_the_registry_is_busy(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Registry.open(url).close()
    monkeypatch.setattr(database, "BUSY_SECONDS", 1)
    first, second = database.Database(url), database.Database(url)
    busy = pytest.raises(database.RegistryBusy, match="locked for writing")
    with first.writing(), busy, second.writing():
        pass
    with second.writing():  # and it may write once the first has ended
        pass
    first.close()
    second.close()


def test_a_write_inside_a_write_of_the_same_thread_is_refused_at_once(url: str) -> None:
    Registry.open(url).close()
    opened = database.Database(url)
    with opened.writing(), pytest.raises(RuntimeError, match="inside another"), opened.writing():
        pass
    opened.close()


def test_readers_do_not_wait_for_a_writer_and_see_only_what_is_committed(url: str) -> None:
    with Registry.open(url) as registry:
        writer = database.Database(url)
        with writer.writing() as connection:
            audit.append(connection, "test", "x:1", now=NOW, who="ana")
            assert registry.audit.head() is None
        assert registry.audit.head() is not None
        writer.close()


@given(st.decimals(allow_nan=False, allow_infinity=False, places=10, max_value=10**27))
def test_money_comes_back_with_the_same_digits_and_places(amount: Decimal) -> None:
    column = ExactDecimal()
    text = column.process_bind_param(amount, sqlite.dialect())
    back = column.process_result_value(text, sqlite.dialect())
    assert back is not None
    assert back.as_tuple() == amount.as_tuple()


@pytest.mark.parametrize("value", [1.5, 1, "1.5", Decimal("NaN"), Decimal("Infinity")])
def test_money_that_is_no_finite_decimal_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="not a finite Decimal"):
        ExactDecimal().process_bind_param(value, sqlite.dialect())  # pyright: ignore[reportArgumentType]


def test_json_refuses_a_binary_float_wherever_it_hides() -> None:
    assert to_json({"b": [Decimal("1.50"), date(2026, 3, 1)], "a": None}) == (
        '{"a":null,"b":["1.50","2026-03-01"]}'
    )
    with pytest.raises(TypeError, match="binary float"):
        to_json({"totals": [{"amount": 1.5}]})


@pytest.mark.parametrize("zone", [None, timezone(timedelta(hours=1))])
def test_a_time_that_is_not_utc_is_refused(zone: timezone | None) -> None:
    with pytest.raises(ValueError, match="not a UTC time"):
        UtcTime().process_bind_param(datetime(2026, 3, 1, tzinfo=zone), sqlite.dialect())
    assert UtcTime().process_bind_param(datetime(2026, 3, 1, tzinfo=UTC), sqlite.dialect())
