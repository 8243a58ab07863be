"""Volume rules and commitments through `icb price`: tiers, bundles, credits, shortfalls."""

from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.pricing import priced

SCALE = [
    {"up_to": "100000", "price": "0.0100"},
    {"up_to": "500000", "price": "0.0085"},
    {"price": "0.0070"},
]
GROUP = [
    {"code": 44740, "destination": "UK Mobile O2", "rate": "0.0200"},
    {"code": 44741, "destination": "UK Mobile EE", "rate": "0.0300"},
    {"code": 33, "destination": "France", "rate": "0.0050"},
]
O2, EE, FR = "447400123456", "447410123456", "33140000000"


def minutes(count: int, day: str = "2026-03-02", number: str = O2, **more) -> dict:
    """So many calls of one minute."""
    return {
        "start": f"{day}T10:00:00Z",
        "b_number": number,
        "duration_s": 60,
        "records": count,
        **more,
    }


def lines(tmp_path: Path, terms: dict, usage: list[dict]) -> list[dict]:
    result = priced(tmp_path, [{"rates": GROUP, **terms}], usage)
    rated = sum(leg["total"] for leg in result["legs"])
    kept = sum(c["exact_amount"] for c in result["charges"] if c["kind"] in ("usage", "replaced"))
    assert kept == rated
    return [c for c in result["charges"] if c["kind"] != "replaced"]


def shown(charges: list[dict]) -> list[tuple[str, str]]:
    return sorted((c["kind"], str(c["amount"])) for c in charges)


def tiered(**more) -> dict:
    rule = {"rule": "uk", "model": "graduated", "period": "month", "tiers": SCALE, **more}
    return {"volume": [rule]}


def test_d01_each_part_at_its_tier_s_price(tmp_path: Path) -> None:
    found = lines(tmp_path, tiered(), [minutes(650000)])
    assert shown(found) == [("tier", "1000.00"), ("tier", "1050.00"), ("tier", "3400.00")]


def test_d02_all_minutes_at_the_price_of_the_tier_reached(tmp_path: Path) -> None:
    found = lines(tmp_path, tiered(model="all_unit"), [minutes(650000)])
    assert shown(found) == [("tier", "4550.00")]


@pytest.mark.parametrize(("bounds", "amount"), [("inclusive", "1000.00"), ("exclusive", "850.00")])
def test_at_exactly_a_bound_the_bounds_decide(tmp_path: Path, bounds: str, amount: str) -> None:
    found = lines(tmp_path, tiered(model="all_unit", bounds=bounds), [minutes(100000)])
    assert shown(found) == [("tier", amount)]


def test_d04_a_call_over_a_bound_is_priced_in_parts(tmp_path: Path) -> None:
    opening = [{"until": "2026-03-01", "quantity": "99999.5"}]
    call = minutes(1, duration_s=120)
    found = lines(tmp_path, tiered(opening=opening, in_call_order=True), [call])
    assert sorted(c["exact_amount"] for c in found) == [Decimal("0.005"), Decimal("0.01275")]


def test_d08_one_accumulator_over_a_group_in_call_order(tmp_path: Path) -> None:
    rule = tiered(destinations=["UK Mobile O2", "UK Mobile EE"], in_call_order=True)
    usage = [minutes(40000, "2026-03-03", EE), minutes(80000), minutes(1000, number=FR)]
    found = lines(tmp_path, rule, usage)
    assert sorted((c["description"], str(c["amount"])) for c in found) == [
        ("France", "5.00"),
        ("UK Mobile EE, up to 100000 minutes", "200.00"),
        ("UK Mobile EE, up to 500000 minutes", "170.00"),
        ("UK Mobile O2, up to 100000 minutes", "800.00"),
    ]


def test_a_quarter_s_tiers_go_on_where_the_month_before_ended(tmp_path: Path) -> None:
    usage = [minutes(90000, "2026-01-10"), minutes(20000, "2026-02-10"), minutes(5000)]
    found = lines(tmp_path, tiered(period="quarter"), usage)
    assert sorted((c["cycle"][-7:], str(c["amount"])) for c in found) == [
        ("2026-01", "900.00"),
        ("2026-02", "100.00"),
        ("2026-02", "85.00"),
        ("2026-03", "42.50"),
    ]


def test_all_unit_prices_earlier_months_of_the_quarter_again(tmp_path: Path) -> None:
    usage = [minutes(90000, "2026-01-10"), minutes(20000, "2026-02-10")]
    found = lines(tmp_path, tiered(period="quarter", model="all_unit"), usage)
    assert shown(found) == [("tier", "-135.00"), ("tier", "170.00"), ("tier", "900.00")]
    assert sum(c["amount"] for c in found) == Decimal("935.00")  # 110,000 x 0.0085


