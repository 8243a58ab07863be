"""Charge lines of a cycle: usage to the last unit, fees by days, surcharges, what is still due."""

from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import polars as pl
import pytest

from billing_assets.charging.cycles import Cycle
from billing_assets.charging.line import Facts, ShortCallCount, plain
from billing_assets.charging.lines import charge_cycle
from billing_assets.charging.short_calls import count_short_calls
from billing_assets.core.money import Rounding, round_amount
from billing_assets.core.periods import Period, month_period
from billing_assets.lake.tables import USAGE_DAILY
from billing_assets.reference.load import Reference
from billing_assets.reference.models import Agreement
from tests.support.references import agreement, reference

MARCH = Cycle("P01/2026-03", "P01", "2026-03", month_period("2026-03"))
JUNE = Cycle("P01/2026-06", "P01", "2026-06", month_period("2026-06"))


def usage(*rows: dict[str, object]) -> pl.DataFrame:
    """Rows of `usage_daily` of one call of a minute at 0.01, unless they say otherwise."""
    usual = {
        "day": date(2026, 3, 10),
        "bucket": 0,
        "leg": "customer",
        "service": "voice",
        "partner": "P01",
        "account": "P01-A",
        "agreement": "A@1",
        "destination": "UK",
        "rate_e10": 10**8,
        "band": "",
        "origin": "",
        "pricing": "priced",
        "currency": "EUR",
        "records": 1,
        "answered": 1,
        "duration_ms": 60_000,
        "quantity": 60,
        "billed_units": 60,
        "fees": Decimal(0),
        "amount": Decimal("0.01"),
    }
    full = [{**usual, "local_day": row.get("day", usual["day"]), **row} for row in rows]
    return pl.DataFrame(full, schema=USAGE_DAILY.schema)


def charges(data: Reference, rows: pl.DataFrame, cycle: Cycle = MARCH, **more) -> list[dict]:
    made = charge_cycle(Facts(cycle, data.agreements, rows, **more), buckets=4, sources={})
    return made.sort("kind", "section", "agreement", "destination").rows(named=True)


def test_a_line_is_the_exact_sum_of_its_records_rounded_once() -> None:
    rows = usage(
        {"amount": Decimal("0.0149999999")},
        {"day": date(2026, 3, 11), "amount": Decimal("0.0000000001")},
        {"destination": "US", "amount": Decimal("0.005")},
    )
    uk, us = charges(reference(agreement()), rows)
    assert (uk["exact_amount"], uk["amount"]) == (Decimal("0.015"), Decimal("0.02"))
    assert (uk["records"], uk["first_day"], uk["last_day"]) == (
        2, date(2026, 3, 10), date(2026, 3, 11),
    )  # fmt: skip
    assert (us["exact_amount"], us["amount"]) == (Decimal("0.005"), Decimal("0.01"))


def test_earlier_days_are_lines_of_a_prior_period_even_at_the_same_rate() -> None:
    prior, current = charges(
        reference(agreement()), usage({}, {"day": date(2026, 2, 28)}, {"day": date(2026, 1, 31)})
    )
    assert (prior["section"], prior["records"]) == ("prior_period", 2)
    assert (current["section"], current["records"]) == ("usage", 1)


def test_a_line_priced_by_the_period_rounds_its_minutes_once_and_keeps_the_records_sum() -> None:
    # A19: 216 seconds are 3.6 minutes, 4 whole ones; fees are added as they are
    data = reference(agreement(rounding={"quantity": {"decimals": 0}}))
    rows = usage({"billed_units": 216, "amount": Decimal("1.036"), "fees": Decimal("1")})
    (line,) = charges(data, rows)
    assert (line["quantity"], line["amount"]) == (4, Decimal("1.04"))
    assert line["exact_amount"] == Decimal("1.036")
    assert "3.6 billed minutes" in line["steps"]
    assert "rounded half up to 0 decimals: 4 minutes at 0.01 and fees of 1" in line["steps"]


def test_reverse_billing_by_the_period_has_a_negative_quantity_and_amount() -> None:
    data = reference(agreement(reverse=True, rounding={"quantity": {"decimals": 0}}))
    (line,) = charges(data, usage({"billed_units": 216, "amount": Decimal("-0.036")}))
    assert (line["quantity"], line["price"], line["amount"]) == (
        Decimal(-4), Decimal("0.01"), Decimal("-0.04"),
    )  # fmt: skip


def test_usage_taken_back_has_the_sign_of_its_money() -> None:
    rows = usage({"records": -1, "billed_units": -60, "amount": Decimal("-0.01")})
    (line,) = charges(reference(agreement()), rows)
    assert (line["quantity"], line["amount"]) == (Decimal(-1), Decimal("-0.01"))
    reverse = usage({"records": -1, "billed_units": -60, "amount": Decimal("0.01")})
    (line,) = charges(reference(agreement(reverse=True)), reverse)
    assert (line["quantity"], line["amount"]) == (Decimal(1), Decimal("0.01"))


FEE = {"fee": "ports", "title": "Ports", "price": "150.00", "quantity": "4"}


def test_a_fee_of_a_part_of_a_month_is_by_actual_days() -> None:
    # I01: 4 x 150 from 11 June, 20 of 30 days
    data = reference(agreement(recurring=[{**FEE, "from": "2026-06-11"}]))
    (line,) = charges(data, usage(), JUNE)
    assert (line["kind"], line["amount"]) == ("recurring", Decimal("400.00"))
    # I05: actual days, 19 of 28
    february = Cycle("P01/2026-02", "P01", "2026-02", month_period("2026-02"))
    monthly = {"fee": "f", "title": "F", "price": "1000.00", "from": "2026-02-10"}
    (line,) = charges(reference(agreement(recurring=[monthly])), usage(), february)
    assert line["amount"] == Decimal("678.57")


