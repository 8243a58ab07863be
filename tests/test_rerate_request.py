"""Re-rate requests through the asset and the command line: who, why, what, and every price."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock

import dagster as dg
import polars as pl
import pytest
from typer.testing import CliRunner

from billing_assets.cli.main import app
from billing_assets.core.errors import BillingError, StateError
from billing_assets.installation import Installation
from billing_assets.lake.tables import RATED_LEG, XDR
from billing_assets.orchestration.assets.rating import rated_usage, rerate_dry_run
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.day import rate_day
from billing_assets.rating.history import price_history
from billing_assets.rating.requests import FILE_KEY, fields_of, run_request, scope_of
from billing_assets.rating.scope import RatingScope
from billing_assets.reference.models import Leg, Service
from billing_assets.reference.versions import take_reference
from billing_assets.registry.schema import RerateState
from tests.support.records import frame, record
from tests.support.references import CARRIER, agreement, partner

NOW = datetime(2026, 4, 2, 8, tzinfo=UTC)
DAYS = [date(2026, 3, 10), date(2026, 3, 11)]


def files(price: str) -> dict[str, bytes]:
    deck = [
        {"code": "44", "destination": "UK", "rate": price},
        {"code": "33", "destination": "France", "rate": "0.30"},
    ]
    return {
        "carrier.yaml": json.dumps(CARRIER).encode(),
        "partners/P01.yaml": json.dumps(partner()).encode(),
        "agreements/A.yaml": json.dumps(agreement(rates=deck)).encode(),
    }


def load(home: Installation, price: str) -> None:
    """Load a reference in which a minute to the UK has a price; a second person approves it."""
    stores = {"lake": home.lake, "registry": home.registry, "blobs": home.blobs}
    taken = take_reference(files(price), **stores, now=NOW, who="rita")
    if not taken.in_force:
        home.registry.versions.approve_reference(taken.number, now=NOW, who="paulo")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """Two days of ten calls, half to the UK, rated at 0.60 a minute."""
    monkeypatch.setenv("ICB_HOME", str(tmp_path))
    monkeypatch.setenv("ICB_USER", "rita")
    # the records below came with no file, so the file log cannot balance
    monkeypatch.setattr("billing_assets.orchestration.checks.imbalances", lambda *_: [])
    opened = Installation.open()
    load(opened, "0.60")
    for n, day in enumerate(DAYS):
        calls = [
            record(
                100 * n + m,
                at=datetime(2026, 3, day.day, 12, tzinfo=UTC),
                b="447700900123" if m % 2 else "331234567890",
            )
            for m in range(10)
        ]
        opened.lake.replace_slice(XDR, frame(*calls).lazy(), {"day": day})
    materialize(opened, {})
    yield opened
    opened.registry.close()


def materialize(
    home: Installation, config: dict[str, object], asset: dg.AssetsDefinition = rated_usage
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [rated_usage, rerate_dry_run, dg.AssetSpec("xdr"), dg.AssetSpec("day_terms")],
        selection=[asset],
        resources={"installation": dg.ResourceDefinition.hardcoded_resource(home)},
        tags={
            "dagster/asset_partition_range_start": DAYS[0].isoformat(),
            "dagster/asset_partition_range_end": DAYS[-1].isoformat(),
        },
        run_config={"ops": {asset.op.name: {"config": config}}},
        raise_on_error=True,
    )


def prices(home: Installation) -> dict[tuple[date, str | None], set[int | None]]:
    """Amounts by day and destination, in 10^-10 units."""
    legs = home.lake.scan(RATED_LEG).select("day", "destination", "amount_e10").collect()
    return {
        key: set(rows["amount_e10"])  # pyright: ignore[reportReturnType]
        for key, rows in legs.partition_by("day", "destination", as_dict=True).items()
    }


def icb(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    if isinstance(result.exception, BillingError):
        return 2, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_a_run_with_a_scope_leaves_a_request_with_all_that_it_did(home: Installation) -> None:
    load(home, "0.66")
    materialize(home, {"reason": "a corrected sheet", "destinations": ["UK"]})
    assert {key[1]: amounts for key, amounts in prices(home).items()} == {
        "UK": {6_600_000_000},
        "France": {3_000_000_000},
    }
    [request] = home.registry.rerates.list()
    assert (request.state, request.made_by, request.reason) == (
        RerateState.DONE,
        "rita",
        "a corrected sheet",
    )
    assert scope_of(request.scope) == RatingScope(DAYS[0], DAYS[1], destinations=("UK",))
    days = home.registry.rerates.days(request.number)
    assert [(day.day, day.candidates, day.changed) for day in days] == [(d, 5, 5) for d in DAYS]
    [change] = days[0].changes
    assert (change["why"], change["before"], change["after"], change["difference"]) == (
        "rate", "3", "3.3", "0.3",
    )  # fmt: skip
    tagged = home.lake.scan(RATED_LEG).filter(pl.col("rerate_request") == request.number).collect()
    assert tagged.height == 10


def test_a_run_whose_scope_matches_nothing_fails_with_a_sentence(home: Installation) -> None:
    with pytest.raises(BillingError, match="matches no leg on these days"):
        materialize(home, {"reason": "why", "destinations": ["Nowhere"]})
    with pytest.raises(BillingError, match="no partner 'P99'"):
        materialize(home, {"reason": "why", "partners": ["P99"]})


def test_days_without_a_leg_of_the_scope_do_not_stop_a_request(home: Installation) -> None:
    """The days of a scope with a gap between them are several runs; the first one finds nothing."""
    early = DAYS[0] - timedelta(days=5)
    at = datetime(early.year, early.month, early.day, 12, tzinfo=UTC)
    home.lake.replace_slice(XDR, frame(record(900, at=at, b="331234567890")).lazy(), {"day": early})
    plan = compile_plan(home.reference, early, buckets=home.settings.buckets)
    rate_day(home.lake, plan)
    home.registry.versions.record_plan(
        plan.version, early, home.reference.version, plan.summary(), now=NOW, who="rita"
    )
    load(home, "0.66")
    span = ("--from", early.isoformat(), "--to", DAYS[-1].isoformat())
    code, output = icb("rerate", *span, "--destination", "UK", "--reason", "a late sheet", "--json")
    assert (code, [row["difference"] for row in json.loads(output)]) == (0, ["0.3", "0.3"])
    assert {a for (_, name), found in prices(home).items() if name == "UK" for a in found} == {
        6_600_000_000
    }
    assert [one.state for one in home.registry.rerates.list()] == [RerateState.DONE]


def test_what_a_run_did_that_died_before_it_could_say_so_is_known_once_it_is_resumed(
    home: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies between the new prices of the first day and the log of them."""
    load(home, "0.66")
    before = prices(home)
    made = home.registry.rerates.make(
        fields_of(RatingScope(DAYS[0], DAYS[1], destinations=("UK",))), "why", now=NOW, who="rita"
    )
    run = {"lake": home.lake, "registry": home.registry, "reference": home.reference}

    def carry_out() -> None:
        run_request(made.number, **run, buckets=4, now=lambda: NOW, who="rita")

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(home.registry.rerates, "end_day", Mock(side_effect=RuntimeError("killed")))
        carry_out()
    assert prices(home) != before
    carry_out()
    days = home.registry.rerates.days(made.number)
    assert [(day.day, day.run, day.changed) for day in days] == [(d, 1, 5) for d in DAYS]
    assert [change["difference"] for day in days for change in day.changes] == ["0.3", "0.3"]
    code, output = icb("rerate", "rollback", str(made.number))
    assert code == 0, output
    assert prices(home) == before
    assert [
        (p.request, (p.leg or {})["amount_e10"]) for p in price_history(1, home.lake, home.registry)
    ] == [(None, 6_000_000_000), (1, 6_600_000_000), (2, 6_000_000_000)]