def test_d06_a_discount_on_the_parts_of_the_spend(tmp_path: Path) -> None:
    tiers = [
        {"up_to": "5000", "discount": "0"},
        {"up_to": "10000", "discount": "0.03"},
        {"discount": "0.05"},
    ]
    rule = {"rule": "spend", "model": "discount", "period": "month", "tiers": tiers}
    found = lines(tmp_path, {"volume": [rule]}, [minutes(620000)])
    assert shown(found) == [("discount", "-270.00"), ("usage", "12400.00")]
    whole = lines(tmp_path, {"volume": [{**rule, "on": "all"}]}, [minutes(620000)])
    assert shown(whole) == [("discount", "-620.00"), ("usage", "12400.00")]


def bundle(**more) -> dict:
    return {"volume": [{"rule": "pack", "model": "bundle", "period": "month", **more}]}


def test_e04_a_fixed_fee_and_the_overage(tmp_path: Path) -> None:
    rule = bundle(included="1000000", fee="4000", overage_price="0.0060")
    found = lines(tmp_path, rule, [minutes(1120500)])
    assert shown(found) == [("bundle", "723.00"), ("fixed_fee", "4000.00")]
    assert shown(lines(tmp_path, rule, [minutes(1)])) == [("fixed_fee", "4000.00")]


def test_f05_the_deal_s_price_inside_and_the_sheet_outside_in_call_order(tmp_path: Path) -> None:
    rates = [{"code": 33, "destination": "France Mobile", "rate": "0.0110"}]
    rule = bundle(included="50000", price="0.0060", destinations=["France Mobile"])
    usage = [minutes(12000, "2026-03-09", FR), minutes(50000, number=FR)]
    found = lines(tmp_path, {"rates": rates, **rule}, usage)
    assert shown(found) == [("bundle", "300.00"), ("usage", "132.00")]


def test_the_order_of_calls_decides_which_are_inside(tmp_path: Path) -> None:
    usage = [minutes(600, "2026-03-09", EE), minutes(600)]
    found = lines(tmp_path, bundle(included="1000", price="0"), usage)
    assert [(c["description"], str(c["quantity"]), str(c["amount"])) for c in found] == [
        ("UK Mobile EE", "200", "6.00")
    ]


BEFORE = {"rule": "before", "period": "month"}
CALLS = [
    minutes(100, "2026-03-03"),
    minutes(1, "2026-03-04"),
    minutes(20, "2026-03-05", EE),
    minutes(2, "2026-03-07", duration_s=3600),
]


@pytest.mark.parametrize(
    ("before", "rule", "wanted"),
    [
        # 100.5 minutes, of which the last is split; then 20.5 and 9.5 of 140.5 in call order
        (
            {"model": "bundle", "included": "100.5", "price": "0.03"},
            {"in_call_order": True, "tiers": [{"up_to": 30, "price": "0.10"}, {"price": "0.05"}]},
            [("bundle", "3.02"), ("tier", "1.00"), ("tier", "2.00"), ("tier", "5.53")],
        ),
        # a second bundle of 25.25 begins where the first ends: 115.25 stay, one of them in part
        (
            {"model": "bundle", "included": "100.5", "price": "0.03"},
            {"model": "bundle", "included": "25.25", "price": "0.01", "tiers": []},
            [("bundle", "0.25"), ("bundle", "3.02"), ("usage", "2.31")],
        ),
        # what tiers of one destination price does not come into the order of the others
        (
            {"model": "graduated", "tiers": [{"price": "0.03"}], "destinations": ["UK Mobile O2"]},
            {"in_call_order": True, "tiers": [{"up_to": 15, "price": "0.10"}, {"price": "0.05"}]},
            [("tier", "0.25"), ("tier", "1.50"), ("tier", "6.63")],
        ),
        # the first bundle has room for all, or has none left
        (
            {"model": "bundle", "included": "500", "price": "0.03"},
            {"model": "bundle", "included": "25.25", "price": "0.01", "tiers": []},
            [("bundle", "7.23")],
        ),
        (
            {"model": "bundle", "included": "500", "price": "0.03",
             "opening": [{"until": "2026-03-01", "quantity": 500}]},
            {"model": "bundle", "included": "25.25", "price": "0.01", "tiers": []},
            [("bundle", "0.25"), ("usage", "0.60"), ("usage", "3.92")],
        ),
    ],
)  # fmt: skip
def test_a_rule_in_call_order_prices_what_the_one_before_it_left(
    tmp_path: Path, before: dict, rule: dict, wanted: list
) -> None:
    terms = tiered(**rule)
    terms["volume"].insert(0, {**BEFORE, **before})
    assert shown(lines(tmp_path, terms, CALLS)) == wanted