def test_the_weeks_of_a_month_charge_its_fee_once_between_them() -> None:
    data = reference(agreement(recurring=[{**FEE, "from": "2026-01-01"}]))
    edges = [
        date(2026, 2, 23),
        *(date(2026, 3, day) for day in (2, 9, 16, 23, 30)),
        date(2026, 4, 6),
    ]
    weeks = [
        Cycle(f"P01/W{n}", "P01", "2026-03", Period(first, end, "UTC"))
        for n, (first, end) in enumerate(pairwise(edges))
    ]
    exact = [charges(data, usage(), week)[0]["exact_amount"] for week in weeks]
    # 4 x 150 a month: six days of February, all of March, five days of April
    expected = 600 * (Fraction(6, 28) + 1 + Fraction(5, 30))
    assert abs(sum(exact) - round_amount(expected, 10, Rounding.HALF_UP)) < Decimal("1e-8")


def test_the_next_version_of_an_agreement_takes_over_its_fees() -> None:
    fee = [{**FEE, "from": "2026-01-01"}]
    data = reference(
        agreement(recurring=fee),
        agreement(version=2, recurring=fee, **{"from": "2026-03-11"}),
    )
    first, second = charges(data, usage())
    # 10 and 21 of 31 days of 600.00
    assert (first["agreement"], first["amount"]) == ("A@1", Decimal("193.55"))
    assert (second["agreement"], second["amount"]) == ("A@2", Decimal("406.45"))
    assert first["last_day"] == date(2026, 3, 10)
    assert second["first_day"] == date(2026, 3, 11)


def test_a_fee_outside_its_days_is_no_line() -> None:
    ended = [{**FEE, "from": "2026-01-01", "to": "2026-03-01"}]
    later = [{**FEE, "from": "2026-04-01"}]
    assert charges(reference(agreement(recurring=ended)), usage()) == []
    assert charges(reference(agreement(recurring=later)), usage()) == []


SHORT = {"seconds": 6, "threshold": "0.15", "fee": "0.0100"}


@pytest.mark.parametrize(("scope", "charged", "amount"), [("all", 7200, 72), ("excess", 1200, 12)])
def test_short_calls_above_the_threshold_are_a_line_of_their_own(
    scope: str, charged: int, amount: int
) -> None:
    data = reference(agreement(short_calls={**SHORT, "scope": scope}))
    counts = {"A@1": ShortCallCount(40_000, 7_200)}
    (line,) = charges(data, usage(), short_calls=counts)
    assert (line["kind"], line["quantity"], line["amount"]) == ("surcharge", charged, amount)
    assert "7200 of 40000 answered calls last at most 6 s: 18%" in line["steps"]


def test_reverse_billing_turns_the_short_call_surcharge() -> None:
    """The fee is owed by who owes the calls."""
    data = reference(agreement(short_calls=SHORT, reverse=True))
    (line,) = charges(data, usage(), short_calls={"A@1": ShortCallCount(40_000, 7_200)})
    assert (line["quantity"], line["price"], line["amount"]) == (-7200, Decimal("0.01"), -72)


@pytest.mark.parametrize("digits", [28, 29, 60])
def test_amounts_of_any_length_are_rounded_and_written_exactly(digits: int) -> None:
    value = Decimal("1" * digits + ".25")
    assert round_amount(Fraction(value), 2, Rounding.DOWN) == value
    assert plain(Decimal("1" * digits + ".2500")) == "1" * digits + ".25"


def test_no_short_call_line_without_terms_calls_or_excess() -> None:
    data = reference(agreement(short_calls=SHORT))
    assert charges(data, usage(), short_calls={"A@1": ShortCallCount(100, 15)}) == []
    assert charges(data, usage()) == []
    plain = reference(agreement())
    assert charges(plain, usage(), short_calls={"A@1": ShortCallCount(100, 99)}) == []


def test_short_calls_are_counted_among_the_answered_ones_of_the_period() -> None:
    rows = [
        ("A@1", True, 6_000, date(2026, 3, 1)),
        ("A@1", True, 6_001, date(2026, 3, 31)),
        ("A@1", False, 0, date(2026, 3, 10)),
        ("A@1", True, 1_000, date(2026, 2, 28)),
        ("A@1", True, 1_000, date(2026, 4, 1)),
        ("B@1", True, 1_000, date(2026, 3, 10)),
    ]
    legs = pl.DataFrame(
        rows, schema=["agreement", "answered", "duration_ms", "local_day"], orient="row"
    ).lazy()
    terms = Agreement.model_validate(agreement(short_calls=SHORT))
    counted = count_short_calls(legs, [terms], MARCH.period)
    assert counted == {"A@1": ShortCallCount(2, 1)}
    weighed = count_short_calls(legs, [terms], MARCH.period, records=pl.lit(10, pl.Int64))
    assert weighed == {"A@1": ShortCallCount(20, 10)}
    assert count_short_calls(legs, [], MARCH.period) == {}


def test_charging_again_gives_the_same_bytes_in_any_order() -> None:
    data = reference(agreement(recurring=[{**FEE, "from": "2026-01-01"}]))
    rows = usage({}, {"destination": "US"}, {"day": date(2026, 2, 1)})
    args = {"buckets": 4, "sources": {"usage_daily": 3}}
    once = charge_cycle(Facts(MARCH, data.agreements, rows), **args)
    again = charge_cycle(Facts(MARCH, data.agreements, rows.reverse()), **args)
    assert once.write_csv() == again.write_csv()
    assert once["charge_id"].n_unique() == once.height
