"""Stamps to UTC over the clock changes of their zones.

Europe/Lisbon: on 29 March 2026 01:00 becomes 02:00, on 25 October 02:00 becomes 01:00 again.
America/New_York: on 8 March 2026 02:00 becomes 03:00, on 1 November 02:00 becomes 01:00 again.
"""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from billing_assets.intake.times import read_stamps, to_utc
from tests.support.intake import line, only, parse, refusals, source_of, table, utc

LISBON, NEW_YORK = "Europe/Lisbon", "America/New_York"


def call(
    zone: str, setup: str, answer: str, end: str, duration_ms: str = "", **changes: str
) -> dict[str, Any]:
    """The one record of a file of local stamps."""
    text = line(
        setup_time=setup, answer_time=answer, end_time=end, duration_ms=duration_ms, **changes
    )
    return only(parse(table(text), source_of(zone=zone)).landed)


@pytest.mark.parametrize(
    ("zone", "local", "expected"),
    [
        (LISBON, "2026-03-29T00:59:59", "2026-03-29 00:59:59"),
        (LISBON, "2026-03-29T02:00:00", "2026-03-29 01:00:00"),
        (LISBON, "2026-10-25T00:59:59", "2026-10-24 23:59:59"),
        (LISBON, "2026-10-25T02:00:00", "2026-10-25 02:00:00"),
        (NEW_YORK, "2026-03-08T01:59:59", "2026-03-08 06:59:59"),
        (NEW_YORK, "2026-03-08T03:00:00", "2026-03-08 07:00:00"),
        (NEW_YORK, "2026-11-01T00:30:00", "2026-11-01 04:30:00"),
        (NEW_YORK, "2026-11-01T02:00:00", "2026-11-01 07:00:00"),
    ],
)
def test_local_stamps_have_the_offset_of_their_side_of_the_change(
    zone: str, local: str, expected: str
) -> None:
    row = call(zone, local, local, "", duration_ms="60000")
    assert row["answer_time"] == row["setup_time"] == utc(expected)
    assert row["day"] == utc(expected).date()


@pytest.mark.parametrize(
    ("zone", "skipped"), [(LISBON, "2026-03-29 01:30:00"), (NEW_YORK, "2026-03-08 02:00:00")]
)
@pytest.mark.parametrize("field", ["setup_time", "answer_time", "end_time"])
def test_a_local_time_that_the_clock_skips_is_no_time(zone: str, skipped: str, field: str) -> None:
    row = {
        "setup_time": skipped[:10] + " 00:30:00",
        "answer_time": skipped[:10] + " 00:30:05",
        "end_time": skipped[:10] + " 12:00:00",
        "duration_ms": "",
        field: skipped,
    }
    read = parse(table(line(**row)), source_of(zone=zone))
    assert refusals(read) == [(2, "BAD_TIME", field, skipped)]


REPEATED = [(LISBON, "2026-10-25", 0), (NEW_YORK, "2026-11-01", 5)]
"""Zone, day, and the hour of UTC at which its clock shows 01:00 for the first time, in summer."""


@pytest.mark.parametrize(("zone", "day", "first"), REPEATED)
def test_a_repeated_local_hour_is_its_first_pass_unless_something_proves_the_second(
    zone: str, day: str, first: int
) -> None:
    row = call(zone, f"{day}T01:10:00", f"{day}T01:10:05", f"{day}T01:20:05", "600000")
    assert row["answer_time"] == utc(f"{day} {first:02}:10:05")
    assert row["end_time"] == utc(f"{day} {first:02}:20:05")
    assert row["duration_ms"] == 600_000


@pytest.mark.parametrize(("zone", "day", "first"), REPEATED)
def test_the_duration_proves_that_a_call_ended_in_the_second_pass(
    zone: str, day: str, first: int
) -> None:
    # 01:50 of the first pass to 01:10 of the second is 20 minutes
    row = call(zone, f"{day} 01:49:55", f"{day} 01:50:00", f"{day} 01:10:00", "1200000")
    assert row["answer_time"] == utc(f"{day} {first:02}:50:00")
    assert row["end_time"] == utc(f"{day} {first + 1:02}:10:00")


@pytest.mark.parametrize(("zone", "day", "first"), REPEATED)
def test_without_a_duration_an_end_before_the_answer_is_of_the_second_pass(
    zone: str, day: str, first: int
) -> None:
    row = call(zone, f"{day} 01:49:55", f"{day} 01:50:00", f"{day} 01:10:00")
    assert row["end_time"] == utc(f"{day} {first + 1:02}:10:00")
    assert row["duration_ms"] == 20 * 60_000


