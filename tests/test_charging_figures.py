"""Figures worked by hand for every model of charges, each with its whole derivation."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.pricing import priced

RATES = [
    {"code": 44740, "destination": "UK Mobile O2", "rate": "0.0200"},
    {"code": 44741, "destination": "UK Mobile EE", "rate": "0.0300"},
]
O2, EE = "447400123456", "447410123456"
TIERS = [{"up_to": 100, "price": "0.10"}, {"up_to": 300, "price": "0.08"}, {"price": "0.05"}]
CREDIT = [{"up_to": 100, "discount": "0.10"}, {"discount": "0.20"}]
FEES = [{"up_to": 100, "fee": "10"}, {"fee": "30"}]
REBATE = [{"up_to": 100, "price": "0"}, {"price": "0.01"}]
STEP = {"from": "2026-03-16", "quantity": 5}


def calls(month: int, count: int, day: int = 2, number: str = O2, seconds: int = 60) -> dict:
    start = date(2026, month, day)
    return {
        "start": f"{start}T10:00:00Z", "b_number": number, "duration_s": seconds, "records": count
    }  # fmt: skip


def volume(*rules: dict) -> dict:
    usual = {"rule": "r", "model": "graduated", "period": "month"}
    return {"volume": [{**usual, "tiers": TIERS, **rule} for rule in rules]}


def commitment(**terms: object) -> dict:
    return {"commitments": [{"commitment": "c", "period": "month", **terms}]}


def fee(**terms: object) -> dict:
    usual = {"fee": "f", "title": "Fee", "price": "1000", "from": "2026-01-01"}
    return {"recurring": [{**usual, **terms}]}


CASES = {
    "exactly at a bound": (volume({}), [calls(3, 100)], ["03 tier 10.00"]),
    "a call over two bounds, in three parts": (
        volume({"in_call_order": True}),
        [calls(3, 199, seconds=30), calls(3, 1, day=3, number=EE, seconds=18000)],
        ["03 tier 0.05", "03 tier 16.00", "03 tier 4.98", "03 tier 9.95"],
    ),
    "all-unit over two destinations, exclusive bound reached": (
        volume({"model": "all_unit", "bounds": "exclusive"}),
        [calls(3, 150), calls(3, 150, number=EE)],
        ["03 tier 15.00"],
    ),
    "all-unit over two destinations, inclusive bound reached": (
        volume({"model": "all_unit"}),
        [calls(3, 150), calls(3, 150, number=EE)],
        ["03 tier 24.00"],
    ),
    "all-unit, a count for each destination": (
        volume({"model": "all_unit", "accumulate": "by_destination"}),
        [calls(3, 150), calls(3, 150, number=EE)],
        ["03 tier 12.00", "03 tier 12.00"],
    ),
    "a year's tiers go on": (
        volume({"period": "year"}),
        [calls(1, 250), calls(3, 100)],
        ["01 tier 10.00", "01 tier 12.00", "03 tier 2.50", "03 tier 4.00"],
    ),
    "a year's all-unit price takes back what was billed above it": (
        volume({"period": "year", "model": "all_unit"}),
        [calls(1, 250), calls(3, 100)],
        ["01 tier 20.00", "03 tier -7.50", "03 tier 5.00"],
    ),
    "a discount on a quarter's spend, once at its end": (
        volume({"model": "discount", "period": "quarter", "tiers": CREDIT}),
        [calls(1, 3000), calls(3, 3000)],
        ["01 usage 60.00", "03 discount -14.00", "03 usage 60.00"],
    ),
    "a discount on tiers and on the sheet together": (
        volume(
            {"rule": "t", "destinations": ["UK Mobile O2"]}, {"model": "discount", "tiers": CREDIT}
        ),
        [calls(3, 100), calls(3, 1000, number=EE)],
        ["03 discount -4.00", "03 tier 10.00", "03 usage 30.00"],
    ),
    "the fee of a bound reached exactly": (
        volume({"model": "flat_fee", "bounds": "exclusive", "tiers": FEES}),
        [calls(3, 100)],
        ["03 fixed_fee 30.00"],
    ),
    "a quarter's flat fee falls due once": (
        volume({"model": "flat_fee", "period": "quarter", "tiers": FEES}),
        [calls(1, 90), calls(2, 20), calls(3, 1)],
        ["03 fixed_fee 30.00"],
    ),
    "a rebate above the target alone": (
        volume({"model": "rebate", "tiers": REBATE}),
        [calls(3, 150)],
        ["03 rebate -0.50", "03 usage 3.00"],
    ),
    "a rebate whose target is only just missed": (
        volume({"model": "rebate", "on": "all", "tiers": REBATE}),
        [calls(3, 100)],
        ["03 usage 2.00"],
    ),
    "a minimum from the 11th of June": (
        commitment(amount="6000", **{"from": "2026-06-11"}),
        [calls(6, 50000, day=6), calls(6, 150000, day=12)],
        ["06 shortfall 1000.00", "06 usage 4000.00"],
    ),
    "a quarter's minimum from the 15th of February": (
        commitment(amount="9000", period="quarter", **{"from": "2026-02-15"}),
        [calls(1, 50000), calls(2, 50000, day=20), calls(3, 100000)],
        ["01 usage 1000.00", "02 usage 1000.00", "03 shortfall 1500.00", "03 usage 2000.00"],
    ),
    "a year's minimum is tested in December": (
        commitment(amount="12000", period="year"),
        [calls(1, 50000), calls(12, 25000)],
        ["01 usage 1000.00", "12 shortfall 10500.00", "12 usage 500.00"],
    ),
    "a quarter's excess is carried into the next alone": (
        commitment(amount="10000", period="quarter", carry=True),
        [calls(3, 550000), calls(6, 475000), calls(9, 475000)],
        ["03 usage 11000.00", "06 usage 9500.00", "09 shortfall 500.00", "09 usage 9500.00"],
    ),
    "send or pay at the tolerance": (
        commitment(quantity="1000", price="0.03", tolerance="0.05"),
        [calls(3, 950)],
        ["03 usage 19.00"],
    ),
    "send or pay a minute below the tolerance": (
        commitment(quantity="1000", price="0.03", tolerance="0.05"),
        [calls(3, 949)],
        ["03 shortfall 0.03", "03 usage 18.98"],
    ),
    "send or pay all, a minute below the tolerance": (
        commitment(quantity="1000", price="0.03", tolerance="0.05", beyond_tolerance="all"),
        [calls(3, 949)],
        ["03 shortfall 1.53", "03 usage 18.98"],
    ),
    "a minimum on one stream": (
        commitment(amount="100", destinations=["UK Mobile O2"]),
        [calls(3, 3000), calls(3, 9000, number=EE)],
        ["03 shortfall 40.00", "03 usage 270.00", "03 usage 60.00"],
    ),
    "30/360 from the 31st is one day": (
        fee(day_count="30/360", **{"from": "2026-01-31"}),
        [calls(1, 1, day=31)],
        ["01 recurring 33.33", "01 usage 0.02"],
    ),
    "30/360 up to the 28th of February": (
        fee(day_count="30/360", to="2026-02-28"),
        [calls(2, 1)],
        ["02 recurring 900.00", "02 usage 0.02"],
    ),
    "a year in advance from the 10th of March, by days": (
        fee(every="year", bill="advance", **{"from": "2026-03-10"}),
        [calls(3, 1)],
        ["03 recurring 813.70", "03 usage 0.02"],
    ),
    "a year in advance from the 10th of March, 30/360": (
        fee(every="year", bill="advance", day_count="30/360", **{"from": "2026-03-10"}),
        [calls(3, 1)],
        ["03 recurring 808.33", "03 usage 0.02"],
    ),
    "a quantity that changes inside a month": (
        fee(quantity=3, quantities=[STEP]),
        [calls(3, 1)],
        ["03 recurring 4032.26", "03 usage 0.02"],
    ),
    "the same by months of 30 days": (
        fee(quantity=3, day_count="30/360", quantities=[STEP]),
        [calls(3, 1)],
        ["03 recurring 4000.00", "03 usage 0.02"],
    ),
    "one-time, rounded once": (
        {"one_time": [{"fee": "i", "title": "I", "price": "250.005", "quantity": 3,
                       "on": "2026-03-31"}]},
        [calls(3, 1)],
        ["03 one_time 750.02", "03 usage 0.02"],
    ),
    "short calls at the threshold": (
        {"short_calls": {"seconds": 6, "threshold": "0.15", "fee": "0.01"}},
        [calls(3, 17), calls(3, 3, seconds=6)],
        ["03 usage 0.35"],
    ),
    "short calls above the threshold, the excess alone": (
        {"short_calls": {"seconds": 6, "threshold": "0.15", "fee": "0.01", "scope": "excess"}},
        [calls(3, 16), calls(3, 3, seconds=6), calls(3, 1, seconds=1)],
        ["03 surcharge 0.01", "03 usage 0.33"],
    ),
    "a payphone surcharge for each answered call": (
        {"surcharges": [{"surcharge": "payphone", "codes": ["447"], "per_call": "0.494"}]},
        [calls(3, 3)],
        ["03 usage 1.54"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_model_gives_the_figures_worked_by_hand(name: str, tmp_path: Path) -> None:
    terms, usage, wanted = CASES[name]
    result = priced(tmp_path, [{"rates": RATES, **terms}], usage)
    charges = [c for c in result["charges"] if c["kind"] != "replaced"]
    assert sorted(f"{c['cycle'][-2:]} {c['kind']} {c['amount']}" for c in charges) == wanted
    for charge in charges:
        assert charge["agreement"] == "A@1"
        assert charge["rule"] and charge["steps"]
        # what a usage line counts are its records, which `icb explain` shows
        assert charge["inputs"] or charge["kind"] == "usage"
    again = priced(tmp_path, [{"rates": RATES, **terms}], usage[::-1])
    assert json.dumps(again["charges"], default=str) == json.dumps(result["charges"], default=str)


CENT = [{"code": 44, "destination": "UK", "rate": "0.01"}]
BUNDLE = {"rule": "b", "model": "bundle", "period": "month"}
OPENED = {
    "in_call_order": True,
    "tiers": [
        {"up_to": 100000, "price": "0.0100"},
        {"up_to": 500000, "price": "0.0085"},
        {"price": "0.0070"},
    ],
    "opening": [{"until": "2026-03-01", "quantity": "99999.5"}],
}
SPEND = [{"up_to": 5000, "discount": 0}, {"up_to": 10000, "discount": "0.03"}, {"discount": "0.05"}]
TOTALS = {
    "D04": (volume(OPENED), [calls(3, 1, seconds=120)], "0.017750"),
    "D06": (volume({"model": "discount", "tiers": SPEND}), [calls(3, 1240000)], "12130.00"),
    "E02": (
        commitment(amount="150000.00", period="quarter"),
        [calls(1, 4321755), calls(2, 5100000), calls(3, 4890010)],
        "150000.00",
    ),
    "E04": (
        {"volume": [{**BUNDLE, "included": 1000000, "fee": "4000", "overage_price": "0.0060"}]},
        [calls(3, 1120500)],
        "4723.00",
    ),
    "F05": (
        {"volume": [{**BUNDLE, "included": 50000, "price": "0.0060"}],
         "rates": [{"code": 44, "destination": "UK", "rate": "0.0110"}]},
        [calls(3, 62000)],
        "432.00",
    ),
}  # fmt: skip


@pytest.mark.parametrize("example", TOTALS)
def test_a_worked_example_comes_to_its_total(example: str, tmp_path: Path) -> None:
    terms, usage, total = TOTALS[example]
    charges = priced(tmp_path, [{"rates": CENT, **terms}], usage)["charges"]
    money = [c["exact_amount"] for c in charges if c["kind"] != "replaced"]
    assert sum(money) == Decimal(total)
    if example == "E02":
        assert [(c["cycle"], str(c["amount"])) for c in charges if c["kind"] == "shortfall"] == [
            ("A/2026-03", "6882.35")
        ]
