"""What was done is taken back exactly: a request that re-rated, a file that must not count."""

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from billing_assets.cli.main import app
from billing_assets.core.errors import BillingError, StateError
from billing_assets.core.ids import record_id
from billing_assets.installation import Installation
from billing_assets.intake.landing import Intake
from billing_assets.intake.withdrawal import file_named, replay, withdraw
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import LANDED, RATED_LEG, SUSPENSE, XDR
from billing_assets.orchestration.runs import Runs
from billing_assets.rating.follow import follow_day
from billing_assets.rating.rollback import rollback_day
from billing_assets.registry.rerates import Day
from billing_assets.registry.schema import FileState
from tests.support.billing_home import open_home
from tests.support.intake import line, table
from tests.support.intake_home import NOW
from tests.support.records import frame
from tests.test_rerate_day import (
    BEFORE,
    BUCKETS,
    PRICE,
    TEN,
    again,
    assert_summed,
    day_of,
    legs,
    rates,
    traffic,
    waiting,
    words,
    world,
)

DEARER = world(
    P01=rates(c44="0.70", c447="0.90", c33="0.35"),
    P02=rates(c44="0.50", c33="0.20"),
    P03=rates(c44="0.40"),
    S=rates(c44="0.25", c33="0.10"),
)
FILE = "lis1_20260310_000001.csv"


def run_of(lake: Lake, before: int | None, request: int = 7) -> Day:
    """What the log holds of a run of a request on the day."""
    after = lake.version(RATED_LEG)
    return Day(request, TEN, 1, "", "", before, after, 0, 0, [], datetime(2026, 4, 2, tzinfo=UTC))


