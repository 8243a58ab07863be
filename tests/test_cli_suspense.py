"""`icb suspense`: what waits is seen, its cause is mended, and exactly that is tried again."""

import csv
import io
import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from billing_assets.cli.main import app
from billing_assets.core.errors import BillingError
from billing_assets.installation import Installation
from billing_assets.intake.landing import Intake, make_day
from billing_assets.lake.tables import RATED_LEG, SUSPENSE
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.day import rate_day
from billing_assets.reference.versions import approve_reference
from tests.support.billing_home import NOW as BILLED
from tests.support.billing_home import open_home
from tests.support.intake import line, table
from tests.support.intake_home import NOW

DAY = date(2026, 3, 10)
OLD = "{trunk: OPO2/voxhansa, direction: in}"
NEW_TRUNK = {"partners/P03.yaml": {OLD: f"{OLD}, {{trunk: LIS1/sbc-new, direction: in}}"}}


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["suspense", *words])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day of three calls of ours: one priced, one on an unknown trunk, one without a rate; and
    a call of which the last part has not come."""
    root = tmp_path_factory.mktemp("home")
    home = open_home(root)
    part = {"part": "1", "call_id": "long", "record_sequence": "9", "in_trunk": "deccan"}
    text = table(
        line(in_trunk="deccan", out_trunk="core", b_number="97150123456", record_sequence="1"),
        line(in_trunk="sbc-new", out_trunk="core", b_number="351912345678", record_sequence="2"),
        line(in_trunk="deccan", out_trunk="core", b_number="88213123456", record_sequence="3"),
        line(out_trunk="core", b_number="97150123499", **part),
    )
    inbox = home.settings.inbox / "lis1"
    inbox.mkdir(parents=True)
    (inbox / "lis1_20260310_000001.csv").write_text(text)
    Intake(
        lake=home.lake,
        registry=home.registry,
        blobs=home.blobs,
        quarantine=home.settings.quarantine,
        now=NOW,
        who="ana",
    ).take_in(home.settings.inbox, home.reference.sources)
    # at this moment the call may still get its last part
    make_day(home.lake, DAY, NOW.replace(day=11))
    rate_day(home.lake, compile_plan(home.reference, DAY, buckets=home.settings.buckets))
    return root


@pytest.fixture
def home(root: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.setenv("ICB_HOME", str(root))
    return Installation.open()


@pytest.mark.usefixtures("home")
def test_what_waits_is_listed_by_reason_trunk_age_and_value() -> None:
    rows = json.loads(run("list", "--json").output)
    found = {(row["reason"], row["trunk"], row["partner"], row["legs"]) for row in rows}
    assert found == {
        ("MISSING_PART", None, None, 1),
        ("NO_RATE", "LIS1/deccan", "P15", 1),
        ("UNKNOWN_TRUNK", "LIS1/sbc-new", None, 1),
    }
    no_rate = next(row for row in rows if row["reason"] == "NO_RATE")
    assert (no_rate["minutes"], no_rate["currency"], no_rate["oldest"]) == (1, "USD", "2026-03-10")
    assert no_rate["age days"] > 0
    assert no_rate["at risk"] is not None


@pytest.mark.usefixtures("home")
def test_legs_are_told_with_their_file_and_row_in_csv() -> None:
    text = run("list", "--legs", "--reason", "UNKNOWN_TRUNK", "--csv").output
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["file"], row["row"]) == ("lis1_20260310_000001.csv", "3")
    assert (row["b_number"], row["leg"], row["seconds"]) == ("351912345678", "customer", "90")


@pytest.mark.usefixtures("home")
def test_a_day_that_is_none_is_told() -> None:
    assert isinstance(run("list", "--day", "yesterday").exception, BillingError)


@pytest.mark.slow
def test_a_mapped_trunk_is_tried_again_alone_and_the_balance_stays_zero(
    home: Installation, root: Path
) -> None:
    before = home.lake.scan(RATED_LEG).collect()
    open_home(root, NEW_TRUNK)
    approve_reference(
        2, lake=home.lake, registry=home.registry, blobs=home.blobs, now=BILLED, who="bruno"
    )
    done = run("retry", "--reason", "UNKNOWN_TRUNK", "--json")
    assert done.exit_code == 0, done.output
    (day,) = json.loads(done.output[done.output.index("[") :])
    assert (day["tried"], day["rated"], day["waiting"]) == (1, 1, 0)
    after = home.lake.scan(RATED_LEG).collect()
    added = after.join(before, on=["record_id", "leg"], how="anti")
    assert added["partner"].to_list() == ["P03"]
    assert after.join(added, on="record_id", how="anti").equals(before)
    waiting = home.lake.scan(SUSPENSE).select(pl.col("reason").sort()).collect()
    assert waiting["reason"].to_list() == ["MISSING_PART", "NO_RATE"]
    # the call without its last part is closed by now
    assert run("retry").exit_code == 0
    waiting = home.lake.scan(SUSPENSE).select(pl.col("reason").sort()).collect()
    assert waiting["reason"].to_list() == ["NO_RATE"]
    assert home.lake.scan(RATED_LEG).collect().height == before.height + 2
    status = CliRunner().invoke(app, ["status", "--json"])
    assert status.exit_code == 0, status.output
    assert json.loads(status.output)["total"]["difference"] == 0
