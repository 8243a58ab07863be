"""Pre-invoice validation, as its users see it: runs, `icb cycle show`, `icb cycle waive`."""

import json
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from billing_assets.cli.main import app
from billing_assets.controls.balance import imbalances
from billing_assets.controls.day import control_day
from billing_assets.controls.sample import disagreements
from billing_assets.core.errors import InputError
from billing_assets.lake.tables import RATED_LEG
from billing_assets.reference.load import load_reference
from tests.support.controls_home import (
    FRANCE,
    MONTH,
    SATELLITE,
    TOGO,
    Calls,
    SmallHome,
    at,
    reference_files,
    small_home,
)

CYCLE = "P01/2026-03"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallHome]:
    """Weekdays of March with 60 calls at noon, but the 18th; 5 calls without a rate."""
    root = tmp_path_factory.mktemp("home")
    controls = {"partners": {"P01": {"thresholds": {"suspense_share": "0.001"}}}}
    lapsed = {"category": "AE", "vat_id": "DE312746388", "vat_valid_to": "2026-03-22"}
    with small_home(root, controls=controls, P01={"tax": lapsed}) as home:
        home.deliver([Calls(at(day), 60, FRANCE) for day in (4, 11, 12, 13)])
        home.deliver([Calls(at(25), 60, FRANCE), Calls(at(20), 3, TOGO)], sequence=3)
        home.deliver([Calls(at(24), 5, SATELLITE)], sequence=4)
        home.rate()
        home.draft()
        yield home


def icb(home: SmallHome, *arguments: str, user: str = "carla") -> Any:
    return CliRunner().invoke(app, arguments, env={"ICB_HOME": str(home.root), "ICB_USER": user})


