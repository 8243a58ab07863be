"""The file log: keys, counts, redeliveries and lookups."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing_assets.core.ids import file_key, sha256_of
from billing_assets.registry import Registry
from billing_assets.registry.files import DayCount, FileCount, FileFacts
from billing_assets.registry.schema import FileState
from tests.registry_support import NOW

pytest_plugins = ("tests.registry_fixtures",)

MARCH_1, MARCH_2 = date(2026, 3, 1), date(2026, 3, 2)
FACTS = FileFacts(
    sha256=sha256_of(b"records"),
    name="MSC1_000017.csv.gz",
    source="MSC1",
    preset="asterisk",
    size=4096,
    state=FileState.LANDED,
    sequence=17,
    archive_path="ab/cd/abcd",
    totals={"declared_rows": 12},
)
COUNTS = [DayCount(MARCH_1, 8, 7, 1, 0), DayCount(MARCH_2, 4, 3, 0, 1)]
REFUSED = replace(FACTS, state=FileState.QUARANTINED, message="torn at row 9")


def test_the_key_of_a_file_is_the_first_36_bits_of_its_hash(registry: Registry) -> None:
    key = registry.files.assign_file_key(FACTS.sha256, now=NOW, who="ana")
    assert key == file_key(FACTS.sha256)
    assert registry.files.assign_file_key(FACTS.sha256, now=NOW, who="ana") == key
    assert len(registry.audit.entries()) == 1


def test_hashes_with_the_same_first_digits_get_the_next_nine(registry: Registry) -> None:
    head, second, third = "123456789", "abcdef012", "00000000f"
    one = head + second + third + "1" * 37
    two = head + second + third + "2" * 37
    three = head + second + third + "3" * 37
    assert [
        registry.files.assign_file_key(sha256, now=NOW, who="ana") for sha256 in (one, two, three)
    ] == [int(head, 16), int(second, 16), int(third, 16)]
    assert registry.files.assign_file_key(one, now=NOW, who="ana") == int(head, 16)
    assert registry.files.assign_file_key(two, now=NOW, who="ana") == int(second, 16)


def test_any_files_have_different_keys_that_stay_theirs(tmp_path: Path) -> None:
    # hashes made of two blocks of nine digits collide all the time
    blocks = st.lists(st.sampled_from(["0" * 9, "f" * 9]), min_size=2, max_size=2)
    hashes = st.builds(
        lambda some, seed: "".join(some) + sha256_of(seed)[:46], blocks, st.binary(max_size=8)
    )
    assigned: dict[str, int] = {}
    with Registry.open(f"sqlite:///{tmp_path / 'registry.db'}") as registry:

        @settings(max_examples=40, deadline=None)
        @given(hashes)
        def check(sha256: str) -> None:
            key = registry.files.assign_file_key(sha256, now=NOW, who="ana")
            assert assigned.setdefault(sha256, key) == key
            assert 0 <= key < 1 << 36
            assert len(set(assigned.values())) == len(assigned)

        check()
    assert any(key != file_key(sha256) for sha256, key in assigned.items())


@pytest.mark.parametrize("wrong", ["", "a" * 63, "A" * 64, "g" * 64])
def test_what_is_no_sha256_gets_no_key(registry: Registry, wrong: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        registry.files.assign_file_key(wrong, now=NOW, who="ana")


def test_a_landed_file_is_found_by_key_hash_and_name_with_its_counts(registry: Registry) -> None:
    key = registry.files.assign_file_key(FACTS.sha256, now=NOW, who="ana")
    delivery = registry.files.record(FACTS, COUNTS, now=NOW, who="ana")
    assert (delivery.file_key, delivery.state) == (key, FileState.LANDED)
    entry = registry.files.by_key(key)
    assert entry is not None
    assert (entry.name, entry.sequence, entry.received_at) == (FACTS.name, 17, NOW)
    assert entry.totals == {"declared_rows": 12}
    assert registry.files.by_hash(FACTS.sha256) == entry
    assert registry.files.by_name(FACTS.name) == [entry]
    assert registry.files.counts(MARCH_1, MARCH_2) == [FileCount(MARCH_1, 8, 7, 1, 0, file_key=key)]
    assert registry.files.days_of(key) == sorted(count.day for count in COUNTS)
    assert registry.files.by_key(key + 1) is None
    assert registry.files.days_of(key + 1) == []
    assert registry.files.by_hash("0" * 64) is None
    assert registry.files.by_name("other") == []


def test_a_replay_of_the_same_file_changes_nothing(registry: Registry) -> None:
    first = registry.files.record(FACTS, COUNTS, now=NOW, who="ana")
    lines = registry.audit.entries()
    later = NOW + timedelta(hours=1)
    again = registry.files.record(FACTS, list(reversed(COUNTS)), now=later, who="bruno")
    assert again == first
    assert registry.audit.entries() == lines
    assert len(registry.files.deliveries(first.file_key)) == 1


def test_another_pass_over_the_same_file_replaces_its_counts_and_says_so(
    registry: Registry,
) -> None:
    registry.files.record(FACTS, COUNTS, now=NOW, who="ana")
    better = [DayCount(MARCH_1, 12, 12, 0, 0)]
    key = registry.files.record(FACTS, better, now=NOW, who="bruno").file_key
    assert registry.files.counts(MARCH_1, date(2026, 4, 1)) == [
        FileCount(MARCH_1, 12, 12, 0, 0, file_key=key)
    ]
    line = registry.audit.entries()[-1]
    assert (line.action, line.who) == ("file.landed", "bruno")
    assert line.before is not None
    assert '"rejected":1' in line.before


def test_the_same_content_under_another_name_is_redelivered_once_for_each_name(
    registry: Registry,
) -> None:
    registry.files.record(FACTS, COUNTS, now=NOW, who="ana")
    copy = replace(FACTS, name="MSC1_000018.csv.gz", sequence=18)
    later = NOW + timedelta(hours=1)
    delivery = registry.files.record(copy, COUNTS, now=later, who="ana")
    assert delivery.state is FileState.REDELIVERED
    assert registry.files.record(copy, COUNTS, now=later, who="ana") == delivery
    entry = registry.files.by_hash(FACTS.sha256)
    assert entry is not None
    assert (entry.name, entry.state, entry.sequence) == (FACTS.name, FileState.LANDED, 17)
    assert registry.files.redeliveries() == [delivery]
    assert [one.state for one in registry.files.deliveries(entry.file_key)] == [
        FileState.LANDED,
        FileState.REDELIVERED,
    ]
    assert registry.files.by_name(copy.name) == [entry]
    assert [line.action for line in registry.audit.entries()] == [
        "file.key",
        "file.landed",
        "file.redelivered",
    ]


@pytest.mark.parametrize("name", [FACTS.name, "MSC1_000017.fixed.csv.gz"])
def test_a_quarantined_file_lands_when_it_is_taken_in_again(registry: Registry, name: str) -> None:
    assert registry.files.record(REFUSED, now=NOW, who="ana").state is FileState.QUARANTINED
    mended = replace(FACTS, name=name)
    assert registry.files.record(mended, COUNTS, now=NOW, who="ana").state is FileState.LANDED
    entry = registry.files.by_hash(FACTS.sha256)
    assert entry is not None
    assert (entry.state, entry.message, entry.name) == (FileState.LANDED, "", name)
    assert registry.files.redeliveries() == []


def test_a_source_lists_its_files_by_sequence_so_that_gaps_show(registry: Registry) -> None:
    for sequence in (19, None, 17, 16):
        facts = replace(
            FACTS, sha256=sha256_of(b"%r" % sequence), name=f"f{sequence}", sequence=sequence
        )
        registry.files.record(facts, now=NOW, who="ana")
    other = replace(FACTS, sha256=sha256_of(b"other"), source="SBC2")
    registry.files.record(other, now=NOW, who="ana")
    assert [entry.sequence for entry in registry.files.of_source("MSC1")] == [16, 17, 19, None]
    assert registry.files.sources() == ["MSC1", "SBC2"]


def test_two_contents_may_have_the_same_name(registry: Registry) -> None:
    registry.files.record(FACTS, now=NOW, who="ana")
    registry.files.record(replace(FACTS, sha256=sha256_of(b"more")), now=NOW, who="ana")
    assert len(registry.files.by_name(FACTS.name)) == 2
    assert registry.files.redeliveries() == []


def test_intake_cannot_claim_a_redelivery(registry: Registry) -> None:
    with pytest.raises(ValueError, match="found out here"):
        registry.files.record(replace(FACTS, state=FileState.REDELIVERED), now=NOW, who="ana")