def taken_back(lake: Lake, before: int | None, by: int = 8) -> int:
    return rollback_day(
        lake,
        [run_of(lake, before)],
        TEN,
        earlier=lambda: [BEFORE],
        buckets=BUCKETS,
        request=by,
    ).changed


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_request_taken_back_leaves_the_prices_of_before(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    draw = data.draw
    names = ("c44", "c447", "c33", "c49")
    decks = {
        deck: rates(**{n: draw(words) for n in names}, c1="1")
        for deck in ("P01", "P02", "P03", "S")
    }
    after = world(trunk=draw(st.sampled_from(["P02", "P01", ""])), **decks)
    partners = tuple(draw(st.lists(st.sampled_from(["P01", "P02"]), unique=True)))
    lake = day_of(tmp_path_factory.mktemp("back"), BEFORE, *traffic())
    first, waited, version = legs(lake), waiting(lake), lake.version(RATED_LEG)
    done = again(lake, after, partners=partners)
    undone = taken_back(lake, version)
    now = legs(lake)
    assert now.keys() == first.keys()
    assert {k: [v[c] for c in PRICE] for k, v in now.items()} == {
        k: [v[c] for c in PRICE] for k, v in first.items()
    }
    # the reason for which a leg waits may be that of today's reference data
    assert waiting(lake).keys() == waited.keys()
    assert_summed(lake)
    if partners:
        assert undone <= done.changed
        # untouched legs are as they were in every column
        assert all(v == first[k] for k, v in now.items() if v["rerate_request"] is None)


def test_what_was_priced_since_stays(tmp_path: Path) -> None:
    lake = day_of(tmp_path, BEFORE, *traffic())
    version = lake.version(RATED_LEG)
    again(lake, DEARER, partners=("P01",))
    middle = run_of(lake, version)
    frozen = lake.scan(RATED_LEG).filter(pl.col("destination") == "D33").collect()
    lake.replace_slice(
        RATED_LEG,
        lake.scan(RATED_LEG)
        .collect()
        .with_columns(
            pl.when(pl.col("destination") == "D33")
            .then(9)
            .otherwise("rerate_request")
            .alias("rerate_request")
        ),
        {"day": TEN},
    )
    rollback_day(lake, [middle], TEN, earlier=lambda: [BEFORE], buckets=BUCKETS, request=8)
    now = lake.scan(RATED_LEG).filter(pl.col("destination") == "D33").collect()
    assert sorted(now["amount_e10"]) == sorted(frozen["amount_e10"])


def test_legs_that_only_an_older_version_left_without_a_price_wait_again(tmp_path: Path) -> None:
    """Another request's plan of the same version, of other partners, stands in between."""
    others = rates(c33="0.10")
    oldest = world(P01=rates(c33="0.30"), P02=others, P03=others, S=others)
    lake = day_of(tmp_path, oldest, *traffic())
    waited, version = waiting(lake), lake.version(RATED_LEG)
    again(lake, BEFORE, partners=("P01",))
    assert waiting(lake).keys() < waited.keys()
    rollback_day(
        lake,
        [run_of(lake, version)],
        TEN,
        earlier=lambda: [BEFORE, oldest],
        buckets=BUCKETS,
        request=8,
    )
    assert waiting(lake).keys() == waited.keys()
    assert_summed(lake)


def test_a_leg_whose_record_is_gone_since_is_not_brought_back(tmp_path: Path) -> None:
    """It lost its price first, then its file was withdrawn."""
    lake = day_of(tmp_path, BEFORE, *traffic())
    version = lake.version(RATED_LEG)
    others = rates(c33="0.10")
    again(lake, world(P01=rates(c33="0.30"), P02=others, P03=others, S=others), partners=("P01",))
    run = run_of(lake, version)
    gone = (
        lake.scan(RATED_LEG, version)
        .collect()
        .join(lake.scan(RATED_LEG).collect(), on=["record_id", "leg"], how="anti")["record_id"][0]
    )
    kept = [one for one in traffic() if one["record_id"] != gone]
    lake.replace_slice(XDR, frame(*kept).lazy(), {"day": TEN})
    rollback_day(lake, [run], TEN, earlier=lambda: [BEFORE], buckets=BUCKETS, request=8)
    assert gone not in {record for record, _ in legs(lake)}
    assert {record for record, _ in legs(lake)} <= {one["record_id"] for one in kept}


def test_a_version_that_is_gone_is_told(tmp_path: Path) -> None:
    lake = day_of(tmp_path, BEFORE, *traffic())
    again(lake, DEARER, partners=("P01",))
    with pytest.raises(BillingError, match="has no version 99"):
        rollback_day(
            lake,
            [run_of(lake, 99)],
            TEN,
            earlier=lambda: [BEFORE],
            buckets=BUCKETS,
            request=8,
        )


def test_legs_follow_their_records_and_all_others_stay(tmp_path: Path) -> None:
    """A file's records go, another's come, one lasts longer: as rated from scratch."""
    mine = [{**one, "record_id": record_id(5, n)} for n, one in enumerate(traffic(), 1)]
    theirs = [{**one, "record_id": record_id(6, n)} for n, one in enumerate(traffic(), 1)]
    lake = day_of(tmp_path / "lake", BEFORE, *mine, *theirs)
    before = legs(lake)
    longer = {**theirs[0], "duration_ms": 999_000, "end_time": theirs[0]["end_time"]}
    left = [longer, *theirs[1:], {**mine[3], "record_id": record_id(7, 1)}]
    lake.replace_slice(XDR, frame(*left).lazy(), {"day": TEN})
    done = follow_day(lake, BEFORE, TEN, 5, buckets=BUCKETS, request=3)
    scratch = day_of(tmp_path / "scratch", BEFORE, *left)
    now, wanted = legs(lake), legs(scratch)
    assert {k: [v[c] for c in PRICE] for k, v in now.items()} == {
        k: [v[c] for c in PRICE] for k, v in wanted.items()
    }
    assert waiting(lake) == waiting(scratch)
    assert_summed(lake)
    assert done.changed
    same = [k for k in now if k in before and now[k]["rerate_request"] is None]
    assert same
    assert all(now[k] == before[k] for k in same)
    again_done = follow_day(lake, BEFORE, TEN, 5, buckets=BUCKETS, request=4)
    assert again_done.changed == 0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Two files of one day, the second with a copy of a record of the first."""
    monkeypatch.setenv("ICB_HOME", str(tmp_path))
    home = open_home(tmp_path)
    inbox = home.settings.inbox / "lis1"
    inbox.mkdir(parents=True)
    calls = [
        line(in_trunk="deccan", out_trunk="core", b_number=f"9715012345{n}", record_sequence=str(n))
        for n in range(4)
    ]
    (inbox / FILE).write_text(table(*calls))
    (inbox / FILE.replace("01.csv", "02.csv")).write_text(table(calls[0], line(out_trunk="core")))
    Intake(
        lake=home.lake,
        registry=home.registry,
        blobs=home.blobs,
        quarantine=home.settings.quarantine,
        now=NOW,
        who="ana",
    ).take_in(home.settings.inbox, home.reference.sources)
    return home


def test_a_withdrawn_file_counts_as_filtered_and_comes_back_whole(home: Installation) -> None:
    stores = {"lake": home.lake, "log": home.registry.files, "now": NOW, "who": "ana"}
    landed = home.lake.scan(LANDED).collect().sort("record_id")
    entry = file_named(home.registry.files, FILE)
    with pytest.raises(StateError, match="for a reason"):
        withdraw(entry, " ", **stores)
    assert withdraw(entry, "sent twice", **stores) == [TEN]
    assert home.lake.scan(LANDED).collect().height == landed.height - 4
    gone = file_named(home.registry.files, entry.sha256)
    assert (gone.state, gone.message) == (FileState.WITHDRAWN, "sent twice")
    (count,) = [
        c for c in home.registry.files.counts(TEN, NOW.date()) if c.file_key == entry.file_key
    ]
    assert (count.received, count.landed, count.filtered) == (4, 0, 4)
    # the same bytes in the inbox do not bring it back
    inbox = home.settings.inbox / "lis1"
    (inbox / FILE).write_bytes(home.blobs.get(entry.archive_path))
    intake = Intake(
        lake=home.lake,
        registry=home.registry,
        blobs=home.blobs,
        quarantine=home.settings.quarantine,
        now=NOW,
        who="ana",
    )
    report = intake.take_in(home.settings.inbox, home.reference.sources)
    assert (report.landed, list(inbox.iterdir())) == ([], [])
    replay(gone, "it was right", home.reference.sources, blobs=home.blobs, **stores)
    assert home.lake.scan(LANDED).collect().sort("record_id").equals(landed)
    assert file_named(home.registry.files, FILE).state is FileState.LANDED


@pytest.mark.slow
def test_withdrawing_by_the_command_line_balances_and_is_taken_back(home: Installation) -> None:
    run = CliRunner()
    with Runs.of(home.settings) as runs:
        runs.rate([TEN])
        runs.marts(["2026-03"])
    before = legs(home.lake)
    done = run.invoke(app, ["intake", "withdraw", FILE, "--reason", "sent twice"])
    assert done.exit_code == 0, done.output
    # of the record that both files have, the copy counts now
    assert len(legs(home.lake)) == len(before) - 3
    status = run.invoke(app, ["status", "--json"])
    assert json.loads(status.output)["total"]["difference"] == 0, status.output
    done = run.invoke(app, ["intake", "replay", FILE, "--reason", "it was right"])
    assert done.exit_code == 0, done.output
    prices = {k: [v[c] for c in PRICE] for k, v in legs(home.lake).items()}
    assert prices == {k: [v[c] for c in PRICE] for k, v in before.items()}
    status = run.invoke(app, ["status", "--json"])
    assert json.loads(status.output)["total"]["difference"] == 0, status.output
    requests = json.loads(run.invoke(app, ["rerate", "list", "--json"]).output)
    assert [one["state"] for one in requests] == ["done", "done"]
    assert home.lake.scan(SUSPENSE).collect().height == 1
