"""Accruals at any day: rated and not billed, expected, estimated, reversed, against actual."""

import csv
import io
import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from billing_assets.cli.main import app
from billing_assets.core.errors import BillingError
from billing_assets.installation import Installation
from tests.support.billing_home import issue, open_home, run, use
from tests.test_late_records import arrive, call

P14 = {"partner": "P14", "agreement": "P14-VOICE@1"}


def icb(home: Installation, *words: str) -> Result:
    env = {"ICB_HOME": str(home.settings.root), "ICB_USER": "ana"}
    return CliRunner().invoke(app, ["accruals", *words], env=env)


def accrued(home: Installation, *words: str) -> dict:
    result = icb(home, *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def rows(told: dict, partner: str) -> list[tuple]:
    return sorted(
        (row["kind"], row["basis"], plain(row["exact_amount"]), plain(row["amount"]))
        for row in told["rows"]
        if row["partner"] == partner
    )


def plain(amount: str) -> str:
    """A decimal without the zeros that end it."""
    return f"{Decimal(amount).normalize():f}"


def home_of(root: Path) -> Installation:
    """A home in which P14 is billed by the month."""
    return open_home(root, {"partners/P14.yaml": {"cadence: ad-hoc": "cadence: monthly"}})


def test_what_is_rated_and_not_billed_is_usage_less_what_documents_billed(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    use(home, {**P14, "local_day": date(2026, 3, 2), "records": 1001})
    use(home, {**P14, "local_day": date(2026, 3, 20), "records": 500})
    told = accrued(home, "--at", "2026-03-15")
    # 90.00 a month of fees, 15 of 31 days; 1,001 x 0.0060
    assert rows(told, "P14") == [
        ("rated", "charged", "6.006", "6.01"),
        ("recurring", "charged", "43.5483870968", "43.55"),
    ]
    assert told["reversed_on"] == "2026-04-01"
    assert next(s for s in told["sums"] if s["partner"] == "P14")["accrued"][:5] == "49.56"


def test_a_month_that_is_over_is_accrued_as_its_documents_bill_it(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    use(home, {**P14, "local_day": date(2026, 3, 2), "records": 1001})
    before = accrued(home, "--at", "2026-03-31")
    run(home, "P14/2026-03")
    issue(home, "P14/2026-03")
    # issued on 5 May: until then nothing was billed, from then on all is
    assert rows(accrued(home, "--at", "2026-03-31"), "P14") == rows(before, "P14")
    again = accrued(home, "--at", "2026-03-31", "--again")
    assert rows(again, "P14") == rows(before, "P14")
    use(home, {**P14, "local_day": date(2026, 3, 3), "records": 10})
    late = [r for r in accrued(home, "--at", "2026-05-05")["rows"] if r["partner"] == "P14"]
    assert [(r["cycle"], plain(r["amount"])) for r in late if r["service_month"] == "2026-03"] == [
        ("P14/2026-04", "0.06")
    ]
    compared = accrued(home, "--at", "2026-03-31", "--actual")["compared"]
    [mine] = [row for row in compared if row["partner"] == "P14"]
    assert (mine["cycle"], mine["difference"][:4]) == ("P14/2026-03", "0.00")
    assert Decimal(mine["accrued"]) == Decimal(mine["actual"]) == Decimal("96.01")


def test_rebates_and_shortfalls_of_running_quarters_are_accrued_at_the_rate_so_far(
    tmp_path: Path,
) -> None:
    home = home_of(tmp_path)
    use(home, {**P14, "local_day": date(2026, 2, 2), "records": 1})
    told = accrued(home, "--at", "2026-02-28")
    # 100,500 of 150,000 minutes after 59 of 90 days reach the tier: 0.10 of each so far
    assert rows(told, "P10") == [("rebate", "expected", "-10050", "-10050")]
    # 95,500.00 of 150,000.00: 98,333.33 are due by then
    assert rows(told, "P04") == [("shortfall", "expected", "2833.3333333333", "2833.33")]


def test_days_without_files_are_estimated_by_the_same_weekday_until_they_come(
    tmp_path: Path,
) -> None:
    home = open_home(tmp_path)
    tuesdays = {3: 1, 10: 2, 17: 9}
    number = 0
    for day, calls in tuesdays.items():
        each = [call(100 * day + n, f"2026-03-{day:02}T10:{n:02}") for n in range(calls)]
        number += 1
        arrive(home, number, date(2026, 3, day), *each)
    for day in (4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 23):
        number += 1
        arrive(home, number, date(2026, 3, day), call(1000 + day, f"2026-03-{day:02}T10:00"))
    told = accrued(home, "--at", "2026-03-24")
    # the median Tuesday has two calls of two minutes at 0.0150
    estimate = [r for r in told["rows"] if r["basis"] == "estimate"]
    assert [(r["kind"], r["rule"], r["first_day"], plain(r["amount"])) for r in estimate] == [
        ("missing_day", "lis1", "2026-03-24", "0.06")
    ]
    assert json.loads(estimate[0]["steps"]) == [
        "lis1 has no file of 2026-03-24: as on 2026-03-10, the median of "
        "2026-03-03, 2026-03-10, 2026-03-17"
    ]
    arrive(home, number + 1, date(2026, 3, 24), call(9000, "2026-03-24T10:00"))
    told = accrued(home, "--at", "2026-03-24", "--again")
    assert [r for r in told["rows"] if r["basis"] == "estimate"] == []


def test_usage_of_missing_days_counts_towards_what_is_expected(tmp_path: Path) -> None:
    # 12 minutes are committed at 1.00 each; a file with one call of two minutes is missing
    terms = "commitments: [{commitment: play, period: month, quantity: 12, price: 1.00}]"
    commitment = {"increments: 60/60\n": f"increments: 60/60\n{terms}\n"}
    home = open_home(tmp_path, {"agreements/P15-VOICE.yaml": commitment})
    for number, day in enumerate((3, 10, 17), 1):
        arrive(home, number, date(2026, 3, day), call(number, f"2026-03-{day:02}T10:00"))
    told = accrued(home, "--at", "2026-03-24")
    # so far 8 minutes, on all 31 days 10.33: 1.67 are missing, 24/31 of it by now
    mine = {row["kind"]: row for row in told["rows"] if row["partner"] == "P15"}
    assert mine["missing_day"]["amount"][:4] == "0.03"
    assert mine["shortfall"]["amount"][:4] == "1.29"
    assert len([said for said in told["unknown"] if "too few" in said]) == 18


def test_postings_balance_and_are_taken_back_on_the_first(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    use(home, {**P14, "local_day": date(2026, 3, 2), "records": 1001})
    written = icb(home, "--at", "2026-03-31", "--journal").output
    entries = list(csv.DictReader(io.StringIO(written)))
    mine = [e for e in entries if e["partner"] == "P14"]
    assert [(e["date"], e["account"], e["debit"], e["credit"]) for e in mine] == [
        ("2026-03-31", "27211", "6.01", "0.00"),
        ("2026-03-31", "72110", "0.00", "6.01"),
        ("2026-03-31", "27211", "90.00", "0.00"),
        ("2026-03-31", "72190", "0.00", "90.00"),
        ("2026-04-01", "27211", "0.00", "6.01"),
        ("2026-04-01", "72110", "6.01", "0.00"),
        ("2026-04-01", "27211", "0.00", "90.00"),
        ("2026-04-01", "72190", "90.00", "0.00"),
    ]
    for day in ("2026-03-31", "2026-04-01"):
        for currency in {e["currency"] for e in entries}:
            mine = [e for e in entries if (e["date"], e["currency"]) == (day, currency)]
            sides = [sum(Decimal(e[side]) for e in mine) for side in ("debit", "credit")]
            assert sides[0] == sides[1]


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    accounts = 'accrued_income: "27211"\naccrued_cost: "27221"\n'
    home = open_home(tmp_path, {"ledger.yaml": {accounts: ""}})
    for words, said in {
        ("--at", "31.3.2026"): "'31.3.2026' is not a day such as 2026-03-31",
        (): "no accrual was taken yet",
        ("--at", "2026-03-31"): "no usage is rated yet",
    }.items():
        error = icb(home, *words).exception
        assert isinstance(error, BillingError)
        assert error.message == said
    use(home, {**P14, "local_day": date(2026, 3, 2), "records": 1})
    with pytest.raises(BillingError, match="names no accounts for accruals"):
        raise icb(home, "--at", "2026-03-31", "--journal").exception or AssertionError
