"""Records of the demo: exactly the scenario's calls, at the local times that it says."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from billing_assets.demo.scenario import (
    LoadCurve,
    Scenario,
    UsageGroup,
    load_scenario,
)
from billing_assets.demo.traffic import RECORDS, lay_out, records_of_day

EVEN = LoadCurve(hours=(1,) * 24, days=(1,) * 7)


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario()


def _records(
    group: UsageGroup, load: LoadCurve, *, scale: int = 1, divide: int = 1, seed: int = 2026
) -> pl.DataFrame:
    """All records of a group, with the local time of their answer (or of their setup)."""
    layout = lay_out(0, group, load, scale=scale, divide=divide)
    first, last = layout.days
    days = [first + timedelta(n) for n in range((last - first).days + 1)]
    frames = [records_of_day(layout, day, seed=seed) for day in days]
    moment = pl.coalesce("answer_ms", "setup_ms")
    return pl.concat(frames).with_columns(
        pl.from_epoch(moment, "ms")
        .dt.replace_time_zone("UTC")
        .dt.convert_time_zone(group.zone)
        .alias("local")
    )


@pytest.fixture(scope="module")
def all_records(scenario: Scenario) -> dict[str, pl.DataFrame]:
    """Every record of the scenario at scale 1."""
    return {group.key: _records(group, scenario.operations.load) for group in scenario.groups()}


def _group(scenario: Scenario, key: str) -> UsageGroup:
    return next(group for group in scenario.groups() if group.key == key)


def test_every_group_has_exactly_its_calls_and_seconds(
    scenario: Scenario, all_records: dict[str, pl.DataFrame]
):
    for group in scenario.groups():
        records = all_records[group.key]
        assert records.height == group.total * max(len(group.parts), 1), group.key
        seconds = (records["end_ms"] - records["answer_ms"]).sum() // 1000
        assert seconds == (group.total * group.total_seconds if group.answered else 0), group.key


def test_the_scenario_has_the_usage_of_the_worked_examples(all_records: dict[str, pl.DataFrame]):
    minutes = {
        key: Fraction(int((records["end_ms"] - records["answer_ms"]).sum()), 60_000)
        for key, records in all_records.items()
        if not key.startswith(("P08", "P12"))
    }
    assert minutes["P01/uk-mobile"] == 360_000
    assert minutes["P02/fixed-termination"] == 750_000
    assert minutes["P09/voice-in"] == 1_200_000
    assert minutes["P13/long-calls"] + minutes["P13/short-calls"] == 436_789
    assert minutes["P15/gulf-of-february"] == 250
    assert all_records["P09/sms-in"].height == 1_500_000
    assert all_records["P09/sms-out"].height == 1_200_000
    assert (
        sum(records.height for key, records in all_records.items() if key[:3] == "P08") == 121_500
    )


def test_every_call_is_answered_in_a_local_window_of_its_group(
    scenario: Scenario, all_records: dict[str, pl.DataFrame]
):
    for group in scenario.groups():
        records = all_records[group.key].filter(pl.col("part").fill_null(1) == 1)
        by_window = [
            records.filter(pl.col("local").dt.date().is_between(window.first, window.last)).height
            for window in group.calls
        ]
        assert by_window == [window.calls for window in group.calls], group.key


def test_peak_calls_are_answered_on_weekdays_from_eight_to_twenty_in_lisbon(
    all_records: dict[str, pl.DataFrame],
):
    local = pl.col("local")
    peak = (local.dt.weekday() <= 5) & local.dt.hour().is_between(8, 19)
    assert all_records["P02/transit-peak"].select(peak.all()).item()
    assert not all_records["P02/transit-off-peak"].select(peak.any()).item()


def test_weekend_calls_of_the_gulf_are_answered_on_friday_and_saturday_in_riyadh(
    all_records: dict[str, pl.DataFrame],
):
    weekend = pl.col("local").dt.weekday().is_in([5, 6])
    assert all_records["P05/weekend"].select(weekend.all()).item()
    assert not all_records["P05/weekday"].select(weekend.any()).item()


def test_numbers_keep_the_form_of_their_masks(
    scenario: Scenario, all_records: dict[str, pl.DataFrame]
):
    for group in scenario.groups():
        for masks, column in ((group.a, "a"), (group.b, "b")):
            numbers = all_records[group.key][column]
            if not masks:
                assert numbers.null_count() == numbers.len()
                continue
            patterns = "|".join(mask.replace("x", "[0-9]") for mask in masks)
            assert numbers.cast(pl.String).str.contains(f"^(?:{patterns})$").all(), group.key


def test_calling_numbers_without_a_valid_form_are_the_invalid_calls_of_p03(
    all_records: dict[str, pl.DataFrame],
):
    missing = all_records["P03/no-calling-number"]["a"]
    short = all_records["P03/calling-number-of-3-digits"]["a"]
    long = all_records["P03/calling-number-of-17-digits"]["a"]
    assert missing.null_count() == 20
    assert short.is_between(100, 999).all()
    assert long.is_between(10**16, 10**17 - 1).all()
    assert missing.len() + short.len() + long.len() == 50


def test_calls_stand_at_the_edges_that_the_group_names(
    scenario: Scenario, all_records: dict[str, pl.DataFrame]
):
    for group in scenario.groups():
        answered = set(all_records[group.key]["answer_ms"])
        for at in group.edges:
            instant = at.replace(tzinfo=ZoneInfo(group.zone))
            assert int(instant.timestamp()) * 1000 in answered, (group.key, at)


def test_a_call_over_the_clock_change_lasts_its_elapsed_seconds(
    all_records: dict[str, pl.DataFrame],
):
    before = datetime(2026, 3, 29, 0, 59, 30, tzinfo=UTC)
    calls = all_records["P02/fixed-termination"].filter(
        pl.col("answer_ms") == int(before.timestamp()) * 1000
    )
    assert calls.height >= 1
    assert (calls["end_ms"] - calls["answer_ms"]).unique().to_list() == [90_000]
    ends = calls.select(
        pl.from_epoch("end_ms", "ms")
        .dt.replace_time_zone("UTC")
        .dt.convert_time_zone("Europe/Lisbon")
    ).item(0, 0)
    assert (ends.hour, ends.minute) == (2, 1), "00:59:30 and 90 s is 02:01:00 in summer time"


def test_no_call_is_answered_in_the_hour_that_the_clocks_skip(
    all_records: dict[str, pl.DataFrame],
):
    skipped = all_records["P04/haiti"].filter(
        (pl.col("local").dt.date() == date(2026, 3, 8)) & (pl.col("local").dt.hour() == 2)
    )
    assert skipped.is_empty()


def test_traffic_follows_the_load_curve(all_records: dict[str, pl.DataFrame]):
    by_hour = (
        all_records["P09/sms-in"]
        .group_by(pl.col("local").dt.hour())
        .len()
        .sort("local")["len"]
        .to_list()
    )
    assert by_hour[11] > 10 * by_hour[3], "the busy hour carries more than ten times the night"


def test_a_long_call_is_cut_into_parts_without_a_gap(all_records: dict[str, pl.DataFrame]):
    parts = all_records["P15/long-call"].sort("part")
    assert ((parts["end_ms"] - parts["answer_ms"]) // 1000).to_list() == [1790, 1801, 614]
    assert parts["answer_ms"][1:].to_list() == parts["end_ms"][:-1].to_list()
    assert parts["last_part"].to_list() == [False, False, True]
    assert parts["call"].n_unique() == 1
    days = pl.from_epoch(parts["answer_ms"], "ms").dt.date()
    assert days.to_list() == [date(2026, 3, 17), date(2026, 3, 17), date(2026, 3, 18)]


def test_late_records_are_of_february_and_closed_on_5_march(all_records: dict[str, pl.DataFrame]):
    late = all_records["P15/gulf-of-february"]
    assert late["local"].dt.month().unique().to_list() == [2]
    assert pl.from_epoch(late["closed_ms"], "ms").dt.date().unique().to_list() == [date(2026, 3, 5)]


GROUP = UsageGroup.model_validate(
    {
        "group": "some",
        "destination": "Portugal",
        "in": "SW/in",
        "seconds": 60,
        "calls": [{"first": "2026-03-02", "last": "2026-03-08", "calls": 1000}],
        "a": ["47xxxxxxxx"],
        "b": ["351xxxxxxxxx"],
    }
)


def test_the_same_seed_gives_the_same_records_and_another_gives_others():
    assert _records(GROUP, EVEN).equals(_records(GROUP, EVEN))
    assert not _records(GROUP, EVEN).equals(_records(GROUP, EVEN, seed=2027))


def test_scale_multiplies_the_calls_and_divide_cuts_them():
    assert _records(GROUP, EVEN, scale=3).height == 3000
    assert _records(GROUP, EVEN, divide=300).height == 4, "rounded up: no group disappears"


def test_an_even_load_gives_every_half_hour_of_the_week_its_share():
    layout = lay_out(0, GROUP, EVEN)
    assert len(layout.starts) == 7 * 48
    assert set(layout.counts.tolist()) == {2, 3}
    assert layout.calls == 1000


def test_an_edge_outside_the_windows_is_refused():
    stray = GROUP.model_copy(update={"edges": (datetime(2026, 4, 1, 12),)})  # noqa: DTZ001
    with pytest.raises(ValueError, match="edge lies outside"):
        lay_out(0, stray, EVEN)


def test_a_window_without_any_wanted_half_hour_is_refused():
    nights = LoadCurve(hours=(0,) * 24, days=(1,) * 7)
    with pytest.raises(ValueError, match="no half-hour"):
        lay_out(0, GROUP, nights)


def test_a_day_without_calls_has_no_records():
    layout = lay_out(0, GROUP, EVEN)
    empty = records_of_day(layout, date(2026, 5, 1), seed=1)
    assert empty.is_empty()
    assert empty.schema == RECORDS
