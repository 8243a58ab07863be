"""Days past their rule are gone, with their history; what bills and proves stays."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from billing_assets.installation import Installation
from billing_assets.invoicing.archive import export_cycle
from billing_assets.invoicing.retention import Expiry, expire
from billing_assets.invoicing.verify import verify
from billing_assets.lake.tables import CHARGE, RATED_LEG, USAGE_DAILY, XDR, Table
from billing_assets.reference.retention import Retention
from billing_assets.registry.files import DayCount, FileFacts
from billing_assets.registry.schema import FileState
from tests.support.issued_home import issued_home

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = date(2026, 3, 1)


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    return issued_home(tmp_path, {})


def rules(*holds: dict[str, str], **keep: int) -> Retention:
    named = {
        "xdr": {"table": "xdr", "then": "pseudonymise"},
        "rated_leg": {"table": "rated_leg", "then": "delete"},
    }
    return Retention.model_validate(
        {
            "rules": [{**named[name], "keep_days": days} for name, days in keep.items()],
            "holds": list(holds),
        }
    )


def run(home: Installation, retention: Retention, *, dry_run: bool = False) -> list[Expiry]:
    return expire(home, retention, NOW.date(), now=NOW, who="ana", dry_run=dry_run)


def rows(home: Installation, table: Table) -> pl.DataFrame:
    return home.lake.scan(table).collect()


def test_a_dry_run_says_all_and_changes_nothing(home: Installation) -> None:
    before = (home.lake.version(XDR), home.lake.version(RATED_LEG), home.registry.audit.head())
    found = run(home, rules(xdr=365, rated_leg=1000), dry_run=True)
    assert found == [
        Expiry("xdr", DAY, "pseudonymise", 400),
        Expiry("rated_leg", DAY, "delete", 400),
    ]
    after = (home.lake.version(XDR), home.lake.version(RATED_LEG), home.registry.audit.head())
    assert after == before


def test_records_younger_than_the_rule_stay(home: Installation) -> None:
    assert run(home, rules(xdr=36_500, rated_leg=36_500)) == []
    assert rows(home, RATED_LEG).height == 400


def test_pseudonymised_numbers_keep_six_digits_and_nothing_else_of_them(home: Installation) -> None:
    before = rows(home, XDR)
    run(home, rules(xdr=365))
    after = rows(home, XDR)
    assert after.drop("a_number", "b_number").equals(before.drop("a_number", "b_number"))
    assert after["a_number"].unique().to_list() == [351_910_000_000]
    assert before["a_number"].n_unique() == 400
    assert run(home, rules(xdr=365)) == []


def test_no_file_of_an_earlier_version_holds_what_is_gone(home: Installation) -> None:
    run(home, rules(xdr=365, rated_leg=1000))
    folder = home.settings.root / "lake"
    numbers = [
        number
        for path in (folder / "xdr").rglob("*.parquet")
        for number in pl.read_parquet(path, hive_partitioning=False)["a_number"]
    ]
    assert set(numbers) == {351_910_000_000}
    assert list((folder / "rated_leg").rglob("*.parquet")) == []


def test_aggregates_charges_and_documents_stay_and_still_prove_the_document(
    home: Installation, tmp_path: Path
) -> None:
    kept = rows(home, USAGE_DAILY), rows(home, CHARGE)
    run(home, rules(xdr=365, rated_leg=1000))
    assert (rows(home, USAGE_DAILY).equals(kept[0]), rows(home, CHARGE).equals(kept[1])) == (
        True,
        True,
    )
    checks = verify(
        "P14/2026-03/invoice-EUR", registry=home.registry, blobs=home.blobs, lake=home.lake
    )
    assert [check for check in checks if not check.ok] == []
    assert any("retention has deleted" in check.detail for check in checks)
    assert export_cycle(home, "P14/2026-03", tmp_path / "out").is_dir()


def test_a_legal_hold_keeps_its_days_and_says_why(home: Installation) -> None:
    hold = {"hold": "D-17", "from": "2026-03-01", "to": "2026-03-31", "reason": "dispute"}
    [found] = run(home, rules(hold, rated_leg=1000))
    assert found.kept_for == "legal hold D-17: dispute"
    assert rows(home, RATED_LEG).height == 400


def test_what_an_open_cycle_may_bill_is_left(home: Installation) -> None:
    april = home.registry.cycles.get("P14/2026-03").period
    home.registry.cycles.open_cycle("P99/2026-03", "P99", april, "monthly", now=NOW, who="ana")
    [found] = run(home, rules(rated_leg=1000))
    assert found.kept_for == "an open cycle may bill it"


def test_every_day_that_is_changed_is_in_the_log(home: Installation) -> None:
    run(home, rules(rated_leg=1000))
    [entry] = home.registry.audit.entries("table:rated_leg")
    assert (entry.action, entry.who) == ("retention.delete", "ana")
    assert home.registry.audit.expired_days("rated_leg") == {DAY}
    assert home.registry.audit.verify() is None


def test_only_what_has_numbers_is_pseudonymised() -> None:
    with pytest.raises(ValidationError, match="no numbers to pseudonymise"):
        Retention.model_validate(
            {"rules": [{"table": "rated_leg", "keep_days": 9, "then": "pseudonymise"}]}
        )


def test_raw_files_go_with_their_last_day_unless_a_hold_meets_any_of_their_days(
    home: Installation,
) -> None:
    sha256 = home.blobs.put(b"called,calling\n")
    facts = FileFacts(
        sha256=sha256,
        name="lis1.csv",
        source="lis1",
        preset="canonical",
        size=15,
        state=FileState.LANDED,
        archive_path=sha256,
    )
    days = [DAY - timedelta(days=1), DAY]
    home.registry.files.record(facts, [DayCount(d, 1, 1) for d in days], now=NOW, who="ana")
    rule = {"table": "raw_files", "keep_days": 365, "then": "delete"}
    hold = {"hold": "D-17", "from": "2026-02-01", "to": "2026-02-28", "reason": "dispute"}
    held = Retention.model_validate({"rules": [rule], "holds": [hold]})
    assert [one.kept_for for one in run(home, held)] == ["legal hold D-17: dispute"]
    free = Retention.model_validate({"rules": [rule]})
    assert run(home, free, dry_run=True) == [Expiry("raw_files", DAY, "delete", 1)]
    assert home.blobs.exists(sha256)
    run(home, free)
    assert not home.blobs.exists(sha256)
    assert run(home, free) == []