def shown(home: SmallHome, cycle: str = CYCLE) -> dict[str, Any]:
    result = icb(home, "cycle", "show", cycle, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_what_blocks_a_partner_stops_its_cycle_alone(home: SmallHome) -> None:
    found = {one["rule"]: one for one in shown(home)["findings"]}
    assert shown(home)["state"] == "blocked"
    assert shown(home, "P02/2026-03")["state"] == "draft"
    blocking = {rule for rule, one in found.items() if one["severity"] == "blocking"}
    assert blocking == {"suspense", "vat_validity"}
    assert "lapsed on 2026-03-22" in found["vat_validity"]["finding"]
    assert "5 legs wait in suspense: NO_RATE" in found["suspense"]["finding"]
    assert found["zero_rate"]["finding"].startswith("3 answered records at a rate of zero: Togo")
    assert "no record on 2026-03-18 where 60 are usual" in found["missing_days"]["finding"]
    assert "1 files missing: 2" in found["sequence_gap"]["finding"]
    assert all(one["owner"] for one in found.values())


def test_every_finding_has_a_query_that_runs_and_shows_rows(home: SmallHome) -> None:
    for one in shown(home)["findings"]:
        result = icb(home, "sql", one["evidence"], "--json")
        assert result.exit_code == 0, (one["rule"], result.output)
        assert json.loads(result.output), one["rule"]


def test_a_named_person_waives_what_blocks_and_the_cycle_goes_on(home: SmallHome) -> None:
    refused = icb(home, "cycle", "waive", CYCLE, "zero_rate", "--reason", "agreed")
    assert refused.exit_code != 0
    assert "does not block it" in str(refused.exception)
    blank = icb(home, "cycle", "waive", CYCLE, "suspense", "--reason", " ")
    assert "needs a reason" in str(blank.exception)
    first = icb(home, "cycle", "waive", CYCLE, "suspense", "--reason", "billed in April")
    assert "still blocked by vat_validity" in first.output
    second = icb(home, "cycle", "waive", CYCLE, "vat_validity", "--reason", "renewal seen")
    assert "icb cycle run" in second.output
    home.draft(["P01"])
    after = shown(home)
    assert after["state"] == "draft", [f["finding"] for f in after["findings"]][-2:]
    waived = {one["rule"]: one["waived"] for one in after["findings"] if one["waived"]}
    assert waived == {"suspense": "carla: billed in April", "vat_validity": "carla: renewal seen"}
    entries = home.runs.installation.registry.audit.entries(f"cycle:{CYCLE}")
    logged = [(e.who, json.loads(e.after or "{}")) for e in entries if e.action == "cycle.waive"]
    assert [(who, after["rule"], after["reason"]) for who, after in logged] == [
        ("carla", "suspense", "billed in April"),
        ("carla", "vat_validity", "renewal seen"),
    ]


def test_a_leg_that_is_priced_otherwise_fails_the_sample_and_a_lost_one_the_balance(
    home: SmallHome,
) -> None:
    lake, reference = home.runs.installation.lake, home.runs.installation.reference
    registry, blobs = home.runs.installation.registry, home.runs.installation.blobs
    day = at(4).date()
    assert disagreements(lake, registry, blobs, day, 200) == (60, [])
    assert imbalances(lake, registry, [day]) == []
    legs = lake.scan(RATED_LEG, part={"day": day}).collect()
    wrong = legs["record_id"].min()
    one = pl.col("record_id") == wrong
    dearer = legs.with_columns(pl.col("amount_e10") + one.cast(pl.Int64))
    lake.replace_slice(RATED_LEG, dearer, {"day": day})
    _, found = disagreements(lake, registry, blobs, day, 200)
    assert {(each.record_id, each.leg) for each in found} == {
        (wrong, "customer"),
        (wrong, "supplier"),
    }
    lake.replace_slice(RATED_LEG, legs.filter(~one), {"day": day})
    control_day(lake, reference, day)
    [lost] = imbalances(lake, registry, [day])
    assert (lost.difference, lost.difference_ms) == (1, 60_000)
    lake.replace_slice(RATED_LEG, legs, {"day": day})
    control_day(lake, reference, day)
    assert imbalances(lake, registry, [day]) == []


def test_icb_controls_shows_the_balance_the_anomalies_and_the_exceptions(home: SmallHome) -> None:
    home.runs.marts([MONTH])
    result = icb(home, "controls", MONTH, "--json")
    found = json.loads(result.output)
    balance = [one for one in found if one["control"] == "record_balance"]
    assert [(one["severity"], one["where"]) for one in balance] == [
        ("passed", "2026-03 1_intake"),
        ("passed", "2026-03 2_resolving"),
        ("passed", "2026-03 3_rating"),
    ]
    assert "308 records in 3 files, difference 0" in balance[0]["finding"]
    negative = [one for one in found if one["control"] == "negative_margin"]
    assert [(one["partner"], one["where"], one["finding"]) for one in negative] == [
        ("P01", "2026-03-20 Togo via P02", "sold below cost, margin -0.03")
    ]
    assert {one["waived"] for one in found if one["control"] == "vat_validity"} == {
        "carla: renewal seen"
    }
    assert result.exit_code == 1
    table = icb(home, "controls", MONTH, "--severity", "error")
    assert "sold below cost" in table.output
    for one in found:
        assert icb(home, "sql", one["query"]).exit_code == 0, one


@pytest.mark.parametrize(
    ("controls", "said"),
    [
        ({"rules": {"no_such": {"severity": "off"}}}, "there is no rule no_such"),
        ({"rules": {"change": {"severity": "loud"}}}, "'blocking', 'warning', 'info' or 'off'"),
        ({"thresholds": {"suspense_share": "1.5"}}, "less than or equal to 1"),
        ({"partners": {"P01": {"thresholds": {"loud": 1}}}}, "partners.P01.thresholds.loud"),
        ({"partners": {"P99": {}}}, "is no partner"),
    ],
)
def test_wrong_controls_are_refused_at_load(controls: dict[str, Any], said: str) -> None:
    files = {**reference_files(), "controls.yaml": json.dumps(controls).encode()}
    try:
        problems = [str(one) for one in load_reference(files).problems]
    except InputError as error:
        problems = [str(one) for one in error.problems]
    assert any(said in one for one in problems), problems
    assert all("controls.yaml" in one for one in problems)
