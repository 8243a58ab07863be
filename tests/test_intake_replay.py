"""Intake that is stopped anywhere and run again: killed at random moments, or by an error."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from billing_assets.intake import landing
from billing_assets.intake.landing import make_day
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import DUPLICATE, LANDED, PARTIAL, REJECTED, SUSPENSE, XDR
from billing_assets.registry import BlobStore
from billing_assets.registry.files import FileLog
from billing_assets.registry.schema import FileState
from tests.support.intake import line, packed, source_of, table
from tests.support.intake_home import NOW, SOURCES, IntakeHome, opened

DAY = date(2026, 3, 10)
TABLES = (LANDED, REJECTED, XDR, DUPLICATE, PARTIAL, SUSPENSE)
ONE = table(line(call_id="a1"), line(call_id="a2", record_sequence="2"))
FILES: dict[str, str | bytes] = {
    "s1_000001.csv": ONE,
    "s1_000002.csv": table(
        line(call_id="b", record_sequence="3", b_number="442071234599"), line(b_number="x")
    ),
    "s1_000003.csv": table(line(call_id="p", record_sequence="4", part="1")),
    "s1_000004.csv": table(
        line(call_id="p", record_sequence="5", part="2", last_part="true"),
        line(call_id="q", record_sequence="6", part="2"),
    ),
    "s1_000005.csv.gz": packed(ONE),
    "s1_000006.csv": "rubbish",
}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[IntakeHome]:
    with opened(tmp_path / "home") as made:
        yield made


def left_behind(home: IntakeHome) -> list[object]:
    """The tables after the day is made, the file log, and the files kept aside."""
    make_day(home.lake, DAY, NOW)
    log = home.registry.files
    entries = {
        (e.name, e.file_key, e.state, e.sequence, e.message)
        for source in log.sources()
        for e in log.of_source(source)
    }
    counts = {(c.file_key, c.day, c.received, c.landed) for c in log.counts(DAY, date.max)}
    tables = [home.rows(one).rows() for one in TABLES]
    return [*tables, entries, counts, home.names(home.quarantine), home.names(home.inbox)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    with opened(tmp_path_factory.mktemp("undisturbed")) as home:
        for name, content in FILES.items():
            home.put(name, content)
        home.take_in()
        return left_behind(home)


def test_the_files_make_a_call_copies_suspense_and_rejects(undisturbed: list[object]) -> None:
    landed, rejected, xdr, duplicate, partial, suspense = (
        len(rows) for rows in undisturbed[:6] if isinstance(rows, list)
    )
    assert (landed, rejected) == (8, 1)
    assert (xdr, duplicate, partial, suspense) == (4, 2, 3, 1)
    assert landed == (xdr - 1) + duplicate + partial, "one call of two parts, one part waits"


TAKE_IN = """
import sys
from pathlib import Path
from billing_assets.intake import landing
from tests.support.intake_home import opened
landing.BATCH_ROWS = 1
with opened(Path(sys.argv[1])) as home:
    print("ready", flush=True)
    home.take_in()
"""


@pytest.mark.parametrize("seed", range(2))
def test_a_run_killed_at_any_moment_and_a_second_leave_what_one_leaves(
    seed: int, tmp_path: Path, undisturbed: list[object]
) -> None:
    chance = random.Random(seed)
    with opened(tmp_path) as home:
        for name, content in FILES.items():
            home.put(name, content)
    child = subprocess.Popen(
        [sys.executable, "-c", TAKE_IN, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(chance.uniform(0.0, 0.6))
    child.send_signal(signal.SIGKILL)
    child.wait(30)
    child.stdout.close()
    with opened(tmp_path) as home:
        home.take_in()
        assert left_behind(home) == undisturbed


class _Stopped(Exception):
    """Stands for a full disk, a lost connection, an operator's interrupt."""


@pytest.mark.parametrize("call", range(1, 4))
@pytest.mark.parametrize(
    ("owner", "method"),
    [(BlobStore, "put"), (Lake, "replace_slice"), (FileLog, "record_all")],
    ids=["archive", "lake", "log"],
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_error_at_any_step_and_a_second_run_leave_what_one_leaves(
    owner: type,
    method: str,
    call: int,
    after: bool,
    home: IntakeHome,
    undisturbed: list[object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, content in FILES.items():
        home.put(name, content)
    original, calls = getattr(owner, method), [0]

    def failing(*args: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] != call:
            return original(*args, **options)
        if after:
            original(*args, **options)
        raise _Stopped

    with monkeypatch.context() as patch:
        patch.setattr(landing, "BATCH_ROWS", 1)
        patch.setattr(owner, method, failing)
        with pytest.raises(_Stopped):
            home.take_in()
    home.take_in()
    assert left_behind(home) == undisturbed


@pytest.mark.parametrize("order", list(permutations(FILES))[::180])
def test_files_that_come_one_by_one_in_any_order_leave_the_same(
    order: tuple[str, ...], home: IntakeHome, undisturbed: list[object]
) -> None:
    for name in order:
        home.put(name, FILES[name])
        home.take_in()
    assert left_behind(home) == undisturbed


def test_the_same_records_packed_are_another_file_of_the_same_records(home: IntakeHome) -> None:
    home.put("s1_000001.csv", ONE)
    home.put("s1_000002.csv.gz", packed(ONE))
    assert len(home.take_in().landed) == 2
    made = make_day(home.lake, DAY, NOW)
    assert made.xdr.height == 2
    assert made.duplicate["level"].to_list() == ["record", "record"]


@pytest.mark.parametrize("name", ["s1_000001.csv", "s1_000009.csv"], ids=["same", "other"])
def test_a_quarantined_file_lands_once_its_source_is_mended(home: IntakeHome, name: str) -> None:
    home.put("s1_000001.csv", ONE)
    wrong = source_of("sansay")
    assert home.take_in({**SOURCES, "s1": wrong}).landed == []
    home.put(name, ONE)
    later = home.intake()
    later.now = NOW + timedelta(days=9)
    assert later.take_in(home.inbox, SOURCES).landed == [name]
    assert set(home.rows(LANDED)["arrived_time"]) == {NOW}
    (entry,) = home.registry.files.of_source("s1")
    assert (entry.state, entry.message) == (FileState.LANDED, "")
    assert home.rows(LANDED).height == 2


def test_a_bad_content_twice_in_one_inbox_is_kept_under_both_names(home: IntakeHome) -> None:
    home.put("s1_000001.csv", "rubbish")
    home.put("s1_000002.csv", "rubbish")
    assert len(home.take_in().quarantined) == 2
    names = ("s1/s1_000001.csv", "s1/s1_000002.csv")
    assert home.names(home.quarantine) == sorted([*names, *(f"{n}.reason.txt" for n in names)])


def test_other_content_under_a_known_name_lands_beside_it(home: IntakeHome) -> None:
    for content in (ONE, FILES["s1_000002.csv"]):
        home.put("s1_000001.csv", content)
        assert home.take_in().landed == ["s1_000001.csv"]
    assert home.rows(LANDED).height == 3
    assert len(home.registry.files.by_name("s1_000001.csv")) == 2