def test_a_request_that_died_is_resumed_from_the_command_line(home: Installation) -> None:
    load(home, "0.66")
    made = home.registry.rerates.make(
        fields_of(RatingScope(DAYS[0], DAYS[1], destinations=("UK",))), "why", now=NOW, who="rita"
    )
    for _ in range(2):
        code, output = icb("rerate", "resume", str(made.number))
        assert code == 0, output
        assert "+0.6 EUR" in output
    assert home.registry.rerates.get(made.number).state is RerateState.DONE
    proposed = home.registry.rerates.make(
        made.scope, "why", proposed=True, now=NOW, who="rita"
    ).number
    code, output = icb("rerate", "resume", str(proposed))
    assert code == 2
    assert f"re-rate request {proposed} is proposed" in output


def test_a_request_that_followed_a_file_is_not_taken_back(home: Installation) -> None:
    """Its legs would come back for records that are gone."""
    scope = fields_of(RatingScope(DAYS[0], DAYS[1])) | {FILE_KEY: 5}
    made = home.registry.rerates.make(scope, "sent twice", now=NOW, who="rita")
    code, output = icb("rerate", "rollback", str(made.number))
    assert code == 2
    assert "icb intake replay FILE" in output


def test_a_file_that_cannot_be_written_stops_before_prices_change(home: Installation) -> None:
    load(home, "0.66")
    version = home.lake.version(RATED_LEG)
    span = ("--from", "2026-03-10", "--to", "2026-03-11", "--reason", "why")
    code, output = icb("rerate", *span, "--csv", "/nowhere/changes.csv")
    assert (code, output) == (2, "cannot write /nowhere/changes.csv: No such file or directory")
    assert home.lake.version(RATED_LEG) == version


