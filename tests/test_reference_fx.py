"""Fixings by source and date, conversion in both directions, crosses and differences."""

import io
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_assets.core.fx import Rate, convert, cross, difference
from billing_assets.reference.exchange import FixedRate
from billing_assets.reference.fx import Fixings, MissingFixing, read_fixings

USD = Rate("EUR", "USD", Fraction("1.0850"))
COLUMNS = ["source", "date", "base", "currency", "units_per_base"]
ROWS = [
    ("treasury", "2026-03-26", "EUR", "USD", "1.0700"),
    ("treasury", "2026-03-27", "EUR", "USD", "1.0900"),
    ("treasury", "2026-03-31", "EUR", "USD", "1.0850"),
    ("other", "2026-03-30", "EUR", "USD", "2.0000"),
    ("treasury", "2026-03-31", "GBP", "USD", "1.2700"),
    ("treasury", "2026-03-31", "KWD", "USD", "3.2500"),
]
FIXINGS = Fixings(pl.DataFrame(ROWS, schema=COLUMNS, orient="row"), "treasury")
CLOSE = date(2026, 3, 31)

amounts = st.decimals("-1e9", "1e9", places=2)
rates = st.decimals("0.0001", "10000", places=4).map(Fraction)


def test_a_quote_divides_towards_its_base_and_multiplies_away_from_it():
    assert convert(Decimal("12345.67"), USD, "USD", "EUR") == Decimal("11378.50")
    assert convert(Decimal("12345.67"), USD, "EUR", "USD") == Decimal("13395.05")


def test_no_rounded_inverse_stands_between():
    assert convert(Decimal("10000000.00"), USD, "USD", "EUR") == Decimal("9216589.86")


def test_a_three_decimal_currency_in_home_currency():
    kwd = Rate("EUR", "KWD", Fraction("0.3340"))
    assert convert(Decimal("1328.762"), kwd, "KWD", "EUR") == Decimal("3978.33")


def test_a_cross_is_rounded_once_in_the_minor_unit_of_its_target():
    rate = FIXINGS.on("GBP", "KWD", CLOSE, through="USD")
    assert convert(Decimal("1000.00"), rate, "GBP", "KWD") == Decimal("390.769")


def test_a_holiday_takes_the_last_fixing_before_it_of_the_same_source():
    assert FIXINGS.on("USD", "EUR", date(2026, 3, 30)).units_per_base == Fraction("1.09")


@pytest.mark.parametrize("day", [date(2026, 3, 25), date(2026, 4, 8)])
def test_a_later_fixing_or_a_stale_one_is_refused_by_currency_day_and_source(day: date):
    with pytest.raises(MissingFixing, match=rf"USD and EUR on {day}.*by source treasury"):
        FIXINGS.on("USD", "EUR", day)


def test_a_period_average_is_that_of_the_quotes_published_in_it():
    rate = FIXINGS.average("USD", "EUR", date(2026, 3, 26), date(2026, 3, 30))
    assert convert(Decimal("1080.00"), rate, "USD", "EUR") == Decimal("1000.00")
    with pytest.raises(MissingFixing, match="from 2026-02-01 to 2026-02-28"):
        FIXINGS.average("USD", "EUR", date(2026, 2, 1), date(2026, 2, 28))


def test_the_example_of_the_documentation_gives_a_cross_and_a_fallback():
    text = (Path(__file__).parents[1] / "docs/reference.md").read_text(encoding="utf-8")
    table = text.split("## Fixings")[1].split("```csv\n")[1].split("```")[0]
    fixings = Fixings(pl.read_csv(io.StringIO(table), infer_schema=False), "treasury")
    assert fixings.on("EUR", "USD", date(2026, 3, 30)).units_per_base == Fraction("1.09")
    rate = fixings.on("GBP", "USD", CLOSE, through="EUR")
    assert convert(Decimal("86.00"), rate, "GBP", "USD") == Decimal("108.50")


def test_a_cross_without_its_second_leg_is_refused():
    with pytest.raises(MissingFixing, match="USD and JPY"):
        FIXINGS.on("GBP", "JPY", CLOSE, through="USD")


def test_a_rate_of_other_currencies_or_of_nothing_is_refused():
    with pytest.raises(ValueError, match="does not convert GBP to EUR"):
        convert(Decimal(1), USD, "GBP", "EUR")
    with pytest.raises(ValueError, match="above zero"):
        Rate("EUR", "USD", Fraction(0))


