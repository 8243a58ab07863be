"""Days made of landed records: copies set aside, calls put together, nothing lost or doubled."""

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing_assets.core.errors import BillingError
from billing_assets.intake.resolve import REACH_DAYS, Resolved, around, resolve_day
from tests.support.intake import line, only, parse, table

DAY = date(2026, 3, 10)


def landed(*files: Sequence[str]) -> pl.DataFrame:
    """What lands of some files, each of canonical lines."""
    return pl.concat([parse(table(*lines)).landed for lines in files])


def resolve(day: date, rows: pl.DataFrame) -> Resolved:
    """A day made as intake makes it: of its own rows, and parts of calls of the days around."""
    near = pl.col("day").is_in([one for one in around(day) if one != day])
    return resolve_day(
        day, rows.filter((pl.col("day") == day) | (near & pl.col("part").is_not_null()))
    )


def days_of(rows: pl.DataFrame) -> dict[date, Resolved]:
    """Every day near a landed row, made from the same rows."""
    days = {near for day in rows["day"].unique() for near in around(day)}
    return {day: resolve(day, rows) for day in sorted(days)}


def stamps(begin: datetime, seconds: int) -> dict[str, str]:
    end = begin + timedelta(seconds=seconds)
    return {
        "setup_time": begin.isoformat(),
        "answer_time": begin.isoformat(),
        "end_time": end.isoformat(),
        "duration_ms": str(seconds * 1000),
    }


def part(
    number: int, begin: datetime, seconds: int = 1800, *, last: bool = False, **changes: str
) -> str:
    return line(
        **{
            **stamps(begin, seconds),
            "part": str(number),
            "last_part": str(last).lower(),
            "record_sequence": f"{number}",
            **changes,
        }
    )


NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
LATE = datetime(2026, 3, 10, 23, 40, tzinfo=UTC)


def test_a_record_of_equal_number_and_content_is_a_copy_of_the_first() -> None:
    other = line(call_id="c2", record_sequence="2", b_number="442071234599")
    rows = landed([line(), other], [line(), ""])
    first = rows.filter(pl.col("record_sequence") == 1)["record_id"]
    day = resolve(DAY, rows)
    copy = only(day.duplicate)
    assert (copy["level"], copy["repeats"]) == ("record", min(first))
    assert copy["record_id"] == max(first)
    assert sorted(day.xdr["record_id"]) == sorted(set(rows["record_id"]) - {max(first)})


def test_one_event_under_two_record_numbers_is_kept_once() -> None:
    rows = landed([line(record_sequence="1")], [line(record_sequence="77")])
    copy = only(resolve(DAY, rows).duplicate)
    assert copy["level"] == "event"
    assert copy["repeats"] == min(rows["record_id"])


def test_copies_of_copies_all_name_the_record_that_was_kept() -> None:
    rows = landed(
        [line(record_sequence="1")],
        [line(record_sequence="1"), ""],
        [line(record_sequence="9")],
        [line(record_sequence="9"), "", ""],
        [line(record_sequence="")],
    )
    day = resolve(DAY, rows)
    kept = only(day.xdr)["record_id"]
    assert day.duplicate.height == 4
    assert set(day.duplicate["repeats"]) == {kept}


@pytest.mark.parametrize(
    "other",
    [
        {"duration_ms": "91000"},
        {"b_number": "442071234568"},
        {"out_trunk": "TG10"},
        {"setup_time": "2026-03-10T12:00:00.001Z"},
        {"status": "17"},
    ],
)
def test_events_that_differ_are_no_copies(other: dict[str, str]) -> None:
    rows = landed([line(record_sequence="1"), line(record_sequence="2", **other)])
    assert resolve(DAY, rows).duplicate.is_empty()


def test_one_submission_to_two_subscribers_is_two_messages() -> None:
    sms = {"service": "sms", "answer_time": "", "end_time": "", "duration_ms": "", "quantity": "1"}
    rows = landed(
        [line(record_sequence="", b_number=b, **sms) for b in ("34600000001", "34600000002")]
    )
    assert resolve(DAY, rows).xdr.height == 2


def test_records_without_call_id_and_number_are_never_copies() -> None:
    same = line(call_id="", record_sequence="")
    assert resolve(DAY, landed([same, same])).xdr.height == 2


def test_three_parts_are_one_call_of_their_summed_duration() -> None:
    # worked example A23: 1790 + 1801 + 614 = 4205 s, one call
    parts = [
        part(1, NOON, 1790, out_trunk="TG09"),
        part(2, NOON + timedelta(seconds=1790), 1801),
        part(3, NOON + timedelta(seconds=3591), 614, last=True, status="16 at the end"),
    ]
    rows = landed(parts[:1], parts[1:])
    day = resolve(DAY, rows)
    call = only(day.xdr)
    assert (call["duration_ms"], call["parts"]) == (4_205_000, 3)
    first = rows.filter(pl.col("part") == 1)["record_id"][0]
    assert call["record_id"] == first
    assert call["answer_time"] == NOON
    assert call["end_time"] == NOON + timedelta(seconds=4205)
    assert call["status"] == "16 at the end"
    assert sorted(day.partial["record_id"]) == sorted(rows["record_id"])
    assert set(day.partial["call_record_id"]) == {first}
    assert day.suspense.is_empty() and day.duplicate.is_empty()


