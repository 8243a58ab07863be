"""Rows of every kind of fault: each is refused with its reason or taken in rightly; none is lost,
none costs another, and nothing takes long."""

import gzip
import io
import time
import zlib
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from billing_assets.controls.results import balance_results
from billing_assets.core.errors import InputError
from billing_assets.intake import reading
from billing_assets.intake.preset import CANONICAL
from billing_assets.orchestration.dbt_manifest import mart_tables
from tests.support.controls_home import small_home
from tests.support.intake import line, parse, rows_of, source_of, table
from tests.support.malformed import ROWS, canonical_rows, spoilt_rows

COUNTS = [2_000, pytest.param(60_000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("count", COUNTS)
def test_every_known_fault_is_told_by_its_reason_and_field(count: int) -> None:
    made = list(canonical_rows(count, seed=count))
    text = "\n".join([",".join(CANONICAL), *(row for row, _ in made)]) + "\n"
    begin = time.monotonic()
    read = parse(text)
    # far from what it takes, near to what a loop over pairs of rows would
    assert time.monotonic() - begin < 10 + count / 1000
    told = {
        row: (reason, field)
        for row, reason, field in read.rejected.select("row", "reason", "field").iter_rows()
    }
    landed = set(rows_of(read.landed))
    assert landed.isdisjoint(told)
    wrong = [
        (row, expected, told.get(number, "landed" if number in landed else "lost"))
        for number, (row, expected) in enumerate(made, start=2)
        if told.get(number) != expected or (expected is None) != (number in landed)
    ]
    assert wrong == []
    assert read.received == len(made)
    assert read.rejected["payload"].null_count() == 0


@pytest.mark.parametrize("count", [1_000, pytest.param(14_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("preset", ROWS)
def test_spoilt_rows_have_one_fate_each_and_cost_no_other(preset: str, count: int) -> None:
    options = {"in_trunk": "accountcode"} if preset == "freeswitch" else {}
    good, spoilt = ROWS[preset], list(spoilt_rows(preset, count, seed=1))
    # a good row after each, so that what a spoilt one takes along is seen
    text = "".join(f"{row}\n{good}\n" for row in spoilt)
    begin = time.monotonic()
    read = parse(good + "\n" + text, source_of(preset, options=options))
    assert time.monotonic() - begin < 10 + count / 500
    landed, rejected = rows_of(read.landed), read.rejected["row"].to_list()
    assert len({*landed, *rejected}) == len(landed) + len(rejected)
    filtered = sum(one.filtered for one in read.counts)
    assert read.received == len(landed) + len(rejected) + filtered
    missing = {*range(1, 2 * count + 2, 2)} - set(landed)
    assert missing == set(), "good rows that did not land"
    assert read.landed.filter(pl.col("duration_ms") > 31 * 86_400_000).is_empty()
    assert read.landed["b_number"].null_count() == 0


def test_the_balance_of_spoilt_files_is_zero_to_the_last_stage(tmp_path: Path) -> None:
    made = [row for row, _ in canonical_rows(1_500, seed=3)]
    with small_home(tmp_path) as home:
        inbox = tmp_path / "inbox" / "s1"
        inbox.mkdir(parents=True)
        for number, rows in enumerate((made[:1000], made[1000:], ["rubbish"]), start=1):
            text = "\n".join([",".join(CANONICAL), *rows]) + "\n"
            (inbox / f"s1_{number:06}.csv").write_text(text)
        home.runs.take_in()
        counts = home.runs.installation.registry.files.counts(date.min, date.max)
        assert sum(one.received for one in counts) == 1_500
        assert (tmp_path / "quarantine" / "s1" / "s1_000003.csv.reason.txt").read_text()
        assert sum(one.rejected for one in counts) > 500
        days = [date(2026, 3, 10) + timedelta(days=n) for n in range(-3, 4)]
        landed = {one.day for one in counts if one.landed}
        assert landed <= set(days)
        home.runs.rate(days)
        home.runs.marts(["2026-03"])
        found = balance_results(
            home.runs.installation.lake.scan(mart_tables()["record_balance_by_stage"]).collect(),
            "2026-03",
        )
        assert [(one.severity, one.where) for one in found] == [
            ("passed", "2026-03 1_intake"),
            ("passed", "2026-03 2_resolving"),
            ("passed", "2026-03 3_rating"),
        ]


def test_a_bomb_of_any_packing_is_refused_before_it_is_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 50_000_000)
    zeros = gzip.compress(b"0" * 60_000_000)
    for bomb in (zeros, gzip.compress(zeros), _deflated(60_000_000)):
        begin = time.monotonic()
        with pytest.raises(InputError):
            parse(bomb)
        assert time.monotonic() - begin < 5


def _deflated(size: int) -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    return packer.compress(line().encode() * (size // 100)) + packer.flush()


@pytest.mark.parametrize(
    "text",
    [
        "," * 400_000,
        '"' * 200_001,
        "x" * 1_000_000,
        "\n" * 300_000,
        ",".join(CANONICAL) + "\n" + '"' + "a," * 500_000,
        ",".join(f"c{n}" for n in range(100_000)) + "\n" + "," * 99_999,
        "{" * 300_000,
        '{"service":' * 50_000,
    ],
    ids=["commas", "quotes", "a word", "blank", "an open quote", "columns", "braces", "nested"],
)
@pytest.mark.parametrize("preset", ["canonical-csv", "canonical-jsonl", "freeswitch", "sansay"])
def test_text_of_absurd_shape_is_refused_within_bounds(preset: str, text: str) -> None:
    begin = time.monotonic()
    try:
        read = parse(text, source_of(preset))
    except InputError as error:
        assert all(len(problem.value) <= 300 for problem in error.problems)
    else:
        assert read.landed.is_empty()
    assert time.monotonic() - begin < 10


def test_a_parquet_bomb_is_refused_by_its_footer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing_assets.intake.cells.MAX_BYTES", 10_000_000)
    stream = io.BytesIO()
    ids = pl.Series("call_id", [f"{n:0100}" for n in range(200_000)])
    pl.DataFrame([ids, pl.Series("service", ["voice"] * 200_000)]).write_parquet(stream)
    with pytest.raises(InputError, match="holds more than"):
        parse(stream.getvalue(), source_of("canonical-parquet"))


@pytest.mark.parametrize("cell", ['"a', 'a"b', '"a""'], ids=["open", "inside", "doubled"])
def test_a_file_full_of_odd_quotes_is_gone_through_once(cell: str) -> None:
    begin = time.monotonic()
    read = parse(table(line(), *[line(call_id=cell)] * 30_000))
    assert (read.landed.height, read.rejected.height) == (1, 30_000)
    assert time.monotonic() - begin < 10
