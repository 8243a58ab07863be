"""Capacity by percentile: samples beside the agreement, months cut and missing, blocked cycles."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing_assets.charging.capacity import measure
from billing_assets.core.errors import InputError
from billing_assets.lake.tables import CHARGE
from billing_assets.reference.fees import Capacity
from billing_assets.reference.samples import SAMPLES, read_samples
from tests.support.billing_home import open_home, run, use
from tests.support.pricing import priced

LEVELS = [310, 420, 500, 515, 530, 545, 560, 575, 590, 600, 610, 625, 640, 655, 670, 690, 705, 720,
          742, 990]  # fmt: skip
CAPACITY = {
    "capacity": "ipx",
    "title": "IPX",
    "commit": 500,
    "commit_price": "1.20",
    "burst_price": "1.50",
    "interval_minutes": 2160,
    "samples": "samples*.csv",
    "ports": ["A"],
    "from": "2026-01-01",
}
TERMS = {"leg": "supplier", "rates": [{"code": "44", "rate": "0.6", "destination": "UK"}]}
CALL = {"start": "2026-03-10T12:00:00Z", "duration_s": 60, "b_number": "447400123456"}
MARCH = datetime(2026, 3, 1, tzinfo=UTC)


def csv(levels: list[int], port: str = "A", start: datetime = MARCH, minutes: int = 2160) -> str:
    rows = [
        f"{port},{start + timedelta(minutes=minutes) * n:%Y-%m-%dT%H:%M:%SZ},{level}"
        for n, level in enumerate(levels)
    ]
    return "\n".join(["port,at,mbps", *rows]) + "\n"


def charged(folder: Path, *files: str, call: dict[str, Any] = CALL, **changes: object) -> Any:
    for number, text in enumerate(files):
        (folder / f"samples{number}.csv").write_text(text)
    result = priced(folder, [{**TERMS, "capacity": [{**CAPACITY, **changes}]}], [call])
    lines = [one for one in result["charges"] if one["kind"] == "capacity"]
    return lines, result["notes"]


def test_commitment_and_burst_by_the_sample_below_the_top_ones(tmp_path: Path) -> None:
    # H06
    [line], notes = charged(tmp_path, csv(LEVELS))
    assert (line["amount"], line["quantity"], line["unit"]) == (
        Decimal("963.00"), Decimal(742), "mbps",
    )  # fmt: skip
    assert line["steps"] == [
        "20 samples of A, 20 expected every 2160 minutes",
        "level 742 Mbps: the highest without the top 1",
        "500 Mbps at 1.2 EUR and 242 Mbps above at 1.5 EUR a month",
        "963 EUR",
    ]
    assert notes == []


def test_below_the_commitment_it_is_the_commitment_and_a_cut_month_is_by_its_days(
    tmp_path: Path,
) -> None:
    [line], _ = charged(tmp_path, csv([100] * 20), to="2026-03-11", tolerance="0.9")
    assert (line["amount"], line["quantity"]) == (Decimal("193.55"), Decimal(500))
    assert "10 of 31 days" in line["steps"]


def test_ports_are_added_by_instant_before_the_percentile(tmp_path: Path) -> None:
    # each port alone would have 742 and 990: together the peaks are not at one time
    files = csv(LEVELS), csv(LEVELS[::-1], port="B")
    [line], notes = charged(tmp_path, *files, ports=["A", "B"])
    level = sorted(a + b for a, b in zip(LEVELS, LEVELS[::-1], strict=True))[-2]
    assert line["quantity"] == level
    assert notes == []


def test_missing_samples_are_told_and_none_at_all_leave_the_commitment(tmp_path: Path) -> None:
    [line], notes = charged(tmp_path, csv(LEVELS[:19]))
    assert notes == ["IPX, 2026-03-01 to 2026-03-31: 1 of 20 samples missing, 0 may be"]
    [line], notes = charged(tmp_path, csv(LEVELS[:19]), tolerance="0.05")
    assert notes == []
    april = {**CALL, "start": "2026-04-10T12:00:00Z"}
    [line], notes = charged(tmp_path, csv(LEVELS), call=april)
    assert (line["amount"], line["steps"][1]) == (
        Decimal("600.00"), "no sample: the commitment alone",
    )  # fmt: skip
    assert "20 of 20 samples missing" in notes[0]


def test_an_instant_at_which_one_port_was_not_measured_is_missing(tmp_path: Path) -> None:
    files = csv(LEVELS), csv(LEVELS[:18], port="B")
    _, notes = charged(tmp_path, *files, ports=["A", "B"])
    assert "2 of 20 samples missing" in notes[0]


def test_many_samples_of_some_days_do_not_stand_for_others(tmp_path: Path) -> None:
    _, notes = charged(tmp_path, csv(LEVELS * 5, minutes=60))
    # 100 samples, but in the first 3 intervals alone
    assert "17 of 20 samples missing" in notes[0]


@settings(deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=60), st.integers(1, 99))
def test_the_level_is_a_sample_with_at_most_the_dropped_share_above_it(
    levels: list[int], percent: int
) -> None:
    terms = Capacity.model_validate({**CAPACITY, "share": f"0.{percent:02d}"})
    samples = pl.DataFrame(
        {
            "port": ["A"] * len(levels),
            "at": [MARCH + timedelta(hours=n) for n in range(len(levels))],
            "mbps": [Decimal(level) for level in levels],
        },
        schema=SAMPLES,
    )
    level = measure(samples, terms, MARCH, MARCH + timedelta(days=31)).level
    assert level in levels
    above = sum(1 for one in levels if one > level)
    assert above <= len(levels) * (1 - Fraction(percent, 100))
    assert sum(1 for one in levels if one >= level) > len(levels) * (1 - Fraction(percent, 100))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port,mbps\n", "samples0.csv:1 header='port,mbps': must have the columns port, at, mbps"),
        ("port,at,mbps\nA,2026-03-01 00:00,1\n", ":2 at='2026-03-01 00:00': is not a time with Z"),
        ("port,at,mbps\nA,2026-02-30T00:00Z,1\n", ":2 at='2026-02-30T00:00Z'"),
        ("port,at,mbps\nA,2026-03-01T00:00Z,-1\n", ":2 mbps='-1': is not a decimal from 0"),
        ("port,at,mbps\nA,2026-03-01T00:00Z,1e3\n", ":2 mbps='1e3'"),
        ("port,at,mbps\nA,2026-03-01T00:00Z,\n", ":2 mbps=''"),
        ("port,at,mbps\n,2026-03-01T00:00Z,1\n", ":2 port='': is missing"),
        (
            "port,at,mbps\nA,2026-03-01T00:00Z,1\nA,2026-03-01T01:00+01:00,2\n",
            ":3 at='2026-03-01T01:00+01:00': stands twice for its port",
        ),
        ("port,at,mbps\nA,b\n", ":2 at='b'"),
        ("", "is not a CSV file"),
    ],
)
def test_samples_that_cannot_be_read_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        charged(tmp_path, text)
    assert any(said in str(problem) for problem in refused.value.problems)


def test_an_instant_in_two_files_and_no_file_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        charged(tmp_path, csv(LEVELS), csv([1]))
    assert "stands for port A in another file of the same samples too" in str(
        refused.value.problems[0]
    )
    with pytest.raises(InputError) as refused:
        charged(tmp_path, samples="other/*.csv")
    [problem] = refused.value.problems
    assert (problem.message, problem.field) == ("names no samples file", "capacity.0.samples")
    assert (problem.value, problem.row) == ("other/*.csv", 1)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"commit": -1}, "commit"),
        ({"burst_price": "-0.1"}, "burst_price"),
        ({"share": 0}, "share"),
        ({"share": "1.1"}, "share"),
        ({"tolerance": 1}, "tolerance"),
        ({"interval_minutes": 0}, "interval_minutes"),
        ({"ports": []}, "ports"),
        ({"ports": ["A", "A"]}, ""),
        ({"to": "2025-01-01"}, ""),
    ],
)
def test_terms_that_make_no_sense_are_refused(
    tmp_path: Path, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InputError) as refused:
        charged(tmp_path, csv(LEVELS), **change)
    assert f"capacity.0{'.' if field else ''}{field}" in str(refused.value.problems[0])


def test_many_samples_are_read_whole() -> None:
    text = csv(list(range(9000)), minutes=5)
    frame, problems = read_samples("samples/a.csv", text.encode())
    assert (frame.height, frame["mbps"].sum(), problems) == (9000, Decimal(sum(range(9000))), [])


IPX = {"partner": "P12", "agreement": "P12-IPX@1", "leg": "supplier", "service": "data"}


def test_a_cycle_without_enough_samples_is_blocked_until_they_come(tmp_path: Path) -> None:
    """The demo's partner: 963.00 with its samples, a blocking finding with one instant less."""
    day = date(2026, 3, 10)
    home = open_home(tmp_path / "whole")
    use(home, {**IPX, "local_day": day, "day": day, "records": 10})
    assert not any(one.blocks for one in run(home, "P12/2026-03").findings)
    charges = home.lake.scan(CHARGE).filter(pl.col("kind") == "capacity").collect()
    assert charges["amount"].to_list() == [Decimal("963.00")]

    path = "samples/P12-2026-03.csv"
    home = open_home(tmp_path / "less", {path: {"IPX-AMS-1,2026-03-09T": "IPX-AMS-9,2026-03-09T"}})
    use(home, {**IPX, "local_day": day, "day": day, "records": 10})
    [finding] = [one for one in run(home, "P12/2026-03").findings if one.blocks]
    assert finding.rule == "missing_samples"
    assert "1 of 20 samples missing" in finding.message


def test_price_reads_samples_by_the_agreements_own_folder(tmp_path: Path) -> None:
    (tmp_path / "agreements").mkdir()
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "a [1].csv").write_text(csv(LEVELS))
    result = priced(
        tmp_path / "agreements",
        [{**TERMS, "capacity": [{**CAPACITY, "samples": "../samples/a*.csv"}]}],
        [CALL],
    )
    assert [c["amount"] for c in result["charges"] if c["kind"] == "capacity"] == [Decimal(963)]