@pytest.mark.parametrize(("zone", "day", "first"), REPEATED)
def test_the_duration_proves_that_a_call_began_in_the_second_pass(
    zone: str, day: str, first: int
) -> None:
    # 01:30 to 02:10 is 40 minutes only from the second pass; from the first it would be 100
    row = call(zone, f"{day} 01:29:50", f"{day} 01:30:00", f"{day} 02:10:00", "2400000")
    assert row["answer_time"] == utc(f"{day} {first + 1:02}:30:00")
    assert row["setup_time"] == utc(f"{day} {first + 1:02}:29:50")
    assert row["end_time"] == utc(f"{day} {first + 2:02}:10:00")
    assert only(
        parse(
            table(
                line(
                    setup_time=f"{day} 01:29:50",
                    answer_time=f"{day} 01:30:00",
                    end_time=f"{day} 02:10:00",
                    duration_ms="6000000",
                )
            ),
            source_of(zone=zone),
        ).landed
    )["answer_time"] == utc(f"{day} {first:02}:30:00")


@pytest.mark.parametrize(("zone", "day", "first"), REPEATED)
def test_an_unanswered_call_may_end_in_the_second_pass(zone: str, day: str, first: int) -> None:
    row = call(zone, f"{day} 01:59:50", "", f"{day} 01:00:20", "0")
    assert row["setup_time"] == utc(f"{day} {first:02}:59:50")
    assert row["end_time"] == utc(f"{day} {first + 1:02}:00:20")


@pytest.mark.parametrize(("zone", "day", "first"), REPEATED)
def test_a_setup_before_the_repeated_hour_stays_there(zone: str, day: str, first: int) -> None:
    row = call(zone, f"{day} 00:59:58", f"{day} 01:00:03", f"{day} 01:00:33", "30000")
    assert row["answer_time"] == utc(f"{day} {first:02}:00:03")
    assert row["answer_time"] - row["setup_time"] == timedelta(seconds=5)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-10-25T01:30:00Z", "2026-10-25 01:30:00"),
        ("2026-10-25T01:30:00.125Z", "2026-10-25 01:30:00.125"),
        ("2026-10-25T01:30:00+01:00", "2026-10-25 00:30:00"),
        ("2026-10-25 01:30:00.5+0000", "2026-10-25 01:30:00.5"),
        ("2026-10-25T01:30:00-05:00", "2026-10-25 06:30:00"),
        ("2026-10-25T01:30:00", "2026-10-25 00:30:00"),
        ("2026-10-25 03:30:00.123456", "2026-10-25 03:30:00.123456"),
    ],
)
def test_a_stamp_with_an_offset_is_of_no_zone_but_its_own(written: str, expected: str) -> None:
    mixed = pl.Series("t", [written, "2026-07-01T12:00:00", None])
    read = read_stamps(mixed, LISBON).first
    assert read.to_list() == [utc(expected), utc("2026-07-01 11:00:00"), None]


@pytest.mark.parametrize(
    "shape", ["{}Z", "{}.250Z", "{}", "{}.250", "{}+01:00", "{}.250-0500"], ids=str
)
@pytest.mark.parametrize("mark", ["T", " "])
@pytest.mark.parametrize("zone", ["UTC", LISBON])
def test_a_column_of_one_shape_reads_as_its_stamps_do_alone(
    shape: str, mark: str, zone: str
) -> None:
    days = ["2026-02-28", "2026-02-29", "2026-03-29", "2026-10-25", "2026-13-01", "1999-12-31"]
    texts = [shape.format(f"{day}{mark}01:30:59") for day in days] + [None]
    texts += [shape.format(f"2026-03-01{mark}{bad}") for bad in ("24:00:00", "10:60:00")]
    column = pl.Series("t", texts)
    alone = [pl.select(to_utc(pl.lit(text, pl.String), zone)).item() for text in texts]
    assert read_stamps(column, zone).first.to_list() == alone
    assert alone[1] is None and alone[4] is None and alone[-2:] == [None, None]


def test_a_day_that_the_calendar_has_not_is_no_time() -> None:
    read = parse(table(line(answer_time="2026-02-30T12:00:05.250Z")))
    assert refusals(read) == [(2, "BAD_TIME", "answer_time", "2026-02-30T12:00:05.250Z")]