def test_parts_of_a_data_session_add_up_their_bytes() -> None:
    rows = landed(
        [
            part(1, NOON, service="data", b_number="", quantity="1000"),
            part(2, LATE, last=True, service="data", b_number="", quantity="234"),
        ]
    )
    assert only(resolve(DAY, rows).xdr)["quantity"] == 1234


def test_a_call_over_midnight_lies_on_the_day_of_its_first_part() -> None:
    rows = landed(
        [part(1, LATE), part(2, LATE + timedelta(minutes=30), last=True)],
    )
    assert sorted(rows["day"]) == [DAY, DAY + timedelta(days=1)]
    days = days_of(rows)
    assert {day: made.xdr.height for day, made in days.items() if made.xdr.height} == {DAY: 1}
    assert days[DAY + timedelta(days=1)].partial.is_empty()


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_call_with_a_missing_part_waits_with_all_the_others(lost: int) -> None:
    parts = {n: part(n, NOON + timedelta(hours=n), last=n == 3) for n in (1, 2, 3)}
    rows = landed([text for n, text in parts.items() if n != lost])
    day = resolve(DAY, rows)
    assert day.xdr.is_empty()
    assert set(day.suspense["record_id"]) == set(rows["record_id"])
    assert set(day.suspense.select("stage", "reason").rows()) == {("xdr", "MISSING_PART")}
    assert day.partial["call_record_id"].to_list() == [None, None]
    whole = resolve(DAY, landed([*parts.values()]))
    assert only(whole.xdr)["parts"] == 3 and whole.suspense.is_empty()


def test_two_last_parts_do_not_make_a_call() -> None:
    rows = landed([part(1, NOON, last=True), part(2, NOON + timedelta(hours=1), last=True)])
    assert resolve(DAY, rows).suspense.height == 2


def test_a_part_delivered_twice_is_merged_once() -> None:
    parts = [part(1, NOON), part(2, NOON + timedelta(minutes=30), last=True)]
    rows = landed(parts, [parts[1]], ["", parts[0]])
    day = resolve(DAY, rows)
    assert only(day.xdr)["duration_ms"] == 2 * 1_800_000
    assert day.duplicate.height == 2


def test_parts_of_another_calling_number_or_trunk_are_of_another_call() -> None:
    rows = landed(
        [
            part(1, NOON),
            part(2, NOON + timedelta(minutes=30), last=True, a_number="351211234568"),
            part(2, NOON + timedelta(minutes=30), last=True, in_trunk="TG02"),
        ]
    )
    assert resolve(DAY, rows).suspense.height == 3


def test_parts_beyond_reach_wait_on_their_own_day() -> None:
    begins = [NOON + timedelta(days=n) for n in range(REACH_DAYS + 3)]
    rows = landed([part(n + 1, at, last=n == len(begins) - 1) for n, at in enumerate(begins)])
    days = days_of(rows)
    waiting = {day: made.suspense.height for day, made in days.items() if made.suspense.height}
    assert waiting == {
        DAY: REACH_DAYS + 1,
        DAY + timedelta(days=REACH_DAYS + 1): 1,
        DAY + timedelta(days=REACH_DAYS + 2): 1,
    }
    assert sorted(i for made in days.values() for i in made.suspense["record_id"]) == sorted(
        rows["record_id"]
    )


def test_a_call_id_that_comes_again_days_later_is_another_call() -> None:
    def call(begin: datetime) -> list[str]:
        return [part(1, begin), part(2, begin + timedelta(minutes=30), last=True)]

    rows = landed(call(LATE), call(LATE + timedelta(days=1)))
    made = [day.xdr for day in days_of(rows).values() if day.xdr.height]
    assert [frame["parts"].to_list() for frame in made] == [[2], [2]]


def test_a_row_that_landed_twice_is_a_defect_and_is_told() -> None:
    rows = landed([line()])
    with pytest.raises(BillingError, match="landed twice"):
        resolve(DAY, pl.concat([rows, rows]))


def test_a_day_on_which_nothing_landed_is_empty() -> None:
    made = resolve(date(2026, 5, 1), landed([line()]))
    assert made.xdr.is_empty() and made.partial.is_empty() and made.suspense.is_empty()


