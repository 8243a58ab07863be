"""The statistics of controls: usual days and hours, VAT numbers, fixings, file sequences."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_assets.controls.profile import silent_days, silent_hours
from billing_assets.controls.vat import vat_problem
from billing_assets.core.errors import InputError
from billing_assets.intake.sequence import sequence_gaps
from billing_assets.reference.controls import RULES, Controls, Severity
from billing_assets.reference.fx import MissingFixing
from billing_assets.reference.load import load_reference
from tests.support.controls_home import reference_files

MONDAY = date(2026, 3, 2)
DAYS = [MONDAY + timedelta(days=n) for n in range(28)]

counts = st.dictionaries(
    st.tuples(st.sampled_from(DAYS), st.integers(0, 23)), st.integers(1, 500), max_size=120
)


def frame(attempts: dict[tuple[date, int], int]) -> pl.DataFrame:
    rows = [(day, hour, count) for (day, hour), count in attempts.items()]
    schema = {"day": pl.Date, "hour": pl.Int64, "attempts": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


@given(counts, st.integers(1, 200), st.randoms())
def test_a_silent_day_had_nothing_and_the_order_of_rows_tells_nothing(attempts, usual, random):
    found = silent_days(frame(attempts), DAYS, usual)
    busy = {day for day, _ in attempts}
    assert all(day not in busy and count >= usual for day, count in found)
    rows = list(attempts.items())
    random.shuffle(rows)
    assert silent_days(frame(dict(rows)), DAYS, usual) == found


@given(counts, st.integers(1, 100))
def test_a_higher_threshold_finds_no_more(attempts, usual):
    traffic = frame(attempts)
    for look in (silent_days, silent_hours):
        assert set(look(traffic, DAYS, usual + 50)) <= set(look(traffic, DAYS, usual))


@given(st.integers(1, 10**9))
def test_one_odd_day_changes_what_is_usual_for_no_other(odd):
    attempts = {(day, 12): 60 for day in DAYS if day != DAYS[14]}
    attempts[DAYS[7], 12] = odd
    assert silent_days(frame(attempts), DAYS, 50) == [(DAYS[14], 60)]


def test_an_hour_without_calls_is_told_with_what_is_usual():
    attempts = {(day, hour): 40 for day in DAYS for hour in (9, 10) if day.weekday() < 5}
    del attempts[DAYS[8], 10]
    assert silent_hours(frame(attempts), DAYS, 30) == [(DAYS[8], 10, 40)]


@pytest.mark.parametrize(
    ("number", "country", "valid"),
    [
        ("DE312746388", "DE", True),
        ("DE312746389", "DE", False),
        ("GB273648139", "GB", True),
        ("NO918472606MVA", "NO", True),
        ("503816469", "PT", True),
        ("ATU1234", "AT", False),
        ("US-12", "US", True),
        ("", "DE", True),
    ],
)
def test_a_vat_number_has_its_countrys_form_and_check_digits(number, country, valid):
    assert (vat_problem(number, country) == "") is valid


def test_a_fixing_holds_until_the_next_within_its_reach():
    files = reference_files()
    rows = ["source,date,base,currency,units_per_base"]
    rows += ["ecb,2026-03-10,EUR,USD,1.0850", "ecb,2026-03-20,EUR,USD,1.1000"]
    reference = load_reference({**files, "fixings.csv": "\n".join(rows).encode()}).reference
    rates = reference.rates_of_exchange

    def usd(day: int) -> Fraction:
        return rates.on("EUR", "USD", date(2026, 3, day)).factor("EUR", "USD")

    assert usd(17) == Fraction(Decimal("1.0850"))
    assert usd(20) == Fraction(11, 10)
    # neither too old nor a later one, which was not known
    for day in (9, 18, 19):
        with pytest.raises(MissingFixing, match="no fixing between EUR and USD"):
            usd(day)


def test_fixings_of_two_sources_need_one_to_be_named():
    rows = ["source,date,base,currency,units_per_base"]
    rows += ["ecb,2026-03-10,EUR,USD,1.0850", "fed,2026-03-10,EUR,USD,1.0900"]
    files = {**reference_files(), "fixings.csv": "\n".join(rows).encode()}
    rates = load_reference(files).reference.rates_of_exchange
    with pytest.raises(MissingFixing, match="quoted by ecb and fed"):
        replace(rates, source="").on("EUR", "USD", date(2026, 3, 10))


def test_gaps_and_repeats_of_a_sequence_that_wraps():
    assert sequence_gaps([9997, 9998, 1, 2, 2, 4], 9999) == ([9999, 3], [2])


def test_a_partner_differs_from_the_rest_and_the_rest_from_the_defaults():
    controls = Controls.model_validate(
        {
            "rules": {"zero_rate": {"severity": "blocking"}, "change": {"owner": "sales"}},
            "thresholds": {"suspense_share": "0.02", "usual_day": 10},
            "partners": {
                "P01": {
                    "rules": {"zero_rate": {"severity": "off"}},
                    "thresholds": {"suspense_share": "0.001"},
                }
            },
        }
    )
    assert controls.rule_of("P01", "zero_rate").severity is Severity.OFF
    assert controls.rule_of("P02", "zero_rate").severity is Severity.BLOCKING
    assert controls.rule_of("P01", "change").owner == "sales"
    assert controls.rule_of("P01", "vat_id") == RULES["vat_id"]
    own, rest = controls.thresholds_of("P01"), controls.thresholds_of("P02")
    assert (own.suspense_share, own.usual_day) == (Decimal("0.001"), 10)
    assert rest.suspense_share == Decimal("0.02")


def test_thresholds_are_exact_decimals():
    with pytest.raises((ValueError, InputError), match="is not a decimal"):
        Controls.model_validate({"thresholds": {"suspense_share": 0.01}})
