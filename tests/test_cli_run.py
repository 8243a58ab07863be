"""`icb run` rates whatever has not its fate yet, whichever run brought it, and the balance is 0."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from billing_assets.cli.main import app
from billing_assets.controls.balance import unmade_days
from billing_assets.controls.day import record_fates
from billing_assets.intake.landing import make_day
from billing_assets.lake.tables import RATED_LEG, RECORD_FATE
from tests.support.controls_home import Calls, SmallHome, at, reference_files, small_home
from tests.support.intake import line, table
from tests.support.intake_home import NOW, IntakeHome, opened

OWN = [f"sw-s1/{trunk}" for trunk in ("P01", "P02", "TG01", "TG09")]
TENTH, ELEVENTH = date(2026, 3, 10), date(2026, 3, 11)


def part(number: int, begun: str, seconds: int, **changes: str) -> str:
    """A part of one long call to France that begins on 10 March."""
    begin = datetime.fromisoformat(begun).replace(tzinfo=UTC)
    end = begin.timestamp() + seconds
    cells = {
        "in_trunk": "P01",
        "out_trunk": "P02",
        "setup_time": f"{begin:%Y-%m-%dT%H:%M:%S}Z",
        "answer_time": f"{begin:%Y-%m-%dT%H:%M:%S}Z",
        "end_time": f"{datetime.fromtimestamp(end, UTC):%Y-%m-%dT%H:%M:%S}Z",
        "duration_ms": str(seconds * 1000),
        "b_number": "33612345678",
        "call_id": "long",
        "record_sequence": "",
        "part": str(number),
        "last_part": "true" if number == 3 else "",
    }
    return line(**{**cells, **changes})


FIRST = part(1, "2026-03-10 23:30:00", 1800)
MIDDLE = part(2, "2026-03-11 00:00:00", 1800)
LAST = part(3, "2026-03-11 00:30:00", 600)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[IntakeHome]:
    with opened(tmp_path / "home") as made:
        yield made


def make(home: IntakeHome, *days: date) -> None:
    """Make days and the fates of their records, which no partner has a side in."""
    for day in days:
        make_day(home.lake, day, NOW)
        home.lake.replace_slice(RECORD_FATE, record_fates(home.lake, OWN, day), {"day": day})


def test_a_part_that_comes_later_asks_for_the_day_on_which_its_call_began(
    home: IntakeHome,
) -> None:
    days = [TENTH, ELEVENTH]
    home.put("s1_000001.csv", table(FIRST, LAST))
    home.take_in()
    assert unmade_days(home.lake, home.registry, days) == days
    make(home, *days)
    assert unmade_days(home.lake, home.registry, days) == []
    home.put("s1_000002.csv", table(MIDDLE))
    home.take_in()
    assert unmade_days(home.lake, home.registry, days) == days
    make(home, *days)
    assert unmade_days(home.lake, home.registry, days) == []


def test_records_of_a_day_made_before_ask_for_it_whoever_landed_them(home: IntakeHome) -> None:
    home.put("s1_000001.csv", table(line()))
    home.take_in()
    make(home, TENTH)
    assert unmade_days(home.lake, home.registry, [TENTH, ELEVENTH]) == []
    home.put("s1_000002.csv", table(line(call_id="late")))
    home.take_in()
    assert unmade_days(home.lake, home.registry, [TENTH, ELEVENTH]) == [TENTH]


def run(*words: str) -> str:
    answer = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.output


def total() -> dict[str, int]:
    """The record balance of the home; `icb status` ends with 0 only when all is accounted for."""
    text = run("status", "--json")
    return json.loads(text[text.index("{") :])["total"]


def put(home: SmallHome, name: str, *lines: str) -> None:
    path = home.root / "inbox" / "s1" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(table(*lines))


def test_a_record_of_a_year_to_come_stops_no_other(tmp_path: Path) -> None:
    with small_home(tmp_path) as home:
        put(home, "s1_000001.csv", part(1, "2099-03-10 12:00:00", 60))
        home.deliver([Calls(at(12), 1)], sequence=2)
        home.runs.take_in()
        assert home.runs.outside() == [date(2099, 3, 10)]
        assert home.runs.to_make() == [date(2026, 3, 12)]


@pytest.mark.slow
def test_what_comes_piece_by_piece_over_runs_that_died_is_rated_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICB_HOME", str(tmp_path))
    with small_home(tmp_path) as home:
        home.refer(reference_files())
        home.deliver([Calls(at(10), 2)])
        put(home, "s1_000002.csv", FIRST, LAST)
        put(home, "s1_000003.csv", line(in_trunk="P01", b_number="none"))
        run("run")
        counts = total()
        # a file whose rows are all refused is of the day on which it came
        assert (counts["received"], counts["rejected"], counts["suspense"]) == (5, 1, 2)
        put(home, "s1_000004.csv", MIDDLE)
        run("run")
        counts = total()
        assert (counts["merged"], counts["suspense"], counts["rated"]) == (2, 0, 3)
        home.deliver([Calls(at(10, 14), 3)], sequence=5)
        home.runs.take_in()  # and then it died
        run("run")
        counts = total()
        assert (counts["received"], counts["rated"], counts["difference"]) == (9, 6, 0)
        legs = home.runs.installation.lake.scan(RATED_LEG).collect()
        # 5 calls of a minute, and one of 1800 + 1800 + 600 s, at 0.1000 a minute
        sold = legs.filter(leg="customer")["amount_e10"].sum()
        assert sold == (5 + 70) * 10**9