def test_a_record_shows_all_its_prices(home: Installation) -> None:
    for price in ("0.66", "0.72", "0.60"):
        load(home, price)
        materialize(home, {"reason": f"now {price}", "partners": ["P01"]})
    history = price_history(1, home.lake, home.registry)
    assert [(p.request, p.reason, (p.leg or {})["amount_e10"]) for p in history] == [
        (None, None, 6_000_000_000),
        (1, "now 0.66", 6_600_000_000),
        (2, "now 0.72", 7_200_000_000),
        (3, "now 0.60", 6_000_000_000),
    ]
    code, output = icb("history", "1", "--json")
    assert code == 0
    assert [row["amount"] for row in json.loads(output)] == ["0.6", "0.66", "0.72", "0.6"]


def test_a_proposed_request_runs_only_after_another_person_agreed(home: Installation) -> None:
    load(home, "0.66")
    rerates = home.registry.rerates
    scope = fields_of(RatingScope(DAYS[0], DAYS[1], partners=("P01",)))
    made = rerates.make(scope, "a new sheet", proposed=True, now=NOW, who="Rita")
    run = {"lake": home.lake, "registry": home.registry, "reference": home.reference}

    def carry_out() -> None:
        run_request(made.number, **run, buckets=4, now=lambda: NOW, who="rita")

    with pytest.raises(StateError, match="is proposed"):
        carry_out()
    with pytest.raises(StateError, match="made re-rate request 1 and cannot decide on it"):
        rerates.decide(made.number, approve=True, now=NOW, who=" rita")
    rerates.decide(made.number, approve=True, now=NOW, who="paulo")
    carry_out()
    assert rerates.get(made.number).state is RerateState.DONE
    refused = rerates.make(scope, "again", proposed=True, now=NOW, who="rita")
    rerates.decide(refused.number, approve=False, now=NOW, who="paulo")
    with pytest.raises(StateError, match="is refused"):
        run_request(refused.number, **run, buckets=4, now=lambda: NOW, who="rita")
    actions = [e.action for e in home.registry.audit.entries() if e.subject == "rerate:1"]
    assert actions == ["rerate.propose", "rerate.approved", "rerate.running", "rerate.done"]


