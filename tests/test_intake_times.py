"""Stamps to UTC: forms, offsets, and the hours that clocks skip and repeat."""

from datetime import datetime
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_assets.intake.times import read_stamps, to_utc
from tests.support.intake import line, only, parse, refusals, source_of, table, utc

LISBON, NEW_YORK = "Europe/Lisbon", "America/New_York"


def first(text: str, zone: str = "UTC") -> datetime | None:
    """A stamp at the first pass of its local time."""
    return read_stamps(pl.Series([text]), zone).first[0]


def second(text: str, zone: str) -> datetime | None:
    """A stamp at the second pass of its local time; where there is one pass, that."""
    stamps = read_stamps(pl.Series([text]), zone)
    return (stamps.first if stamps.second is None else stamps.second)[0]


@pytest.mark.parametrize(
    "written",
    [
        "2026-03-10T12:00:00Z",
        "2026-03-10T12:00:00.000Z",
        "2026-03-10T12:00:00.000000Z",
        "2026-03-10 12:00:00Z",
        "2026-03-10T14:00:00+02:00",
        "2026-03-10T14:00:00+0200",
        "2026-03-10 07:30:00.000-04:30",
        "2026-03-10T12:00:00",
        "2026-03-10 12:00:00",
        "2026-03-10 12:00:00.000",
    ],
)
def test_every_iso_form_is_the_same_instant(written: str) -> None:
    assert first(written) == utc("2026-03-10 12:00:00")


def test_a_fraction_is_kept() -> None:
    assert first("2026-03-10T12:00:00.125Z") == utc("2026-03-10 12:00:00.125")


def test_a_stamp_with_its_own_offset_does_not_care_for_the_zone_of_its_source() -> None:
    assert first("2026-07-10T12:00:00Z", NEW_YORK) == utc("2026-07-10 12:00:00")
    assert first("2026-07-10T12:00:00+01:00", NEW_YORK) == utc("2026-07-10 11:00:00")


def test_a_column_may_mix_forms_without_one_spoiling_the_other() -> None:
    written = ["2026-07-10 12:00:00", "2026-07-10T12:00:00.500Z", "2026-07-10T12:00:00+02:00", "x"]
    assert read_stamps(pl.Series([*written, None]), LISBON).first.to_list() == [
        utc("2026-07-10 11:00:00"),
        utc("2026-07-10 12:00:00.500"),
        utc("2026-07-10 10:00:00"),
        None,
        None,
    ]


@pytest.mark.parametrize(
    "written",
    [
        "2026-02-29T12:00:00Z",
        "2026-02-30 12:00:00",
        "2026-13-01T12:00:00Z",
        "2026-00-10T12:00:00Z",
        "2026-03-10T24:00:01Z",
        "2026-03-10T25:00:00.000Z",
        "2026-03-10T12:60:00Z",
        "2026-03-10",
        "12:00:00",
        "10/03/2026 12:00:00",
        "2026-03-10T12:00:00+25:00",
        "2026-03-10T12:00:00ZZ",
        "2026-03-10T12:00:00.000Z2026-03-10T12:00:00.000Z",
        "\uff12\uff10\uff12\uff16-03-10T12:00:00Z",
        "now",
    ],
)
def test_what_is_no_time_is_null_and_never_another_time(written: str) -> None:
    assert first(written) is None
    # beside good ones of the same shape, too
    good = "2026-03-10T12:00:00.000Z"
    stamps = read_stamps(pl.Series([good, written, good]), "UTC").first
    assert stamps.to_list() == [utc("2026-03-10 12:00:00"), None, utc("2026-03-10 12:00:00")]


# Lisbon: clocks go from 01:00 to 02:00 on 29 March 2026 and from 02:00 back to 01:00 on
# 25 October. New York: from 02:00 to 03:00 on 8 March, from 02:00 back to 01:00 on 1 November.


@pytest.mark.parametrize(
    ("zone", "written", "expected"),
    [
        (LISBON, "2026-03-29 00:59:59", "2026-03-29 00:59:59"),
        (LISBON, "2026-03-29 02:00:00", "2026-03-29 01:00:00"),
        (NEW_YORK, "2026-03-08 01:59:59", "2026-03-08 06:59:59"),
        (NEW_YORK, "2026-03-08 03:00:00", "2026-03-08 07:00:00"),
    ],
)
def test_around_a_skipped_hour_time_goes_on(zone: str, written: str, expected: str) -> None:
    assert first(written, zone) == utc(expected)


@pytest.mark.parametrize(
    ("zone", "written"),
    [
        (LISBON, "2026-03-29 01:00:00"),
        (LISBON, "2026-03-29 01:59:59"),
        (NEW_YORK, "2026-03-08 02:00:00"),
        (NEW_YORK, "2026-03-08T02:30:00.000"),
    ],
)
def test_a_time_that_clocks_skip_is_no_time_and_its_row_is_refused(zone: str, written: str) -> None:
    assert first(written, zone) is None
    read = parse(table(line(), line(setup_time=written)), source_of(zone=zone))
    assert refusals(read) == [(3, "BAD_TIME", "setup_time", written)]


