"""Open items: buckets, late interest (O02, O04), credit in use, and the command."""

import json
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from billing_assets.cli.main import app
from billing_assets.settlement.receivables import (
    BUCKETS,
    ageing,
    bucket,
    exposure,
    late_interest,
)

AT = date(2026, 4, 30)
OPEN = [
    ("2026-04-25", "1000.00"),
    ("2026-03-31", "2000.00"),
    ("2026-02-28", "3000.00"),
    ("2026-01-15", "4000.00"),
    ("2026-05-10", "5000.00"),
]


def test_o04_open_items_by_age() -> None:
    found = ageing([(date.fromisoformat(day), Decimal(amount)) for day, amount in OPEN], AT)
    assert [str(found[name]) for name in BUCKETS] == [
        "5000.00",
        "3000.00",
        "0",
        "3000.00",
        "4000.00",
    ]


@pytest.mark.parametrize(
    ("late", "name"),
    [
        (-1, "current"),
        (0, "current"),
        (1, "1-30"),
        (30, "1-30"),
        (31, "31-60"),
        (60, "31-60"),
        (61, "61-90"),
        (90, "61-90"),
        (91, "over 90"),
    ],
)
def test_the_edges_of_the_buckets(late: int, name: str) -> None:
    assert bucket(AT - timedelta(days=late), AT) == name


@pytest.mark.parametrize(
    ("amount", "percent", "days", "basis", "currency", "interest"),
    [
        ("10000.00", "12.15", 23, 365, "EUR", "76.56"),  # O02
        ("10000.00", "12.15", 23, 360, "EUR", "77.63"),
        ("10000.00", "12.15", 0, 365, "EUR", "0.00"),
        ("-10000.00", "12.15", 23, 365, "EUR", "0.00"),
        ("1000.000", "8", 30, 365, "KWD", "6.575"),
        ("100000", "8", 30, 365, "JPY", "658"),
    ],
)
def test_late_interest_by_actual_days(
    amount: str, percent: str, days: int, basis: int, currency: str, interest: str
) -> None:
    found = late_interest(
        Decimal(amount), Decimal(percent), days, currency, basis=360 if basis == 360 else 365
    )
    assert str(found) == interest


@given(st.integers(0, 10**9), st.integers(0, 5000), st.integers(0, 3000))
def test_interest_is_rounded_once(cents: int, hundredths: int, days: int) -> None:
    amount, percent = Decimal(cents).scaleb(-2), Decimal(hundredths).scaleb(-2)
    exact = Fraction(amount) * Fraction(percent) / 100 * days / 365
    assert abs(Fraction(late_interest(amount, percent, days, "EUR")) - exact) <= Fraction(1, 200)


def test_credit_in_use() -> None:
    used = exposure(Decimal(900), Decimal(400), Decimal(250), Decimal(100))
    assert used == Decimal(950)


def run(folder: Path, text: str, *options: str):
    path = folder / "items.csv"
    path.write_text(text)
    return CliRunner().invoke(app, ["receivables", str(path), *options])


def test_the_command_tells_age_and_interest_by_currency(tmp_path: Path) -> None:
    rows = [f"FT {n},{amount},EUR,{day}" for n, (day, amount) in enumerate(OPEN)]
    text = "\n".join(["item,amount,currency,due", *rows, "FT 9,100.00,USD,2026-04-29"])
    said = run(tmp_path, text, "--at", "2026-04-30", "--annual", "12.15", "--json")
    found = json.loads(said.output)
    assert found["sums"][0]["over 90"] == "4000.00"
    assert [one["currency"] for one in found["sums"]] == ["EUR", "USD"]
    by_item = {one["item"]: one for one in found["items"]}
    assert (by_item["FT 3"]["days late"], by_item["FT 3"]["interest"]) == (105, "139.81")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("item,amount,due\n", "must have the columns"),
        ("item,amount,currency,due\nA,ten,EUR,2026-04-01\n", ":2"),
        ("item,amount,currency,due\nA,1.00,EUR,April\n", "is not a day"),
        ("item,amount,currency,due\nA,1.00,EURO,2026-04-01\n", "ISO 4217"),
        ("item,amount,currency,due\nA,1.005,EUR,2026-04-01\n", "more than the 2 decimals of EUR"),
        ("item,amount,currency,due\nA,0.5,JPY,2026-04-01\n", "more than the 0 decimals of JPY"),
        (f"item,amount,currency,due\nA,{'9' * 40},EUR,2026-04-01\n", "is more than"),
        ("item,amount,currency,due\nA,1,EUR,2026-04-01,x\n", "UTF-8, commas between item, amount"),
    ],
)
def test_a_list_that_is_none_is_refused_by_row(tmp_path: Path, text: str, said: str) -> None:
    done = run(tmp_path, text, "--at", "2026-04-30")
    assert done.exit_code != 0
    assert said in f"{done.output} {done.exception}".replace("\n", " ")
    assert "truncate_ragged_lines" not in str(done.exception)


def test_a_rate_of_interest_that_is_none_is_refused(tmp_path: Path) -> None:
    text = "item,amount,currency,due\nA,1.00,EUR,2026-04-01\n"
    for rate in ("-1", "1000.01", "9" * 40):
        done = run(tmp_path, text, "--at", "2026-04-30", "--annual", rate)
        assert "is no rate of interest" in str(done.exception)
