"""Several real processes on one lake: other slices, the same slice, and death in mid-write."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from billing_assets.core.errors import SliceConflict
from billing_assets.lake.store import Lake
from tests.support.lake_writers import LEG, MARCH, legs

FIRST = {"day": MARCH[0]}


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes of `lake_writers`; none outlives its test."""
    started = []

    def one(deed: str, lake: Lake, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.support.lake_writers", deed, lake.uri]
        process = subprocess.Popen(
            [*command, *(str(argument) for argument in arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield one
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> list[str]:
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return out.split()


def next_word(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def test_processes_that_create_the_same_table_at_once_all_succeed(start: Start, lake: Lake):
    workers = [start("new_tables", lake, worker, 2, 20) for worker in range(2)]
    assert {word for worker in workers for word in said(worker)} == {"1", "2"}
    for number in range(20):
        days = lake.scan(replace(LEG, name=f"leg_{number}")).collect()["day"]
        assert sorted(days.unique()) == MARCH[:2]


def test_processes_on_different_days_all_succeed(start: Start, lake: Lake):
    workers = [start("own_days", lake, worker, 3) for worker in range(3)]
    versions = [int(word) for worker in workers for word in said(worker)]
    # version 0 creates the table, each day is one commit
    assert sorted(versions) == list(range(1, len(MARCH) + 1))
    amounts = lake.scan(LEG).group_by("day").agg(pl.len(), pl.col("amount_e10").unique())
    assert amounts.sort("day").collect().rows() == [
        (day, 10, [position % 3]) for position, day in enumerate(MARCH)
    ]


def test_of_processes_on_the_same_day_each_wins_or_is_told_to_run_again(start: Start, lake: Lake):
    lake.replace_slice(LEG, legs(MARCH[0]), FIRST)
    workers = [start("one_day", lake, worker, 15) for worker in (1, 2)]
    words = [said(worker) for worker in workers]
    won = {
        int(word): 1000 * worker + attempt
        for worker, own in enumerate(words, 1)
        for attempt, word in enumerate(own)
        if word != "conflict"
    }
    assert sorted(won) == list(range(2, 2 + len(won)))
    for version, amount in won.items():
        at_version = lake.scan(LEG, version).collect()
        assert at_version["amount_e10"].to_list() == [amount] * 10


def test_a_streaming_writer_does_not_undo_what_another_wrote_meanwhile(
    start: Start, lake: Lake, tmp_path: Path
):
    lake.replace_slice(LEG, legs(MARCH[0], amount_e10=1), FIRST)
    go = tmp_path / "go"
    slow = start("slowly", lake, 2, go)
    assert next_word(slow) == "waiting"
    winner = lake.replace_slice(LEG, legs(MARCH[0], amount_e10=3), FIRST)
    go.touch()
    assert said(slow) == ["conflict"]
    assert lake.version(LEG) == winner
    assert lake.scan(LEG).collect()["amount_e10"].to_list() == [3] * 10


def test_a_writer_of_a_day_and_one_of_a_bucket_in_it_conflict(
    start: Start, lake: Lake, tmp_path: Path
):
    go = tmp_path / "go"
    slow = start("slowly", lake, 2, go)
    assert next_word(slow) == "waiting"
    lake.replace_slice(LEG, legs(MARCH[0], bucket=3), {"day": MARCH[0], "bucket": 3})
    go.touch()
    assert said(slow) == ["conflict"]
    assert lake.scan(LEG).collect()["bucket"].to_list() == [3] * 10


def test_a_conflict_names_the_slice_and_says_that_it_is_safe_to_run_again(lake: Lake):
    def and_another_writer(batch: pl.DataFrame) -> pl.DataFrame:
        lake.replace_slice(LEG, legs(MARCH[0]), FIRST)
        return batch

    rows = legs(MARCH[0]).lazy().map_batches(and_another_writer, schema=LEG.schema)
    with pytest.raises(SliceConflict, match=r"replaced leg day=2026-03-01 .*\(.*run it again\)"):
        lake.replace_slice(LEG, rows, FIRST)
    assert len(list(Path(lake.uri).rglob("*.parquet"))) == 1


def test_a_writer_killed_at_any_moment_leaves_the_table_at_a_whole_version(
    start: Start, lake: Lake
):
    moments = random.Random(20260301)
    written = 0
    for _ in range(6):
        writer = start("for_ever", lake, written + 1)
        next_word(writer)
        time.sleep(moments.uniform(0, 0.15))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        rows = lake.scan(LEG).group_by("bucket").agg(pl.len(), pl.col("amount_e10").unique())
        buckets = rows.sort("bucket").collect()
        assert buckets["len"].to_list() == [20_000] * 4
        assert buckets["amount_e10"].to_list() == [buckets["amount_e10"][0].to_list()] * 4
        [amount] = buckets["amount_e10"][0]
        assert amount > written
        written = amount
    # nothing needs repair: the next writer goes on, and vacuum takes what the dead left behind
    lake.replace_slice(LEG, legs(MARCH[0]), FIRST)
    version = lake.version(LEG)
    assert version is not None
    lake.vacuum(LEG, [version], older_than_hours=0)
    assert len(list(Path(lake.uri).rglob("*.parquet"))) == 1
    assert lake.scan(LEG).collect().height == 10
