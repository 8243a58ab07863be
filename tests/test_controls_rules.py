"""Each rule of the pre-invoice validation: what it speaks of, and what it is silent about."""

import re
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from billing_assets.charging.run import imbalance
from billing_assets.core.settings import PROJECT_ROOT
from billing_assets.installation import Installation
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import CHARGE, SUSPENSE, TRAFFIC, USAGE_DAILY, Table
from billing_assets.reference.controls import RULES, Thresholds
from billing_assets.registry.cycles import CycleState
from tests.support.billing_home import DEMO, cycle_of, issue, open_home, run, use

WEEK = "P03/2026-W11"
FIRST = date(2026, 3, 9)
TENTH = date(2026, 3, 10)
PARTNER = "partners/P03.yaml"


def of_day(day: date, records: int, **more: object) -> dict[str, object]:
    names = {"partner": "P03", "agreement": "P03-VOICE@1", "destination": "PT Mobile"}
    return {**names, "local_day": day, "day": day, "records": records, **more}


def found(home: Installation, cycle: str = WEEK) -> dict[str, str]:
    """The findings of a run by their rules."""
    return {one.rule: one.message for one in run(home, cycle).findings}


def put(home: Installation, table: Table, part: dict[str, date | str], *rows: dict[str, object]):
    frame = pl.DataFrame([{**part, **row} for row in rows], schema=table.schema)
    home.lake.replace_slice(table, frame, part)


def wait(home: Installation, day: date, reason: str, legs: int, at_risk: int | None = None) -> None:
    """Legs of P03 in suspense."""
    rows = [
        {
            "record_id": number,
            "leg": "customer",
            "reason": reason,
            "partner": "P03",
            "duration_ms": 60_000,
            "at_risk_e10": at_risk,
            "currency": "EUR",
        }
        for number in range(legs)
    ]
    put(home, SUSPENSE, {"day": day, "stage": "rating"}, *rows)


