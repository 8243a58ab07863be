"""Continuity of file numbers: gaps, repeats, the wrap, and files that come out of order."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing_assets.core.ids import sha256_of
from billing_assets.intake.sequence import (
    SequenceReport,
    missing_between,
    ranges,
    sequence_gaps,
    sequence_report,
)
from billing_assets.registry import Registry
from billing_assets.registry.files import DayCount, FileFacts
from billing_assets.registry.schema import FileState
from tests.support.intake import source_of

NOW = datetime(2026, 4, 1, 6, 0, tzinfo=UTC)
WRAP = 9999


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.open(f"sqlite:///{tmp_path / 'registry.db'}") as opened:
        yield opened


def log(
    registry: Registry,
    sequence: int,
    day: date | None,
    *,
    name: str = "",
    content: str = "",
    state: FileState = FileState.LANDED,
    hours: str = "",
) -> None:
    """Log a file of source s1 whose records all lie on one day; None: it has no record."""
    name = name or f"s1_{sequence}.csv"
    facts = FileFacts(
        sha256=sha256_of((content or name).encode()),
        name=name,
        source="s1",
        preset="canonical-csv",
        size=1,
        state=state,
        sequence=sequence,
        totals={"hours": hours},
    )
    counts = [DayCount(day, received=1, landed=1)] if day else []
    registry.files.record(facts, counts, now=NOW, who="ana")


def report(registry: Registry) -> SequenceReport:
    (only,) = sequence_report(registry, [source_of(sequence_wrap=WRAP)])
    return only


def test_a_gap_over_the_wrap_and_a_repeat_are_told() -> None:
    assert sequence_gaps([9997, 9998, 1, 2, 2, 4], 9999) == ([9999, 3], [2])


@pytest.mark.parametrize("received", [[], [7], [9999, 1], [1, 2, 3]])
def test_numbers_without_a_gap_have_nothing_to_tell(received: list[int]) -> None:
    assert sequence_gaps(received, 9999) == ([], [])


def test_a_file_that_comes_late_fills_its_own_gap() -> None:
    assert sequence_gaps([1, 2, 4, 5, 3], 9999) == ([], [])


def test_a_file_that_comes_before_the_first_is_no_repeat() -> None:
    assert sequence_gaps([2, 3, 1], 9999) == ([], [])
    assert sequence_gaps([1, 2, 9999], 9999) == ([], [])


def test_a_number_of_the_next_round_is_no_repeat() -> None:
    assert sequence_gaps([*range(1, 10), *range(1, 10)], 9) == ([], [])


@settings(deadline=None, max_examples=100)
@given(
    wrap=st.integers(20, 60),
    start=st.integers(1, 20),
    length=st.integers(1, 150),
    data=st.data(),
)
def test_what_was_left_out_is_missing_and_what_was_repeated_came_twice(
    wrap: int, start: int, length: int, data: st.DataObject
) -> None:
    made = [(start + n - 1) % wrap + 1 for n in range(length)]
    # runs of lost files shorter than half a round, and never the first or last of all
    lost = data.draw(
        st.lists(st.integers(1, max(1, length - 2)), unique=True, max_size=wrap // 2 - 2)
        if length > 2
        else st.just([])
    )
    twice = data.draw(st.lists(st.integers(0, length - 1), unique=True, max_size=5))
    twice = [n for n in twice if n not in lost]
    received = [
        number
        for n, number in enumerate(made)
        if n not in lost
        for _ in range(2 if n in twice else 1)
    ]
    missing, duplicate = sequence_gaps(received, wrap)
    assert missing == [made[n] for n in sorted(lost)]
    assert duplicate == [made[n] for n in sorted(twice)]


def test_a_refused_file_came_and_leaves_no_gap(registry: Registry) -> None:
    day = date(2026, 3, 12)
    for sequence in (1, 2, 4):
        log(registry, sequence, day)
    assert report(registry).missing == (3,)
    log(registry, 3, None, state=FileState.QUARANTINED)
    assert report(registry) == SequenceReport("s1", 4, (), ())


def test_files_are_ordered_by_their_records_where_names_do_not_sort(registry: Registry) -> None:
    for sequence, day in ((9997, 10), (9998, 10), (1, 11), (2, 11), (4, 12)):
        log(registry, sequence, date(2026, 3, day))
    assert report(registry) == SequenceReport("s1", 5, (9999, 3), ())


def test_a_gap_is_told_in_a_later_round_and_at_the_wrap(registry: Registry) -> None:
    source = source_of(sequence_wrap=10)
    for n in range(25):
        if n not in (12, 19):
            day = date(2026, 3, 1) + timedelta(days=n)
            log(registry, n % 10 + 1, day, name=f"s1_{n % 10 + 1}.csv", content=f"file {n}")

    def missing(first: int, last: int) -> list[int]:
        contents = {sha256_of(f"file {n}".encode()) for n in range(first, last + 1)}
        files = registry.files.of_source("s1")
        keys = {one.file_key for one in files if one.sha256 in contents}
        return missing_between(registry, source, keys)

    assert missing(0, 11) == []
    assert missing(10, 24) == [3, 10]
    assert missing(13, 18) == []
    assert missing(30, 31) == []


def test_late_records_in_a_file_do_not_move_it(registry: Registry) -> None:
    log(registry, 1, date(2026, 3, 4))
    log(registry, 2, date(2026, 2, 27))
    log(registry, 3, date(2026, 3, 5))
    assert report(registry).missing == ()


def test_names_that_come_again_in_the_next_round_are_no_repeats(registry: Registry) -> None:
    first = date(2026, 3, 1)
    for n in range(25):
        number = n % 10 + 1
        name = f"s1_{number}.csv"
        log(registry, number, first + timedelta(days=n // 2), name=name, content=f"file {n}")
    (found,) = sequence_report(registry, [source_of(sequence_wrap=10)])
    assert found == SequenceReport("s1", 25, (), ())


def test_two_contents_of_one_number_came_twice(registry: Registry) -> None:
    log(registry, 1, date(2026, 3, 12))
    log(registry, 2, date(2026, 3, 12))
    log(registry, 2, date(2026, 3, 12), name="s1_b_2.csv")
    assert report(registry) == SequenceReport("s1", 3, (), (2,))


def test_a_content_delivered_again_under_another_name_came_twice(registry: Registry) -> None:
    log(registry, 1, date(2026, 3, 12), content="same")
    log(registry, 1, date(2026, 3, 12), content="same", name="s1_again_1.csv")
    assert report(registry) == SequenceReport("s1", 1, (), (1,))


def test_files_without_a_number_are_not_counted(registry: Registry) -> None:
    assert report(registry) == SequenceReport("s1", 0, (), ())


def test_ranges_are_told_in_the_order_of_the_numbers() -> None:
    assert ranges(()) == ""
    assert ranges((9998, 9999, 1, 2, 3, 7)) == "9998-9999, 1-3, 7"


def test_an_hour_in_which_no_record_ended_is_uncovered_whatever_a_late_record_spans(
    registry: Registry,
) -> None:
    hours = (
        "2026-03-10T00/2026-03-10T05",
        "2026-03-10T22/2026-03-11T01",
        "2026-02-27T08/2026-02-27T08;2026-03-10T08/2026-03-10T09;2026-03-10T20/2026-03-10T20",
    )
    for number, text in enumerate(hours, start=1):
        log(registry, number, date(2026, 3, 10), hours=text)
    day = datetime(2026, 3, 10, tzinfo=UTC)
    assert [(a - day, b - day) for a, b in report(registry).uncovered] == [
        (timedelta(hours=6), timedelta(hours=8)),
        (timedelta(hours=10), timedelta(hours=20)),
        (timedelta(hours=21), timedelta(hours=22)),
    ]
