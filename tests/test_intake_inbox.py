"""Checksums beside files: they must hold, and a source may demand them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from billing_assets.lake.tables import LANDED
from tests.support.intake import line, source_of, table
from tests.support.intake_home import SOURCES, IntakeHome, opened

NAME = "s1_000001.csv"
TEXT = table(line())
STRICT = {"s1": source_of(source="s1", checksum="sha256")}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[IntakeHome]:
    with opened(tmp_path / "home") as made:
        yield made


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_file_with_its_checksum_lands_and_takes_it_along(home: IntakeHome, kind: str) -> None:
    home.put(NAME, TEXT)
    found = hashlib.new(kind, TEXT.encode()).hexdigest()
    home.put(f"{NAME}.{kind}", f"{found.upper()} *{NAME}\n")
    assert home.take_in(SOURCES).landed == [NAME]
    assert home.names(home.inbox) == []


@pytest.mark.parametrize(
    ("stated", "words"),
    [(hashlib.md5(b"other").hexdigest(), "another checksum"), ("sum: none", "states no md5")],
)
def test_a_file_without_the_stated_checksum_is_refused(
    home: IntakeHome, stated: str, words: str
) -> None:
    home.put(NAME, TEXT)
    home.put(f"{NAME}.md5", stated)
    (problem,) = home.take_in(SOURCES).quarantined
    assert words in problem.message
    assert home.names(home.inbox) == []
    assert home.names(home.quarantine) == [f"s1/{NAME}", f"s1/{NAME}.reason.txt"]
    assert home.rows(LANDED).is_empty()


def test_a_source_that_demands_a_checksum_waits_for_it(home: IntakeHome) -> None:
    home.put(NAME, TEXT)
    home.put("s1_000002.csv.sha256", "0" * 64)
    told = [problem.message for problem in home.take_in(STRICT).problems]
    assert told == [
        f"waits for its checksum, {NAME}.sha256",
        "states the checksum of a file that is not here",
    ]
    home.put(f"{NAME}.sha256", hashlib.sha256(TEXT.encode()).hexdigest())
    assert home.take_in(STRICT).landed == [NAME]


def test_what_a_preset_takes_out_is_kept_nowhere(home: IntakeHome) -> None:
    source = {"s1": source_of("kannel", source="s1")}
    sent = (
        "2026-03-10 12:00:00 Sent SMS [SMSC:hub] [SVC:api] [ACT:a] [BINF:] [FID:m] [from:x] "
        "[to:+254722000001] [flags:-1:0:-1:0:31] [msg:6:hidden] [udh:0:]\n"
    )
    home.put(NAME, sent)
    home.put("s1_000002.csv", "no log line, but [msg:6:hidden] [udh:0:]\n" * 3)
    report = home.take_in(source)
    assert report.landed == [NAME]
    assert len(report.quarantined) == 1
    kept = [path for path in home.root.rglob("*") if path.is_file()]
    assert not [path for path in kept if b"hidden" in path.read_bytes()]
