"""Files from the inbox to the lake and the log: once each, whatever dies on the way."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from billing_assets.core.ids import sha256_of
from billing_assets.intake.landing import make_day
from billing_assets.intake.parse import ParsedFile
from billing_assets.lake.tables import DUPLICATE, LANDED, REJECTED, XDR
from billing_assets.registry.schema import FileState
from tests.support.intake import line, packed, source_of, table
from tests.support.intake_home import KILLED, NOW, SOURCES, STEPS, IntakeHome, opened

DAY = date(2026, 3, 10)
NEXT_DAY = {
    "setup_time": "2026-03-11T12:00:00.000Z",
    "answer_time": "2026-03-11T12:00:05.250Z",
    "end_time": "2026-03-11T12:01:35.250Z",
}
ONE = table(line(call_id="a1"), line(call_id="a2", b_number="12x4"), line(call_id="a3", **NEXT_DAY))
TWO = table(line(call_id="b1", b_number="442071234501"), line(call_id="b2", b_number="4420712345"))
TORN = packed(table(*(line(call_id=f"t{n}") for n in range(50))))[:-20]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[IntakeHome]:
    with opened(tmp_path / "home") as made:
        yield made


def state_of(home: IntakeHome, content: bytes) -> FileState:
    entry = home.registry.files.by_hash(sha256_of(content))
    assert entry is not None
    return entry.state


def everything(home: IntakeHome) -> dict[str, object]:
    """What intake leaves behind, except in which version and at which time."""
    entries = [e for s in home.registry.files.sources() for e in home.registry.files.of_source(s)]
    return {
        "landed": home.rows(LANDED).rows(),
        "rejected": home.rows(REJECTED).rows(),
        "files": [(e.name, e.file_key, e.state, e.sequence, e.message) for e in entries],
        "deliveries": [
            (d.name, d.state) for e in entries for d in home.registry.files.deliveries(e.file_key)
        ],
        "counts": home.registry.files.counts(date.min, date.max),
        "inbox": home.names(home.inbox),
        "quarantine": home.names(home.quarantine),
        "archive": home.names(home.blobs.root),
    }


def test_a_file_lands_is_logged_archived_and_leaves_the_inbox(home: IntakeHome) -> None:
    home.put("s1_000001.csv", ONE)
    home.put("s1_000002.csv.gz", packed(TWO))
    report = home.take_in()
    assert report.landed == ["s1_000001.csv", "s1_000002.csv.gz"]
    assert (report.received, report.rejected, report.filtered) == (5, 1, 0)
    assert home.names(home.inbox) == []
    assert home.rows(LANDED)["day"].to_list() == [DAY] * 3 + [date(2026, 3, 11)]
    entry = home.registry.files.by_hash(sha256_of(ONE.encode()))
    assert entry is not None
    assert (entry.name, entry.sequence, entry.state) == ("s1_000001.csv", 1, FileState.LANDED)
    assert home.blobs.get(entry.archive_path) == ONE.encode()
    counts = [
        (c.day, c.received, c.landed, c.rejected)
        for c in home.registry.files.counts(date.min, date.max)
        if c.file_key == entry.file_key
    ]
    assert counts == [(DAY, 2, 1, 1), (date(2026, 3, 11), 1, 1, 0)]


def test_every_record_leads_back_to_its_file_and_line(home: IntakeHome) -> None:
    home.put("s1_000001.csv", ONE)
    home.take_in()
    last = home.rows(LANDED)["record_id"].to_list()[-1]
    entry = home.registry.files.by_key(last >> 27)
    assert entry is not None
    content = home.blobs.get(entry.archive_path).decode()
    assert "a3" in content.splitlines()[(last & ((1 << 27) - 1)) - 1]


def test_a_second_run_over_an_empty_inbox_changes_nothing(home: IntakeHome) -> None:
    home.put("s1_000001.csv", ONE)
    home.take_in()
    version = home.lake.version(LANDED)
    before = everything(home)
    report = home.take_in()
    assert (report.landed, report.received) == ([], 0)
    assert everything(home) == before
    assert home.lake.version(LANDED) == version


def test_a_redelivered_file_is_told_and_lands_once(home: IntakeHome) -> None:
    home.put("s1_000001.csv", ONE)
    home.take_in()
    before = home.rows(LANDED)
    for name in ("s1_000001.csv", "s1_000001_again.csv"):
        home.put(name, ONE)
        assert home.take_in().redelivered == [name]
    assert home.names(home.inbox) == []
    assert home.rows(LANDED).equals(before)
    again = [d.name for d in home.registry.files.redeliveries()]
    assert again == ["s1_000001.csv", "s1_000001_again.csv"]


def test_a_file_delivered_twice_at_once_lands_once(home: IntakeHome) -> None:
    home.put("s1_000001.csv", ONE)
    home.put("s1_000002.csv", ONE)
    home.put("s2_000001.csv", ONE, source="s2")
    report = home.take_in()
    assert report.landed == ["s1_000001.csv"]
    assert report.redelivered == ["s1_000002.csv", "s2_000001.csv"]
    assert home.rows(LANDED).height == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (TORN, "torn"),
        (b"", "is empty"),
        (TWO.encode("utf-16"), "UTF-16"),
        (b'"a","b"\n', "header"),
        (b"\x7fELF\0\0\0", "binary"),
    ],
    ids=["torn", "empty", "encoding", "preset", "binary"],
)
def test_a_refused_file_goes_to_quarantine_with_its_reason_and_the_rest_lands(
    home: IntakeHome, content: bytes, told: str
) -> None:
    home.put("s1_000001.csv", ONE)
    home.put("s1_000002.csv", content)
    home.put("s1_000003.csv", TWO)
    report = home.take_in()
    assert report.landed == ["s1_000001.csv", "s1_000003.csv"]
    (problem,) = report.quarantined
    assert problem.file == "s1_000002.csv"
    assert told in str(problem)
    assert home.names(home.inbox) == []
    assert (home.quarantine / "s1/s1_000002.csv").read_bytes() == content
    assert told in (home.quarantine / "s1/s1_000002.csv.reason.txt").read_text()
    assert state_of(home, content) is FileState.QUARANTINED
    assert home.blobs.exists(sha256_of(content)), "refused bytes are archived too"


def test_a_refused_file_that_comes_again_whole_lands(home: IntakeHome) -> None:
    home.put("s1_000001.csv", TORN)
    home.take_in()
    whole = table(*(line(call_id=f"t{n}") for n in range(50)))
    home.put("s1_000001.csv", packed(whole))
    assert home.take_in().landed == ["s1_000001.csv"]
    assert home.rows(LANDED).height == 50


def test_two_refused_files_of_one_name_are_both_kept(home: IntakeHome) -> None:
    contents = [TORN, TORN[:-5]]
    for content in contents:
        home.put("s1_000001.csv", content)
        home.take_in()
    kept = [
        path.read_bytes()
        for path in home.quarantine.rglob("*")
        if path.is_file() and not path.name.endswith(".reason.txt")
    ]
    assert sorted(kept) == sorted(contents)


def test_a_folder_that_is_no_source_keeps_its_files_and_is_told(home: IntakeHome) -> None:
    path = home.put("x_1.csv", ONE, source="elsewhere")
    home.put("s1_000001.csv", TWO)
    report = home.take_in()
    assert report.landed == ["s1_000001.csv"]
    assert [problem.file for problem in report.problems] == [str(path)]
    assert path.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"preset": "nonsense"},
        {"options": {"colour": "red"}},
        {"pattern": "("},
        {"pattern": "[0-9]+"},
    ],
    ids=["preset", "option", "expression", "group"],
)
def test_a_source_that_cannot_be_used_does_not_stop_the_others(
    home: IntakeHome, changes: dict[str, object]
) -> None:
    home.put("s1_000001.csv", ONE)
    home.put("s2_000001.csv", TWO, source="s2")
    report = home.take_in({**SOURCES, "s1": source_of(**{"source": "s1", **changes})})
    assert report.landed == ["s2_000001.csv"]
    (problem,) = report.problems
    assert "s1" in problem.message
    assert home.names(home.inbox) == ["s1/s1_000001.csv"]


@pytest.mark.parametrize("name", [".s1_000001.csv", "s1_000001.csv.part", "s1_000001.csv.tmp"])
def test_a_file_that_still_arrives_is_left_alone(home: IntakeHome, name: str) -> None:
    home.put(name, ONE[:100])
    report = home.take_in()
    assert (report.landed, report.quarantined) == ([], [])
    assert home.names(home.inbox) == [f"s1/{name}"]


def test_progress_reaches_the_end_whatever_becomes_of_the_files(home: IntakeHome) -> None:
    home.put("s1_000001.csv", ONE)
    home.put("s1_000002.csv", TORN)
    home.put("s1_000003.csv", ONE)
    seen: list[tuple[int, int]] = []
    home.take_in(progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (3, 3)
    assert seen == sorted(seen)


def test_many_bad_rows_are_told_in_part_and_kept_in_whole(home: IntakeHome) -> None:
    home.put("s1_000001.csv", table(line(), *(line(duration_ms="x") for _ in range(500))))
    report = home.take_in()
    assert report.rejected == 500
    assert len(report.problems) < 50
    assert home.rows(REJECTED).height == 500


def test_days_to_make_anew_reach_from_a_part_to_its_call(home: IntakeHome) -> None:
    home.put("s1_000001.csv", table(line(call_id="a1")))
    assert home.take_in().days == {DAY}
    home.put("s1_000002.csv", table(line(call_id="a2", part="2", last_part="1")))
    assert {date(2026, 3, 8), date(2026, 3, 9), DAY} <= home.take_in().days


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What is left behind when nothing dies."""
    with opened(tmp_path_factory.mktemp("undisturbed") / "home") as home:
        _deliver(home)
        home.take_in()
        return everything(home)