@pytest.mark.parametrize(
    ("zone", "written", "earlier", "later"),
    [
        (LISBON, "2026-10-25 01:30:00", "2026-10-25 00:30:00", "2026-10-25 01:30:00"),
        (NEW_YORK, "2026-11-01 01:30:00", "2026-11-01 05:30:00", "2026-11-01 06:30:00"),
        (NEW_YORK, "2026-11-01T01:30:00.000", "2026-11-01 05:30:00", "2026-11-01 06:30:00"),
    ],
)
def test_a_time_that_clocks_repeat_is_its_first_pass_unless_proved_otherwise(
    zone: str, written: str, earlier: str, later: str
) -> None:
    assert (first(written, zone), second(written, zone)) == (utc(earlier), utc(later))
    assert second(written + "Z", zone) == first(written + "Z", zone), "UTC has one pass"


@pytest.mark.parametrize(("zone", "day"), [(LISBON, "2026-10-25"), (NEW_YORK, "2026-11-01")])
def test_a_call_through_the_repeated_hour_keeps_its_duration(zone: str, day: str) -> None:
    """From 00:50 summer time for 90 minutes: its clock shows 01:20 at the second pass."""
    cells = {
        "setup_time": f"{day} 00:50:00",
        "answer_time": f"{day} 00:50:00",
        "end_time": f"{day} 01:20:00",
        "duration_ms": str(90 * 60_000),
    }
    row = only(parse(table(line(**cells)), source_of(zone=zone)).landed)
    assert (row["end_time"] - row["answer_time"]).total_seconds() == 90 * 60
    local = datetime.fromisoformat(cells["answer_time"]).replace(tzinfo=ZoneInfo(zone))
    assert row["answer_time"] == local


def test_without_a_duration_the_end_is_not_before_the_answer() -> None:
    """Answered at 01:50 summer time, ended at 01:10: the clock went back meanwhile."""
    cells = {
        "setup_time": "2026-10-25 01:49:50",
        "answer_time": "2026-10-25 01:50:00",
        "end_time": "2026-10-25 01:10:00",
        "duration_ms": "",
    }
    row = only(parse(table(line(**cells)), source_of(zone=LISBON)).landed)
    assert row["duration_ms"] == 20 * 60_000
    assert row["answer_time"] == utc("2026-10-25 00:50:00")


@pytest.mark.parametrize(
    ("clock", "duration_ms", "expected"),
    [
        (("01:55:00", "01:05:00", "01:15:00"), 600_000, ("00:55:00", "01:05:00", "01:15:00")),
        (("01:55:00", "01:05:00", ""), 600_000, ("00:55:00", "01:05:00", "01:15:00")),
        (("01:05:01", "01:05:00", "01:15:00"), 600_000, ("00:05:01", "00:05:00", "00:15:00")),
        (("01:50:00", "01:50:00", "01:10:00"), 900_000, ("00:50:00", "00:50:00", "01:10:00")),
        (("01:50:00", "", "01:10:00"), "", ("00:50:00", None, "01:10:00")),
    ],
    ids=["setup proves it", "no end", "clocks differ", "no way agrees", "unanswered"],
)
def test_the_order_of_stamps_proves_a_pass(
    clock: tuple[str, ...], duration_ms: int | str, expected: tuple[str | None, ...]
) -> None:
    names = ("setup_time", "answer_time", "end_time")
    stamps = {n: f"2026-10-25 {time}" if time else "" for n, time in zip(names, clock, strict=True)}
    cells = line(**stamps, duration_ms=str(duration_ms))
    row = only(parse(table(cells), source_of(zone=LISBON)).landed)
    wanted = [None if time is None else utc(f"2026-10-25 {time}") for time in expected]
    assert [row[name] for name in names] == wanted


@pytest.mark.parametrize("year", ["0000", "0001", "1900", "9999"])
def test_a_year_far_away_is_read_in_any_zone(year: str) -> None:
    read = parse(table(line(), line(setup_time=f"{year}-01-01 12:00:00")), source_of(zone=LISBON))
    assert refusals(read) == [(3, "BAD_TIME", "setup_time", f"{year}-01-01 12:00:00")]


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)),  # noqa: DTZ001 - local times
    st.sampled_from([LISBON, NEW_YORK, "Asia/Kolkata", "Australia/Lord_Howe"]),
)
def test_any_local_time_is_what_its_zone_says(local: datetime, zone: str) -> None:
    local = local.replace(microsecond=0)
    wanted = local.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(ZoneInfo("UTC"))
    skipped = wanted.astimezone(ZoneInfo(zone)).replace(tzinfo=None) != local
    assert first(local.isoformat(" "), zone) == (None if skipped else wanted)
    expression = pl.select(to_utc(pl.lit(local.isoformat()), zone)).item()
    assert expression == (None if skipped else wanted)
