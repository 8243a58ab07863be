"""Re-ratings as processes: killed anywhere, and two at once on the same slices."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.lake.tables import RATED_LEG, SUSPENSE, USAGE_DAILY, XDR
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.day import rate_day
from billing_assets.rating.requests import fields_of
from billing_assets.rating.scope import RatingScope
from billing_assets.reference.versions import take_reference
from billing_assets.registry.schema import RerateState
from tests.support.records import frame, record
from tests.support.references import CARRIER, agreement, partner

NOW = datetime(2026, 4, 2, 8, tzinfo=UTC)
MONTH = [date(2026, 3, 1) + timedelta(days=n) for n in range(31)]
ROOT = Path(__file__).parents[1]
KILLS = 5
OLD, NEW = 6_000_000_000, 6_600_000_000
"""Prices of a minute to the UK before and after, in 10^-10 EUR."""


def files(uk: str, france: str) -> dict[str, bytes]:
    deck = [
        {"code": "44", "destination": "UK", "rate": uk},
        {"code": "33", "destination": "France", "rate": france},
    ]
    return {
        "carrier.yaml": json.dumps(CARRIER).encode(),
        "partners/P01.yaml": json.dumps(partner()).encode(),
        "agreements/A.yaml": json.dumps(agreement(rates=deck)).encode(),
    }


def load(home: Installation, uk: str, france: str) -> None:
    stores = {"lake": home.lake, "registry": home.registry, "blobs": home.blobs}
    taken = take_reference(files(uk, france), **stores, now=NOW, who="rita")
    if not taken.in_force:
        home.registry.versions.approve_reference(taken.number, now=NOW, who="paulo")


def opened(root: Path) -> Installation:
    return Installation.open(Settings(home=root, user="ana"))


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A month of forty calls a day, half to the UK at 0.60 a minute, half to France at 0.30; a
    dearer sheet, 0.66 and 0.45, is in force since."""
    root = tmp_path_factory.mktemp("rated")
    home = opened(root)
    load(home, "0.60", "0.30")
    for n, day in enumerate(MONTH):
        at = datetime(2026, 3, day.day, 12, tzinfo=UTC)
        calls = [
            record(100 * n + m, at=at, b="447700900123" if m % 2 else "331234567890")
            for m in range(40)
        ]
        home.lake.replace_slice(XDR, frame(*calls).lazy(), {"day": day})
    rate_month(home)
    load(home, "0.66", "0.45")
    home.registry.close()
    return root


def rate_month(home: Installation) -> None:
    for day in MONTH:
        rate_day(home.lake, compile_plan(home.reference, day, buckets=home.settings.buckets))


@pytest.fixture
def home(rated: Path, tmp_path: Path) -> Installation:
    shutil.copytree(rated, tmp_path, dirs_exist_ok=True)
    return opened(tmp_path)


def ask(home: Installation, *destinations: str) -> int:
    scope = RatingScope(MONTH[0], MONTH[-1], destinations=destinations)
    return home.registry.rerates.make(fields_of(scope), "dearer", now=NOW, who="ana").number


def worker(home: Installation, request: int) -> subprocess.Popen[str]:
    """A process that carries out a request once it gets a line."""
    started = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.support.rerate_worker",
            str(home.settings.root),
            str(request),
        ],
        cwd=ROOT,
        env={**os.environ, "POLARS_MAX_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout and started.stdout.readline() == "ready\n"
    return started


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()


def last_word(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    words = process.stdout.read()
    process.wait(timeout=120)
    return words.strip()


def prices(home: Installation) -> dict[date, set[int]]:
    """The prices of UK legs by day."""
    legs = home.lake.scan(RATED_LEG).filter(pl.col("destination") == "UK")
    rows = legs.group_by("day").agg(pl.col("amount_e10").unique()).collect()
    return {day: set(amounts) for day, amounts in rows.iter_rows()}


def assert_as_from_scratch(home: Installation, tmp_path: Path, rated: Path) -> None:
    """Legs and sums are those of rating the month anew; none was lost."""
    shutil.copytree(rated, tmp_path / "scratch")
    scratch = opened(tmp_path / "scratch")
    rate_month(scratch)
    for table in (RATED_LEG, SUSPENSE, USAGE_DAILY):
        columns = [name for name in table.schema if name != "rerate_request"]
        one, other = (
            stores.scan(table).select(columns).sort(columns).collect()
            for stores in (home.lake, scratch.lake)
        )
        # legs that kept their price keep the plan that gave it
        drop = [name for name in ("plan", "rate_ref") if name in columns]
        assert one.drop(drop).equals(other.drop(drop)), table.name


def test_killed_at_any_point_a_day_has_old_or_new_prices_and_the_next_run_completes(
    home: Installation, rated: Path, tmp_path: Path
) -> None:
    request = ask(home, "UK")
    seed = 20260323
    chance = random.Random(seed)
    killed = 0
    for _ in range(KILLS):
        process = worker(home, request)
        go(process)
        time.sleep(chance.uniform(0.01, 0.6))
        process.kill()
        killed += process.wait(timeout=60) != 0
        states = prices(home)
        assert len(states) == len(MONTH), seed
        assert all(amounts in ({OLD}, {NEW}) for amounts in states.values()), (seed, states)
        if home.registry.rerates.get(request).state is RerateState.DONE:
            break
    assert killed
    process = worker(home, request)
    go(process)
    assert last_word(process) == "done"
    assert home.registry.rerates.get(request).state is RerateState.DONE
    assert all(amounts == {NEW} for amounts in prices(home).values())
    france = worker(home, ask(home, "France"))
    go(france)
    assert last_word(france) == "done"
    assert_as_from_scratch(home, tmp_path, rated)


def test_two_at_once_on_the_same_slices_both_succeed_or_are_refused_and_none_is_lost(
    home: Installation, rated: Path, tmp_path: Path
) -> None:
    requests = [ask(home, "UK"), ask(home, "France")]
    processes = [worker(home, request) for request in requests]
    for process in processes:
        go(process)
    said = [last_word(process) for process in processes]
    for request, word in zip(requests, said, strict=True):
        if word != "done":
            assert word.startswith("refused"), word
            assert "another" in word, word
            again = worker(home, request)
            go(again)
            assert last_word(again) == "done"
    assert_as_from_scratch(home, tmp_path, rated)