def test_a_receivable_loses_when_its_currency_falls_and_a_payable_gains():
    later = Rate("EUR", "USD", Fraction("1.1000"))
    assert difference(Decimal("1085.00"), USD, later, "USD", "EUR") == Decimal("-13.64")
    assert difference(Decimal("-1085.00"), USD, later, "USD", "EUR") == Decimal("13.64")


@given(amounts, rates)
def test_conversion_errs_by_at_most_half_a_minor_unit(amount: Decimal, units: Fraction):
    found = convert(amount, Rate("EUR", "USD", units), "USD", "EUR")
    assert abs(Fraction(found) - Fraction(amount) / units) <= Fraction(1, 200)


@given(rates, rates)
def test_a_cross_and_its_return_are_exactly_one(first: Fraction, second: Fraction):
    legs = Rate("EUR", "USD", first), Rate("KWD", "USD", second)
    there = cross(*legs, "EUR", "USD", "KWD")
    back = cross(legs[1], legs[0], "KWD", "USD", "EUR")
    assert there.units_per_base * back.units_per_base == 1


@given(amounts, rates, rates, rates)
def test_differences_of_successive_closings_add_up(
    amount: Decimal, booked: Fraction, closing: Fraction, paid: Fraction
):
    one, two, three = (Rate("EUR", "USD", units) for units in (booked, closing, paid))
    steps = difference(amount, one, two, "USD", "EUR") + difference(
        amount, two, three, "USD", "EUR"
    )
    assert steps == difference(amount, one, three, "USD", "EUR")


HEADER = "source,date,base,currency,units_per_base\n"


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("t,20260301,EUR,USD,1", "fixings.csv:2 date='20260301': is not a date such as 2026-03-01"),
        ("t,2026-W10-1,EUR,USD,1", "fixings.csv:2 date='2026-W10-1': is not a date such as"),
        ("t,2026-03-01,eur,USD,1", "fixings.csv:2 base='eur': is not an ISO 4217 currency"),
        ("t,2026-03-01,EUR, USD,1", "fixings.csv:2 currency=' USD': is not an ISO 4217 currency"),
        (",2026-03-01,EUR,USD,1", "fixings.csv:2 source='': is missing"),
        ("t,2026-03-01,EUR,EUR,1", "fixings.csv:2: converts EUR to EUR"),
        ("t,2026-03-01,EUR,USD,0", "units_per_base='0': is not between 1/1,000,000,000 and"),
        ("t,2026-03-01,EUR,USD,10000000000", "is not between 1/1,000,000,000 and 1,000,000,000"),
        ("t,2026-03-01,EUR,USD,0.0000000001", "is not between 1/1,000,000,000 and 1,000,000,000"),
        ("t,2026-03-01,EUR,USD,1e3", "'1e3' is not a decimal number"),
        (
            "t,2026-03-01,EUR,USD,1.1\nt,2026-03-02,USD,EUR,0.9",
            "fixings.csv:3: is quoted the other way round in row 2: a pair has one direction",
        ),
        (
            "t,2026-03-01,EUR,USD,1.1\n\nt,2026-03-01,EUR,USD,1.2",
            "fixings.csv:4: fixing stands twice: row 2 is of the same source, day and pair",
        ),
    ],
)
def test_a_fixing_that_cannot_be_is_refused_with_its_cell(rows: str, told: str) -> None:
    _, (problem,) = read_fixings(f"{HEADER}{rows}\n".encode(), "fixings.csv")
    assert told in str(problem)


def test_fixings_of_far_currencies_other_sources_and_blank_lines_are_read() -> None:
    rows = (
        "t,2026-03-01,USD,IRR,1000000.5\n\nt,2026-03-01,IRR,KWD,0.000000301\n"
        "o,2026-03-01,IRR,USD,0.000001\nt,2026-03-01,XDR,USD,1.3\n"
    )
    frame, problems = read_fixings(f"{HEADER}{rows}".encode(), "fixings.csv")
    assert not problems and frame.height == 4


@pytest.mark.parametrize("units", ["0", "-1", "10000000000", "0.0000000001"])
def test_a_contract_states_a_rate_that_can_be(units: str) -> None:
    fixed = {"base": "EUR", "currency": "USD", "units_per_base": units}
    with pytest.raises(ValueError, match="is not between"):
        FixedRate.model_validate(fixed)