def outcomes(rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    days = days_of(rows).values()
    return {
        name: pl.concat([getattr(day, name) for day in days]).sort("record_id")
        for name in ("xdr", "duplicate", "partial", "suspense")
    }


call_parts = st.tuples(
    st.integers(0, 4 * 24), st.integers(1, 5), st.sets(st.integers(1, 5)), st.integers(0, 2)
)


@settings(deadline=None, max_examples=10)
@given(calls=st.lists(call_parts, max_size=5), singles=st.integers(0, 4), seed=st.integers(0, 99))
def test_every_record_has_one_fate_whatever_the_order_of_files(
    calls: list[tuple[int, int, set[int], int]], singles: int, seed: int
) -> None:
    lines = [line(record_sequence=f"9{n}", call_id=f"s{n}") for n in range(singles)]
    for number, (hour, length, lost, copies) in enumerate(calls):
        begin = datetime(2026, 3, 9, tzinfo=UTC) + timedelta(hours=hour)
        parts = [
            part(n, begin + timedelta(hours=11 * n), last=n == length, call_id=f"c{number}")
            for n in range(1, length + 1)
            if n not in lost
        ]
        lines += parts + parts[:copies]
    files = [parse(table(text, *[""] * n)).landed for n, text in enumerate(lines)]
    if not files:
        return
    shuffled = files[:]
    random.Random(seed).shuffle(shuffled)
    rows = pl.concat(files)
    made, other = outcomes(rows), outcomes(pl.concat(shuffled))
    assert all(made[name].equals(other[name]) for name in made)
    single = made["xdr"].join(made["partial"], on="record_id", how="anti")
    fates = [frame["record_id"] for frame in (single, made["duplicate"], made["partial"])]
    assert sorted(pl.concat(fates)) == sorted(rows["record_id"])
    kept = rows.join(made["duplicate"], on="record_id", how="anti")
    measured = pl.concat([made[name]["duration_ms"] for name in ("xdr", "suspense")])
    assert measured.sum() == kept["duration_ms"].sum()


def test_a_call_told_again_by_another_file_under_other_ids_is_a_look_alike() -> None:
    begin = datetime(2026, 3, 10, 12, tzinfo=UTC)
    second = timedelta(seconds=1)
    rows = landed(
        [line(**stamps(begin, 90), call_id="a", record_sequence="1")],
        [line(**stamps(begin + second, 91), call_id="b", record_sequence="2")],
        [line(**stamps(begin + 2 * second, 90), call_id="", record_sequence="")],
        [
            line(**stamps(begin + 4 * second, 90), call_id="c", record_sequence="3"),
            line(**stamps(begin + 4 * second, 90), call_id="g", record_sequence="4"),
            line(**stamps(begin, 93), call_id="d", record_sequence="5"),
            line(**stamps(begin, 90), call_id="e", record_sequence="6", a_number=""),
            line(**stamps(begin, 90), call_id="f", record_sequence="7", in_trunk="TG02"),
        ],
    )
    made = resolve(DAY, rows)
    first, *again = rows["record_id"].to_list()[:3]
    assert made.duplicate.rows() == [(DAY, one, first, "fuzzy") for one in sorted(again)]
    assert made.xdr.height == 6


def test_a_look_alike_over_midnight_belongs_to_the_day_before() -> None:
    midnight = datetime(2026, 3, 11, tzinfo=UTC)
    before, after = (stamps(midnight + timedelta(milliseconds=ms), 90) for ms in (-400, 400))
    rows = landed([line(**before, call_id="a")], [line(**after, call_id="b", record_sequence="2")])
    next_day = DAY + timedelta(days=1)
    made = resolve_day(next_day, rows)
    assert made.xdr.is_empty()
    assert made.duplicate["repeats"].to_list() == [rows["record_id"][0]]
    assert resolve(DAY, rows).xdr.height == 1


def test_a_copy_of_a_look_alike_repeats_the_call_that_is_kept() -> None:
    begin = datetime(2026, 3, 10, 12, tzinfo=UTC)
    told = [
        line(**stamps(begin, 90), call_id="a", record_sequence="1"),
        line(**stamps(begin + timedelta(seconds=1), 90), call_id="b", record_sequence="2"),
    ]
    rows = landed(told[:1], told[1:], [*told[1:], ""])
    made = resolve(DAY, rows)
    kept = only(made.xdr)["record_id"]
    assert made.duplicate["repeats"].to_list() == [kept, kept]
    assert sorted(made.duplicate["level"]) == ["fuzzy", "record"]


def test_a_call_whose_last_part_never_comes_is_closed_after_the_timeout() -> None:
    begin = datetime(2026, 3, 10, 12, tzinfo=UTC)
    hour = timedelta(hours=1)
    rows = landed(
        [
            part(1, begin, 3600),
            part(2, begin + hour, 3600),
            part(1, begin, 3600, call_id="hole", record_sequence="7"),
            part(3, begin + 2 * hour, 3600, call_id="hole", record_sequence="8"),
        ]
    )
    waiting = resolve_day(DAY, rows, now=begin + timedelta(days=3))
    assert waiting.suspense.height == 4
    closed = resolve_day(DAY, rows, now=begin + timedelta(days=3) + 2 * hour + hour)
    assert (only(closed.xdr)["duration_ms"], only(closed.xdr)["parts"]) == (7_200_000, 2)
    assert closed.suspense["reason"].to_list() == ["MISSING_PART"] * 2