def _deliver(home: IntakeHome) -> None:
    home.put("s1_000001.csv", ONE)
    home.put("s1_000002.csv", TORN)
    home.put("s1_000003.csv.gz", packed(TWO))
    home.put("s1_000004.csv", ONE)


@pytest.mark.parametrize("step", STEPS)
def test_a_death_after_any_step_and_a_second_run_leave_what_one_run_leaves(
    step: str, tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    root = tmp_path / "home"
    with opened(root) as home:
        _deliver(home)
    died = subprocess.run(
        [sys.executable, "-m", "tests.support.intake_home", str(root), step],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert died.returncode == KILLED, died.stderr
    with opened(root) as home:
        assert home.names(home.inbox), "it died on the way"
        home.take_in()
        left = everything(home)
    assert left == undisturbed


def test_the_order_in_which_files_come_changes_no_record(tmp_path: Path) -> None:
    again = table(line(call_id="a1", record_sequence="1"), line(call_id="c1", b_number="4420"))
    files = {"s1_000001.csv": ONE, "s1_000002.csv": TWO, "s1_000003.csv": again}
    made = []
    for number, names in enumerate([sorted(files), sorted(files, reverse=True)]):
        with opened(tmp_path / f"home{number}") as home:
            for name in names:
                home.put(name, files[name])
                home.take_in()
            make_day(home.lake, DAY, NOW)
            made.append([home.rows(one).rows() for one in (LANDED, XDR, DUPLICATE)])
    assert made[0] == made[1]
    assert len(made[0][2]) == 1, "a1 came twice"


def test_two_runs_over_one_inbox_at_once_land_every_file_once(home: IntakeHome) -> None:
    for n in range(6):
        home.put(f"s1_{n + 1:06}.csv", table(line(call_id=f"c{n}")))
    home.put("s1_000007.csv", TORN)
    others: list[str] = []

    def other_run(done: int, _: int) -> None:
        if done == 1:
            others.extend(home.take_in().landed)

    report = home.take_in(progress=other_run)
    assert {*report.landed, *others} == {f"s1_{n + 1:06}.csv" for n in range(6)}
    assert home.rows(LANDED).height == 6
    assert home.names(home.inbox) == []
    assert len(home.names(home.quarantine)) == 2, "the file and its reason"


def test_what_is_added_to_a_file_while_it_is_taken_in_is_not_lost(
    home: IntakeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home.put("s1_000001.csv", table(line()))
    intake = home.intake()
    parse = intake._parse

    def parse_and_grow(*args: Any) -> ParsedFile:
        with path.open("a") as file:
            file.write(line(call_id="c2", record_sequence="2") + "\n")
        return parse(*args)

    monkeypatch.setattr(intake, "_parse", parse_and_grow)
    report = intake.take_in(home.inbox, SOURCES)
    assert [problem.message[:7] for problem in report.problems] == ["changed"]
    assert home.names(home.inbox) == ["s1/s1_000001.csv"]
    again = home.take_in()
    assert (again.landed, again.received) == (["s1_000001.csv"], 2)
    assert home.names(home.inbox) == []


def test_a_file_that_grows_while_it_is_read_waits(
    home: IntakeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home.put("s1_000001.csv", table(line()))
    read = Path.read_bytes

    def read_and_grow(self: Path) -> bytes:
        content = read(self)
        if self == path:
            with path.open("a") as file:
                file.write(line(call_id="c2"))
        return content

    monkeypatch.setattr(Path, "read_bytes", read_and_grow)
    report = home.take_in()
    assert (report.landed, [one.message for one in report.problems]) == ([], ["still grows"])
    assert home.names(home.inbox) == ["s1/s1_000001.csv"]


def test_files_that_cannot_be_taken_are_told_and_stop_no_other(
    home: IntakeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.put("s1_000001.csv", table(line()))
    home.put("s1_000002.csv", table(line(call_id="c2")))
    home.put("further/s1_000003.csv", table(line(call_id="c3")))
    home.put("n" * 230 + "_000004.csv", table(line(call_id="c4")))
    (home.inbox / "s1_000005.csv").write_text(table(line(call_id="c5")))
    (home.inbox / "s1" / os.fsdecode(b"s1_\xff_000006.csv")).write_text(table(line(call_id="c6")))
    read = Path.read_bytes

    def denied(self: Path) -> bytes:
        if self.name == "s1_000002.csv":
            raise PermissionError(13, "Permission denied")
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", denied)
    report = home.take_in()
    assert report.landed == ["s1_000001.csv"]
    assert sorted(one.message for one in report.problems) == [
        "cannot be read: Permission denied",
        "has a name of more than 200 bytes",
        "has a name that is not UTF-8",
        "is a folder below a source's own: not looked into",
        "lies beside the folders of the sources, and in none of them",
    ]


def test_a_date_in_a_files_name_is_no_number_of_a_sequence(home: IntakeHome) -> None:
    home.put("cdr_20260310120000123456789.csv", table(line()))
    report = home.take_in()
    (entry,) = home.registry.files.of_source("s1")
    assert (report.landed, entry.sequence) == (["cdr_20260310120000123456789.csv"], None)
    assert "has no number up to 999999" in report.warnings[0].message