def test_d05_s10_a_rebate_on_all_minutes_once_in_the_quarter_s_last_cycle(tmp_path: Path) -> None:
    rebate = {
        "rule": "quarter", "model": "rebate", "period": "quarter", "on": "all",
        "bounds": "exclusive",
        "tiers": [{"up_to": "150000", "price": "0"}, {"price": "0.10"}],
        "opening": [{"until": "2026-02-28", "quantity": "100500"}],
    }  # fmt: skip
    terms = {
        "currency": "JPY",
        "rounding": {"line": {"decimals": 0, "method": "down"}},
        "rates": [{"code": 351, "rate": "1.85"}],
        "volume": [rebate],
    }
    calls = minutes(40000, number="351212345678", duration_s=77)
    found = lines(tmp_path, terms, [calls])
    assert shown(found) == [("rebate", "-15183"), ("usage", "94966")]
    [steps] = [one["steps"] for one in found if one["kind"] == "rebate"]
    assert steps[0] == "2026-01-01 to 2026-03-31: 151833.3333 minutes"
    below = {**rebate, "opening": [{"until": "2026-02-28", "quantity": "98000"}]}
    assert shown(lines(tmp_path, {**terms, "volume": [below]}, [calls])) == [("usage", "94966")]


def commitment(**more) -> dict:
    return {"commitments": [{"commitment": "minimum", "period": "month", **more}]}


def test_e02_a_quarter_s_commitment_is_tested_once(tmp_path: Path) -> None:
    usage = [minutes(2160877, "2026-01-10"), minutes(2550000, "2026-02-10"), minutes(2445005)]
    found = lines(tmp_path, commitment(amount="150000", period="quarter"), usage)
    short = [(c["cycle"][-7:], str(c["amount"])) for c in found if c["kind"] == "shortfall"]
    assert short == [("2026-03", "6882.36")]


@pytest.mark.parametrize(("carry", "short"), [(True, []), (False, ["500.00"])])
def test_e06_excess_counts_in_the_next_month_alone(tmp_path: Path, carry, short) -> None:
    usage = [minutes(560000, "2026-01-10"), minutes(475000, "2026-02-10")]
    found = lines(tmp_path, commitment(amount="10000", carry=carry), usage)
    assert [str(c["amount"]) for c in found if c["kind"] == "shortfall"] == short
    third = lines(tmp_path, commitment(amount="10000", carry=True), [*usage, minutes(500)])
    assert [str(c["amount"]) for c in third if c["kind"] == "shortfall"] == ["9990.00"]


@pytest.mark.parametrize(
    ("more", "short"),
    [
        ({}, "3.00"),
        ({"tolerance": "0.05"}, "1.50"),
        ({"tolerance": "0.05", "beyond_tolerance": "all"}, "3.00"),
        ({"tolerance": "0.10"}, None),
    ],
)
def test_e03_missing_minutes_beyond_the_tolerance(tmp_path: Path, more: dict, short) -> None:
    terms = commitment(quantity="1000", price="0.03", **more)
    found = [c for c in lines(tmp_path, terms, [minutes(900)]) if c["kind"] == "shortfall"]
    assert [str(c["amount"]) for c in found] == ([short] if short else [])


def test_e05_a_commitment_counts_by_its_days(tmp_path: Path) -> None:
    terms = commitment(amount="310", **{"from": "2026-03-11"})
    found = lines(tmp_path, terms, [minutes(100, "2026-03-12"), minutes(100)])
    assert [str(c["amount"]) for c in found if c["kind"] == "shortfall"] == ["208.00"]


def test_each_account_has_its_own_tiers_and_a_rule_counts_the_accounts_it_names(
    tmp_path: Path,
) -> None:
    tiers = [{"up_to": 100, "price": "0.10"}, {"price": "0.05"}]
    usage = [minutes(150, in_trunk="P01-A"), minutes(50, in_trunk="sw/P01-B")]
    accounts = {"accounts": ["P01-A", "P01-B"]}
    apart = lines(tmp_path, {**accounts, **tiered(tiers=tiers, accumulate="by_account")}, usage)
    assert sorted((c["description"], str(c["amount"])) for c in apart) == [
        ("uk, P01-A, above 100 minutes", "2.50"),
        ("uk, P01-A, up to 100 minutes", "10.00"),
        ("uk, P01-B, up to 100 minutes", "5.00"),
    ]
    one = lines(tmp_path, {**accounts, **tiered(tiers=tiers, accounts=["P01-B"])}, usage)
    assert shown(one) == [("tier", "5.00"), ("usage", "3.00")]


def test_terms_by_account_are_noted_when_no_record_names_one(tmp_path: Path) -> None:
    terms = {"accounts": ["P01-A", "P01-B"], **tiered(accumulate="by_account")}
    assert priced(tmp_path, [{"rates": GROUP, **terms}], [minutes(1)])["notes"] == [
        "A@1: terms count by account, and no record names one of P01-A, P01-B"
    ]