def test_the_page_of_controls_says_of_rules_and_thresholds_what_they_are() -> None:
    text = (PROJECT_ROOT / "docs" / "controls.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    told = {name: (severity, owner, about) for name, severity, owner, about in rows}
    assert len(told) >= 19
    for name, said in told.items():
        assert said == (RULES[name].severity.value, RULES[name].owner, RULES[name].about)
    for name, default in re.findall(r"^\| `(\w+)` \| ([\d.]+|none) \|", text, re.MULTILINE):
        known = Thresholds.model_fields[name].default
        assert default == ("none" if known is None else str(known)), name


def test_a_sound_cycle_has_no_finding(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    use(home, of_day(TENTH, 1000))
    assert found(home) == {}


def test_some_suspense_is_told_much_of_it_blocks_and_its_age_counts(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    use(home, of_day(TENTH, 1000))
    wait(home, TENTH, "NO_RATE", 10, 60_000_000)
    told = found(home)
    assert set(told) == {"suspense_open", "suspense_age"}
    assert told["suspense_open"].startswith("10 legs wait in suspense: NO_RATE (0.9901% of")
    assert "about 0.06 at risk" in told["suspense_open"]
    # run on 5 May
    assert told["suspense_age"] == "NO_RATE: the oldest waits for 56 days"
    wait(home, TENTH, "NO_RATE", 11)
    assert set(found(home)) == {"suspense", "suspense_age"}


def test_little_suspense_of_much_value_blocks_where_a_value_is_the_limit(tmp_path: Path) -> None:
    limit = {"partners:\n": "partners:\n  P03: {thresholds: {suspense_value: 5}}\n"}
    home = open_home(tmp_path, {"controls.yaml": limit})
    use(home, of_day(TENTH, 1000))
    wait(home, TENTH, "NO_RATE", 1, 50_000_000_000)
    assert "suspense_open" in found(home)
    wait(home, TENTH, "NO_RATE", 1, 50_100_000_000)
    assert "suspense" in found(home)


def test_records_to_no_destination_are_told(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    use(home, of_day(TENTH, 1000), of_day(TENTH, 2, destination=""))
    wait(home, TENTH, "BLOCKED_CODE", 3)
    assert found(home)["invalid_destination"].startswith("5 answered records to no destination")


def test_an_hour_in_which_there_usually_are_calls_is_missed(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    use(home, of_day(TENTH, 1000))
    for n in range(35):
        day = FIRST - timedelta(days=28) + timedelta(days=n)
        hours = [hour for hour in (9, 10) if (day, hour) != (TENTH, 10)]
        cells = {"leg": "customer", "partner": "P03", "service": "voice", "attempts": 40}
        put(home, TRAFFIC, {"day": day}, *({**cells, "hour": hour} for hour in hours))
    told = found(home)
    assert told["missing_hours"] == (
        "1 hours without a record, the first 2026-03-10 10:00 UTC where 40 are usual"
    )
    assert "missing_days" not in told


RECEIVERS = """\
  emails: [rechnung@voxhansa.example]
delivery:
  - {channel: portal, via: folder, path: P03, url: "https://portal.farolink.example/P03"}
"""
"""All ways by which a document reaches the partner."""


@pytest.mark.parametrize(
    ("path", "old", "new", "rule", "said"),
    [
        (PARTNER, "DE312746388\n", "DE312746389\n", "vat_id", "VAT id DE312746389"),
        (PARTNER, "  vat_id: DE312746388\n", "", "vat_id", "reverse charge needs"),
        (PARTNER, "valid_to: 2026-03-22", "valid_to: 2026-03-14", "vat_validity", "lapsed on"),
        (PARTNER, "checked: 2026-01-12", "checked: 2025-03-14", "vat_validity", "last confirmed"),
        (PARTNER, RECEIVERS, "", "partner_data", "e-mail"),
    ],
)
def test_partner_and_tax_data_are_looked_at(
    tmp_path: Path, path: str, old: str, new: str, rule: str, said: str
) -> None:
    home = open_home(tmp_path, {path: {old: new}})
    use(home, of_day(TENTH, 1000))
    told = found(home)
    assert set(told) == {rule}
    assert said in told[rule]


@pytest.mark.parametrize(("day", "missing"), [("2026-03-24", False), ("2026-03-23", True)])
def test_a_currency_without_a_fresh_fixing_blocks(tmp_path: Path, day: str, missing: bool) -> None:
    text = (DEMO / "fixings.csv").read_text()
    older = f"source,date,base,currency,units_per_base\ntreasury,{day},EUR,USD,1.0850\n"
    home = open_home(tmp_path, {"fixings.csv": {text: older}})
    names = {"partner": "P15", "agreement": "P15-VOICE@1", "currency": "USD"}
    use(home, of_day(TENTH, 100, **names))
    told = found(home, "P15/2026-03")
    assert ("missing_fixing" in told) is missing
    assert not missing or "on 2026-03-31 or the 7 days before" in told["missing_fixing"]


def test_a_usage_charge_below_zero_blocks(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    use(home, of_day(TENTH, 1000), of_day(TENTH, 5, destination="PT Fixed"))
    below = pl.when(pl.col("destination") == "PT Fixed").then(-1).otherwise(1)
    rows = home.lake.scan(USAGE_DAILY).collect()
    amount = (pl.col("amount") * below).cast(USAGE_DAILY.schema["amount"])
    home.lake.replace_slice(USAGE_DAILY, rows.with_columns(amount), {"day": TENTH})
    assert found(home) == {"negative_amount": "1 usage charges below zero: PT Fixed"}


def test_money_far_from_that_of_the_last_cycles_is_told(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    use(home, *(of_day(TENTH + timedelta(days=n), 1000) for n in (-7, 0)))
    use(home, of_day(TENTH + timedelta(days=7), 1510), of_day(TENTH + timedelta(days=14), 1500))
    for week in (10, 11):
        assert "change" not in found(home, f"P03/2026-W{week}")
        issue(home, f"P03/2026-W{week}")
    told = found(home, "P03/2026-W12")
    assert told["change"] == (
        "customer EUR: 9.06 against 6.00 on average of the last 2 cycles (+51.0%)"
    )
    issue(home, "P03/2026-W12")
    assert "change" not in found(home, "P03/2026-W13")


def test_an_active_partner_without_any_charge_is_told(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    use(home, of_day(TENTH + timedelta(days=7), 1000))
    assert set(found(home)) == {"empty_cycle"}


@pytest.mark.parametrize("spoil", ["a line is lost", "an amount is off by the last unit"])
def test_charges_that_are_not_the_rated_usage_block_the_cycle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    home = open_home(tmp_path)
    use(home, of_day(FIRST, 100), of_day(TENTH, 50, destination="PT Fixed"))
    assert "charges_add_up" not in found(home)
    cycle = cycle_of(home, WEEK)
    replace_slice = Lake.replace_slice

    def spoilt(lake: Lake, table: Table, rows: pl.DataFrame, part: dict[str, Any]) -> object:
        if table is CHARGE and spoil == "a line is lost":
            rows = rows.filter(pl.col("destination") != "PT Fixed")
        elif table is CHARGE:
            least = pl.lit(Decimal("0.0000000001"), rows.schema["exact_amount"])
            rows = rows.with_columns(
                pl.when(destination="PT Fixed")
                .then(pl.col("exact_amount") + least)
                .otherwise("exact_amount")
                .cast(rows.schema["exact_amount"])
                .alias("exact_amount")
            )
        return replace_slice(lake, table, rows, part)

    monkeypatch.setattr(Lake, "replace_slice", spoilt)
    blocked = run(home, WEEK)
    assert blocked.state is CycleState.BLOCKED
    [told] = [one for one in blocked.findings if one.rule == "charges_add_up"]
    lines = "0.6" if spoil == "a line is lost" else "0.9000000001"
    assert re.fullmatch(
        rf"P03-VOICE@1: 0\.90* EUR rated, {re.escape(lines)}0* on usage lines or replaced",
        told.message,
    )
    assert not told.waivable
    assert list(imbalance(cycle, home.reference, home.lake, home.registry)) == [
        ("P03-VOICE@1", "EUR")
    ]
    monkeypatch.undo()
    assert "charges_add_up" not in found(home)