def test_a_dry_run_shows_money_before_and_after_and_writes_nothing(
    home: Installation, tmp_path: Path
) -> None:
    load(home, "0.66")
    version = home.lake.version(RATED_LEG)
    table = tmp_path / "changes.csv"
    span = ("--from", "2026-03-10", "--to", "2026-03-11")
    code, output = icb("rerate", *span, "--destination", "UK", "--dry-run", "--json",
                       "--csv", str(table))  # fmt: skip
    assert code == 0
    rows = json.loads(output)
    assert [(row["day"], row["records"], row["before"], row["after"]) for row in rows] == [
        ("2026-03-10", 5, "3", "3.3"),
        ("2026-03-11", 5, "3", "3.3"),
    ]
    assert table.read_text().splitlines()[0].split(",") == list(rows[0])
    shown = materialize(home, {"destinations": ["UK"]}, rerate_dry_run)
    [made] = shown.asset_materializations_for_node("rerate_dry_run")[:1]
    assert made.metadata["legs that would change"].value == 10
    assert "3.3" in str(made.metadata["changes"].value)
    assert home.lake.version(RATED_LEG) == version
    assert not home.registry.rerates.list()


def test_a_sheet_is_taken_back_by_the_version_without_it(home: Installation) -> None:
    def legs() -> list[dict[str, object]]:
        kept = home.lake.scan(RATED_LEG).drop("rerate_request")
        return kept.sort("record_id", "leg").collect().to_dicts()

    before = legs()
    load(home, "0.66")
    materialize(home, {"reason": "a new sheet", "destinations": ["UK"]})
    load(home, "0.60")
    code, output = icb("rerate", "propose", "--reason", "the sheet is taken back")
    assert code == 0 and "re-rate request 2 is proposed" in output
    home.registry.rerates.decide(2, approve=True, now=NOW, who="paulo")
    materialize(home, {"request": 2})
    assert legs() == before


def test_nothing_is_proposed_by_a_version_that_waits(home: Installation) -> None:
    stores = {"lake": home.lake, "registry": home.registry, "blobs": home.blobs}
    take_reference(files("0.66"), **stores, now=NOW, who="rita")
    code, output = icb("rerate", "propose")
    assert code == 2 and "by the version in force, and this one is not" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from", "2026-03-10", "--to", "2026-03-11", "--partner", "P9"], "no partner 'P9'"),
        (["--from", "2026-03-10", "--to", "2026-03-11", "--agreement", "B"], "no agreement 'B'"),
        (["--from", "2026-03-11", "--to", "2026-03-10"], "before it begins"),
        (["--from", "2026-03-10"], "needs its days"),
        (["--from", "2025-03-10", "--to", "2025-03-11"], "no records on 2025-03-10"),
        (["--from", "2026-03-10", "--to", "2026-03-11", "--code", "7"], "no leg matches"),
    ],
)
def test_a_scope_that_nothing_can_come_of_is_refused(
    home: Installation, words: list[str], message: str
) -> None:
    code, output = icb("rerate", *words, "--reason", "why")
    assert code == 2 and message in output
    assert not home.registry.rerates.list()


def test_days_whose_records_retention_has_deleted_are_refused(home: Installation) -> None:
    home.lake.replace_slice(XDR, frame().lazy(), {"day": DAYS[0]})
    code, output = icb("rerate", "--from", "2026-03-10", "--to", "2026-03-11", "--reason", "why")
    assert code == 2 and "retention has deleted the records of 2026-03-10" in output
    assert not home.registry.rerates.list()


@pytest.mark.usefixtures("home")
def test_days_to_come_and_requests_without_a_reason_are_refused() -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    assert "is still to come" in icb("rerate", "--from", "2026-03-10", "--to", tomorrow)[1]
    code, output = icb("rerate", "--from", "2026-03-10", "--to", "2026-03-11", "--partner", "P01")
    assert code == 2 and "needs a reason" in output


def test_a_scope_keeps_its_words_through_the_registry() -> None:
    scope = RatingScope(
        DAYS[0],
        DAYS[1],
        partners=("P01",),
        legs=(Leg.CUSTOMER,),
        services=(Service.VOICE,),
        destinations=("UK, mobile",),
        codes=("44",),
        agreements=("A",),
    )
    assert scope_of(fields_of(scope)) == scope
    with pytest.raises(BillingError, match="cannot be read"):
        scope_of({**fields_of(scope), "legs": ["sideways"]})
