"""Switch counters against records: through runs, `icb completeness`, `icb controls`, a finding."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from billing_assets.cli.main import app
from billing_assets.core.errors import InputError
from billing_assets.intake.counters import read_counters
from billing_assets.lake.tables import SWITCH_COUNTER
from tests.support.controls_home import MONTH, SATELLITE, Calls, SmallHome, at, small_home

HEADER = "day,switch,trunk,direction,calls,minutes\n"


def deliver(home: SmallHome, name: str, content: str) -> None:
    folder = home.root / "counters"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallHome]:
    """Three days of 60 calls of a minute from P01 to P02; 2 calls of the 11th never came.

    The counters of the 10th are right, those of the 11th come late, the 12th has none.
    """
    with small_home(tmp_path_factory.mktemp("home")) as home:
        home.deliver([Calls(at(10), 60), Calls(at(11), 58), Calls(at(12), 60)])
        home.deliver([Calls(at(11), 2, SATELLITE), Calls(at(11), 5, trunk="NEW")])
        deliver(home, "a.csv", f"{HEADER}2026-03-10,sw,P01,in,60,60\n2026-03-10,sw,P02,out,60,60\n")
        deliver(home, "wrong.csv", f"{HEADER}2026-03-12,sw,P01,in,60,sixty\n")
        home.rate()
        deliver(
            home,
            "b.csv",
            f"{HEADER}2026-03-11,sw,P01,in,62,62.05\n2026-03-11,sw,NEW,in,5,5.000\n",
        )
        home.runs.take_in()
        home.draft()
        home.runs.marts([MONTH])
        yield home


def icb(home: SmallHome, *arguments: str) -> Any:
    return CliRunner().invoke(app, arguments, env={"ICB_HOME": str(home.root), "ICB_USER": "ana"})


def test_calls_and_minutes_are_compared_by_partner_and_day(home: SmallHome) -> None:
    rows = json.loads(icb(home, "completeness", MONTH, "--json").output)
    told = {
        (row["day"][-2:], row["leg"], row["partner"]): (
            row["counted"],
            row["received"],
            row["rated"],
            row["tolerance"],
        )
        for row in rows
    }
    assert told == {
        ("10", "customer", "P01"): (60, 60, 60, ""),
        ("10", "supplier", "P02"): (60, 60, 60, ""),
        ("11", "customer", ""): (5, 5, 0, ""),
        ("11", "customer", "P01"): (62, 60, 58, "outside"),
        ("11", "supplier", "P02"): (None, 65, 65, ""),
        ("12", "customer", "P01"): (None, 60, 60, ""),
        ("12", "supplier", "P02"): (None, 60, 60, ""),
    }
    [missing] = [row for row in rows if row["tolerance"]]
    # 2.05 minutes at 0.1000
    assert (missing["missing about"], missing["currency"]) == ("0.21", "EUR")
    assert (missing["counted minutes"], missing["received minutes"]) == (62.05, 60.0)


def test_a_missing_record_is_a_finding_of_the_cycle_and_of_the_controls(home: SmallHome) -> None:
    shown = json.loads(icb(home, "cycle", "show", "P01/2026-03", "--json").output)
    [found] = [one for one in shown["findings"] if one["rule"] == "switch_counters"]
    assert "on 2026-03-11 (customer): 62 calls" in found["finding"]
    assert "60 calls, 60.0 minutes received" in found["finding"]
    assert json.loads(icb(home, "sql", found["evidence"], "--json").output)
    other = json.loads(icb(home, "cycle", "show", "P02/2026-03", "--json").output)
    assert "switch_counters" not in {one["rule"] for one in other["findings"]}
    found = json.loads(icb(home, "controls", MONTH, "--json").output)
    [one] = [one for one in found if one["control"] == "completeness"]
    assert (one["partner"], one["where"]) == ("P01", "2026-03-11 customer")
    assert icb(home, "sql", one["query"]).exit_code == 0


def test_a_refused_file_is_kept_with_its_reason_and_a_new_one_replaces_its_days(
    home: SmallHome,
) -> None:
    kept = home.root / "quarantine" / "counters"
    assert "wrong.csv:2 minutes='sixty'" in (kept / "wrong.csv.reason.txt").read_text()
    assert not list((home.root / "counters").iterdir())
    lake = home.runs.installation.lake
    before = lake.scan(SWITCH_COUNTER).collect().height
    deliver(home, "c.csv", f"{HEADER}2026-03-11,sw,P01,in,60,60\n")
    home.runs.take_in()
    counted = lake.scan(SWITCH_COUNTER).collect()
    assert counted.height == before - 1
    home.draft(["P01"])
    shown = json.loads(icb(home, "cycle", "show", "P01/2026-03", "--json").output)
    assert "switch_counters" not in {one["rule"] for one in shown["findings"]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("day,switch,calls\n", "must have the columns"),
        (HEADER, "holds no counter"),
        (f"{HEADER}2026-02-30,sw,P01,in,1,1\n", "x.csv:2 day='2026-02-30': is not a day"),
        (f"{HEADER}2026-03-01,,P01,in,1,1\n", "switch='': is missing"),
        (f"{HEADER}2026-03-01,sw,P01,inbound,1,1\n", "is neither in nor out"),
        (f"{HEADER}2026-03-01,sw,P01,in,-1,1\n", "is not a count of calls"),
        (f"{HEADER}2026-03-01,sw,P01,in,1,1e3\n", "is not a decimal of minutes"),
        (f"{HEADER}2026-03-01,sw,,in,1,1\n", "of a trunk or of a partner"),
        (f"{HEADER}2026-03-01,sw,P01,in,1,1\n2026-03-01,sw,P01,in,1,1\n", "stands twice"),
        (
            "day,switch,partner,direction,calls,minutes\n2026-03-01,sw,P77,in,1,1\n",
            "partner='P77': is no partner",
        ),
        (
            "day,switch,trunk,partner,direction,calls,minutes\n"
            "2026-03-01,sw,A,,in,1,1\n2026-03-01,sw,,P01,in,1,1\n",
            "both would count twice",
        ),
        ("a\x00\xff", "must have the columns"),
    ],
)
def test_wrong_counters_are_refused_by_row_field_and_value(content: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_counters("x.csv", content.encode("latin-1"), ["P01"])
    assert said in str(caught.value)
