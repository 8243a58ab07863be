"""Volume terms: what loading refuses, and arithmetic that holds for any volume."""

from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_assets.charging.volume import (
    all_unit,
    graduated,
    inside_bundle,
    tier_parts,
    tier_reached,
)
from billing_assets.reference.volume_terms import VolumeRule, calendar_window
from tests.support.references import agreement, loaded

TIERS = [{"up_to": 100, "price": "0.01"}, {"price": "0.02"}]
RULE = {"rule": "r", "model": "graduated", "period": "month", "tiers": TIERS}
MINIMUM = {"commitment": "m", "period": "month", "amount": "10"}


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"volume": [{**RULE, "period": None}]}, "is not 'month'"),
        ({"volume": [{k: v for k, v in RULE.items() if k != "period"}]}, "is missing"),
        ({"volume": [{**RULE, "period": "deal"}]}, "period: deal needs from and to"),
        ({"volume": [{**RULE, "tiers": []}]}, "graduated needs tiers"),
        ({"volume": [{**RULE, "tiers": TIERS[:1]}]}, "volume above has no price"),
        (
            {"volume": [{**RULE, "tiers": [TIERS[0], {**TIERS[0], "up_to": 50}, TIERS[1]]}]},
            "tier 2 up to 50 falls below 100",
        ),
        ({"volume": [{**RULE, "tiers": [TIERS[0], {**TIERS[1], "from": 90}]}]}, "overlaps"),
        ({"volume": [{**RULE, "tiers": [TIERS[0], {**TIERS[1], "from": 110}]}]}, "leaves a gap"),
        ({"volume": [{**RULE, "tiers": [{"fee": 1}]}]}, "needs price and nothing else"),
        ({"volume": [{**RULE, "model": "discount", "tiers": [{"discount": 2}]}]}, "less than or"),
        ({"volume": [RULE, RULE]}, "is the name of two rules"),
        ({"volume": [{**RULE, "agreements": ["NONE"]}]}, "is no agreement"),
        (
            {"commitments": [{k: v for k, v in MINIMUM.items() if k != "period"}]},
            "is missing",
        ),
        ({"commitments": [{**MINIMUM, "quantity": 1}]}, "either an amount or a quantity"),
        ({"commitments": [{**MINIMUM, "amount": None, "quantity": 1}]}, "price of a missing"),
        ({"volume": [{**RULE, "destinations": ["Nowhere"]}]}, "is no destination of what r counts"),
        ({"volume": [{**RULE, "accounts": ["P01-Z"]}]}, "is no account of what r counts"),
        ({"commitments": [{**MINIMUM, "destinations": ["Nowhere"]}]}, "is no destination of what"),
        (
            {"volume": [{**RULE, "from": "2020-01-01", "to": "2020-02-01"}]},
            "r holds on no day of A",
        ),
        ({"volume": [{**RULE, "model": "all_unit", "in_call_order": True}]}, "is for graduated"),
        ({"volume": [{**RULE, "model": "rebate", "accumulate": "by_account"}]}, "not rebate"),
        ({"volume": [{**RULE, "on": "all"}]}, "on is for discount, rebate, not graduated"),
        ({"volume": [{**RULE, "prorate": True}]}, "prorate is for flat_fee, bundle"),
        (
            {"volume": [{**RULE, "opening": [{"until": "2026-03-01", "quantity": 1, "of": "X"}]}]},
            "opening.of goes with accumulate",
        ),
        (
            {"volume": [{"rule": "b", "model": "bundle", "period": "month", "included": 5}]},
            "a bundle needs fee or price",
        ),
        (
            {"one_time": [{"fee": "f", "title": "F", "price": 5, "on": "2025-12-31"}]},
            "is no day of A: f would never be charged",
        ),
    ],
)
def test_terms_that_cannot_hold_are_refused_with_their_file(terms: dict, said: str) -> None:
    problems = loaded([agreement(**terms)]).problems
    assert any(said in str(p) and "agreements/A-1.yaml" in str(p) for p in problems), problems


QUANTITIES = st.fractions(min_value=0, max_value=1000, max_denominator=60)


def rule(model: str) -> VolumeRule:
    tiers = [
        {"up_to": "100", "price": "0.0100"},
        {"up_to": "500", "price": "0.0085"},
        {"price": "0.0070"},
    ]
    return VolumeRule.model_validate({**RULE, "model": model, "tiers": tiers})


@given(st.lists(QUANTITIES, max_size=6), QUANTITIES)
def test_parts_billed_one_after_another_are_the_whole(parts: list[Fraction], opening) -> None:
    scale, position, billed = rule("graduated"), opening, Fraction(0)
    for part in parts:
        billed += graduated(scale, position, part)
        position += part
    assert billed == graduated(scale, opening, sum(parts, Fraction(0)))
    # taking it all back in one step leaves nothing
    assert billed + graduated(scale, position, -sum(parts, Fraction(0))) == 0


@given(QUANTITIES, QUANTITIES)
def test_a_quantity_is_cut_without_loss(before: Fraction, quantity: Fraction) -> None:
    tiers = rule("graduated").tiers
    assert sum((part for _, part in tier_parts(tiers, before, quantity)), Fraction(0)) == quantity
    inside = inside_bundle(Fraction(300), before, quantity)
    assert 0 <= inside <= quantity


@given(QUANTITIES)
def test_all_unit_is_the_reached_price_for_everything(total: Fraction) -> None:
    scale = rule("all_unit")
    price = tier_reached(scale, total).price
    assert price is not None
    assert all_unit(scale, total) == total * Fraction(price)


def test_windows_are_those_of_the_calendar() -> None:
    assert calendar_window("month", date(2026, 12, 31)) == (date(2026, 12, 1), date(2027, 1, 1))
    assert calendar_window("year", date(2026, 5, 1)) == (date(2026, 1, 1), date(2027, 1, 1))
