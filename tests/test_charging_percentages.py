"""Percentages on usage through `icb price`: lines of their own with their derivation."""

from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.pricing import priced
from tests.support.references import agreement, loaded

RATES = [
    {"code": 44, "destination": "UK", "rate": "0.0123"},
    {"code": 33, "destination": "France", "rate": "0.0200"},
    {"code": 49, "destination": "Germany", "rate": "0.0300"},
]
UK, FR, DE = "442012345678", "33140000000", "493012345678"
FEE = {"percentage": "fee", "title": "Regulatory fee", "rate": "0.02"}


def minutes(count: int, number: str = UK, day: str = "2026-03-02") -> dict:
    """So many calls of one minute."""
    start = f"{day}T10:00:00Z"
    return {"start": start, "b_number": number, "duration_s": 60, "records": count}


def charged(folder: Path, terms: dict, usage: list[dict], month: str = "") -> list[dict]:
    result = priced(folder, [{"rates": RATES, **terms}], usage, month=month)
    return [c for c in result["charges"] if c["kind"] != "replaced"]


def surcharges(lines: list[dict]) -> list[tuple[str, str]]:
    return sorted((c["description"], str(c["amount"])) for c in lines if c["kind"] == "surcharge")


def test_a_percentage_of_all_usage_and_one_of_named_destinations(tmp_path: Path) -> None:
    levy = {"percentage": "levy", "title": "Levy", "rate": "0.1", "destinations": ["France"]}
    found = charged(
        tmp_path, {"percentages": [FEE, levy]}, [minutes(1001), minutes(500, FR)]
    )  # 12.3123 -> 12.31, 10.00
    assert surcharges(found) == [("Levy, 10%", "1.00"), ("Regulatory fee, 2%", "0.45")]
    (line,) = [c for c in found if c["description"].startswith("Regulatory")]
    assert line["steps"] == [
        "France: 10",
        "UK: 12.31",
        "2% of 22.31 EUR",
        "line rounded half up to 2 decimals: 0.45",
    ]


def test_it_is_taken_of_what_rules_charge_and_not_of_credits(tmp_path: Path) -> None:
    tiers = {"rule": "uk", "model": "all_unit", "period": "month", "destinations": ["UK"],
             "tiers": [{"up_to": "100", "price": "0.10"}, {"price": "0.05"}]}  # fmt: skip
    half = {"rule": "off", "model": "discount", "period": "month", "on": "all",
            "tiers": [{"discount": "0.5"}]}  # fmt: skip
    on_uk = {**FEE, "destinations": ["UK"]}
    terms = {"volume": [tiers, half], "percentages": [on_uk]}
    found = charged(tmp_path, terms, [minutes(200), minutes(100, FR)])
    assert surcharges(found) == [("Regulatory fee, 2%", "0.20")]
    shared = {
        "leg": "supplier",
        "shares": [
            {"share": "half", "remainder": "carrier",
             "takes": [{"priority": 1, "to": "P01", "share": "0.5"}]}
        ],
        "percentages": [FEE],
    }  # fmt: skip
    assert surcharges(charged(tmp_path, shared, [minutes(100, FR)])) == [
        ("Regulatory fee, 2%", "0.02")
    ]


def test_reverse_billing_turns_it_and_earlier_usage_is_counted(tmp_path: Path) -> None:
    terms = {"reverse": True, "percentages": [{**FEE, "rate": "0.5"}]}
    usage = [minutes(100, FR), minutes(100, FR, day="2026-02-10")]
    assert surcharges(charged(tmp_path, terms, usage, month="2026-03")) == [
        ("Regulatory fee, 50%", "-2.00")
    ]


def test_a_hub_that_sells_at_cost_keeps_its_least_margin_by_line(tmp_path: Path) -> None:
    """5 % of 0.0300 is more than 0.0012, of 0.0200 and 0.0123 less."""
    hub = {"percentage": "hub", "title": "Margin", "rate": "0.05", "at_least": "0.0012"}
    usage = [minutes(10000, DE), minutes(10000, FR), minutes(10000)]
    found = charged(tmp_path, {"percentages": [hub]}, usage)
    assert surcharges(found) == [("Margin, 5%", "39.00")]
    (line,) = [c for c in found if c["kind"] == "surcharge"]
    assert line["steps"] == [
        "France: 200, at least 0.0012 a minute: 12",
        "Germany: 300",
        "UK: 123, at least 0.0012 a minute: 12",
        "5% of 623 EUR, no line below its least amount",
        "39 EUR",
    ]
    free = charged(tmp_path, {"percentages": [hub], "bill_and_keep": True}, usage)
    assert surcharges(free) == []
    back = charged(tmp_path, {"percentages": [hub], "reverse": True}, usage)
    assert surcharges(back) == [("Margin, 5%", "-39.00")]


@pytest.mark.parametrize("reverse", [False, True])
def test_what_is_priced_again_keeps_its_least_margin_once(tmp_path: Path, reverse: bool) -> None:
    """1000 minutes a month, 0.05 and then all 0.04: 5 % of 50 is more than 2, of 40 it is 2.

    February pays its own 2 and gives back half a euro of January's 2.50.
    """
    tiers = {"rule": "uk", "model": "all_unit", "period": "quarter",
             "tiers": [{"up_to": "1000", "price": "0.05"}, {"price": "0.04"}]}  # fmt: skip
    hub = {"percentage": "hub", "title": "Margin", "rate": "0.05", "at_least": "0.002"}
    terms = {"volume": [tiers], "percentages": [hub], "reverse": reverse}
    usage = [minutes(1000, day=f"2026-0{month}-10") for month in (1, 2, 3)]
    found = charged(tmp_path, terms, usage)
    sign = -1 if reverse else 1
    assert [sign * c["amount"] for c in found if c["kind"] == "surcharge"] == [
        Decimal(amount) for amount in ("2.50", "1.50", "2.00")
    ]


@pytest.mark.parametrize(
    ("change", "place", "said"),
    [
        ({"rate": "2"}, "percentages.0.rate", "equal to 1"),
        ({"rate": "0"}, "percentages.0.rate", "greater than 0"),
        ({"destinations": ["Frence"]}, "percentages.0.destinations", "no destination of the"),
        ({"destinations": ["UK"]}, "percentages.0.destinations", "part of what group prices"),
    ],
)
def test_wrong_percentages_are_refused_at_load(change: dict, place: str, said: str) -> None:
    group = {"rule": "group", "model": "graduated", "period": "month",
             "destinations": ["UK", "Germany"], "tiers": [{"price": "0.01"}]}  # fmt: skip
    form = agreement(rates=RATES, volume=[group], percentages=[{**FEE, **change}])
    problems = loaded([form]).problems
    assert problems[0].field == place
    assert problems[0].row
    assert said in problems[0].message
