"""Shares over several parties through `icb price`: parts, cascades, the hub's margin."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_assets.charging.waterfall import waterfall
from billing_assets.core.errors import InputError
from billing_assets.reference.share_terms import RevenueShare
from tests.support.pricing import priced

NUMBER = "4484412345"
CHAIN = {
    "share": "chain",
    "chain": True,
    "takes": [
        {"priority": 1, "to": "TRANSIT", "passes_on": "0.0440"},
        {"priority": 2, "to": "HUB", "passes_on": "0.0400"},
    ],
    "remainder": "TERM",
}


def minutes(count: int, day: str = "2026-03-02") -> dict:
    """So many calls of one minute."""
    start = f"{day}T10:00:00Z"
    return {"start": start, "b_number": NUMBER, "duration_s": 60, "records": count}


def origin(rate: str = "0.0500", **more: object) -> dict:
    """What the originator pays us."""
    rates = [{"code": 44, "destination": "UK", "rate": rate}]
    return {"agreement": "ORIGIN", "partner": "ORIG", "rates": rates, **more}


def part(partner: str, leg: str = "supplier", share: str = "chain", **more: object) -> dict:
    """A partner's agreement over its part of the originator's share."""
    return {
        "agreement": f"{partner}-{leg}",
        "partner": partner,
        "leg": leg,
        "parts": [{"part": "part", "agreement": "ORIGIN", "share": share}],
        **more,
    }


def lines(folder: Path, agreements: list[dict], usage: list[dict], month: str = "") -> dict:
    """The lines with money by agreement."""
    result = priced(folder, agreements, usage, month=month)
    rated = sum(leg["total"] for leg in result["legs"])
    kept = sum(c["exact_amount"] for c in result["charges"] if c["kind"] in ("usage", "replaced"))
    assert month or kept == rated
    assert not [leg["reason"] for leg in result["legs"] if leg["reason"]]
    found = {c["agreement"].split("@")[0]: c for c in result["charges"] if c["kind"] != "replaced"}
    return {**found, "notes": result["notes"]}


def test_j05_a_cascade_conserves_money_and_shows_neighbours_alone(tmp_path: Path) -> None:
    parties = [
        part("TRANSIT"), part("TRANSIT", "customer"), part("HUB"), part("HUB", "customer"),
        part("TERM"),
    ]  # fmt: skip
    found = lines(tmp_path, [origin(shares=[CHAIN]), *parties], [minutes(10000)])
    amount = {name: line["amount"] for name, line in found.items() if name != "notes"}
    assert {name: str(value) for name, value in amount.items()} == {
        "ORIGIN": "500.00",
        "TRANSIT-supplier": "500.00",
        "TRANSIT-customer": "440.00",
        "HUB-supplier": "440.00",
        "HUB-customer": "400.00",
        "TERM-supplier": "400.00",
    }
    margins = [amount[f"{one}-supplier"] - amount[f"{one}-customer"] for one in ("TRANSIT", "HUB")]
    assert margins == [Decimal("60.00"), Decimal("40.00")]
    assert sum(margins) + amount["TERM-supplier"] == amount["ORIGIN"]
    assert found["ORIGIN"]["kind"] == "usage"
    assert found["HUB-supplier"]["steps"] == [
        "10000 records, 10000 answered, 10000 minutes", "from TRANSIT: 440", "440 EUR",
    ]  # fmt: skip
    assert found["HUB-customer"]["steps"][1] == "to TERM: 400"
    shown = " ".join(found["TRANSIT-customer"]["steps"] + found["TRANSIT-supplier"]["steps"])
    assert "TERM" not in shown
    assert "400" not in shown
    assert found["notes"] == []


def test_every_party_of_a_waterfall_gets_its_part(tmp_path: Path) -> None:
    rule = {
        "share": "split", "vat": "0.25", "remainder": "carrier",
        "takes": [
            {"priority": 1, "to": "carrier", "share": "0.1"},
            {"priority": 2, "to": "ORIG", "share": "0.5"},
            {"priority": 2, "to": "HOST", "title": "hosting", "share": "0.3"},
        ],
    }  # fmt: skip
    terms = origin("1.25", shares=[rule], leg="supplier")
    found = lines(tmp_path, [terms, part("HOST", share="split")], [minutes(100)])
    assert str(found["ORIGIN"]["amount"]) == "45.00"
    assert str(found["HOST-supplier"]["amount"]) == "27.00"
    assert found["HOST-supplier"]["steps"] == [
        "100 records, 100 answered, 100 minutes", "hosting, 30% of 90: 27", "27 EUR",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rate", "paid", "said"),
    [
        ("0.0500", "475.00", []),
        ("0.0300", "280.00", []),
        (
            "0.0010",
            None,
            ["hub, UK: carrier must get 20 EUR, and 10 is left"],
        ),
    ],
)
def test_the_hub_keeps_its_margin_and_never_less_than_its_floor(
    tmp_path: Path, rate: str, paid: str | None, said: list[str]
) -> None:
    """5 % of what the originator pays, at least 0.0020 a minute; the rest is the terminator's."""
    margin = {"priority": 1, "to": "carrier", "share": "0.05", "at_least": "0.0020",
              "required": True}  # fmt: skip
    hub = {"share": "hub", "takes": [margin], "remainder": "TERM"}
    agreements = [origin(rate, shares=[hub]), part("TERM", share="hub")]
    found = lines(tmp_path, agreements, [minutes(10000)])
    assert set(found["notes"]) == set(said)
    if paid:
        assert str(found["TERM-supplier"]["amount"]) == paid
    else:
        assert not found["TERM-supplier"]["amount"]


def test_a_price_passed_on_that_leaves_too_little_is_told(tmp_path: Path) -> None:
    keeps = {"priority": 1, "to": "carrier", "passes_on": "0.0490", "at_least": "0.0020"}
    hub = {"share": "hub", "takes": [keeps], "remainder": "TERM"}
    found = lines(tmp_path, [origin(shares=[hub])], [minutes(10000)])
    assert found["notes"] == [
        "hub, UK: carrier must pass on 0.0490 a unit and keep 0.0020 a unit, and 500 EUR is there"
    ]
    assert str(found["ORIGIN"]["amount"]) == "500.00"


def test_earlier_usage_comes_to_each_party_s_next_cycle(tmp_path: Path) -> None:
    agreements = [origin(shares=[CHAIN]), part("TERM")]
    usage = [minutes(100), minutes(50, day="2026-02-03")]
    result = priced(tmp_path, agreements, usage, month="2026-03")
    paid = [c["amount"] for c in result["charges"] if c["leg"] == "supplier"]
    assert sorted(map(str, paid)) == ["2.00", "4.00"]


def test_a_part_is_of_the_days_of_its_agreement(tmp_path: Path) -> None:
    """It begins in the middle of the month: what was before is not its own."""
    agreements = [origin(shares=[CHAIN]), part("TERM", **{"from": "2026-03-10"})]
    found = lines(tmp_path, agreements, [minutes(100), minutes(30, day="2026-03-12")])
    assert str(found["TERM-supplier"]["amount"]) == "1.20"


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        (part("TERM", share="x"), "names no share of an agreement"),
        (part("OTHER"), "names no part of OTHER"),
        (part("TERM", currency="USD"), "must be in USD"),
        (part("ORIG"), "is an agreement of ORIG itself"),
        (part("TERM", rates=[{"code": 1, "rate": "1"}]), "have no rates"),
    ],
)
def test_wrong_parts_are_refused_at_load(tmp_path: Path, terms: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        priced(tmp_path, [origin(shares=[CHAIN]), terms], [minutes(1)])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"remainder": "HUB"}, "every party stands once"),
        ({"takes": [{**CHAIN["takes"][0], "passes_on": "0.03"}, CHAIN["takes"][1]]}, "never more"),
    ],
)
def test_wrong_chains_are_refused_at_load(tmp_path: Path, change: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        priced(tmp_path, [origin(shares=[{**CHAIN, **change}])], [minutes(1)])


def test_on_the_customer_leg_only_a_chain_passes_on(tmp_path: Path) -> None:
    split = {**CHAIN, "chain": False}
    with pytest.raises(InputError, match="nothing is passed on to us"):
        priced(tmp_path, [origin(shares=[split]), part("HUB", "customer")], [minutes(1)])


@given(
    st.lists(st.decimals(min_value=0, max_value=1, places=4), min_size=1, max_size=5),
    st.integers(0, 10**6),
)
def test_every_hop_of_a_chain_passes_on_what_it_does_not_keep(
    prices: list[Decimal], units: int
) -> None:
    falling = sorted(prices, reverse=True)
    takes = [
        {"priority": n, "to": f"H{n}", "passes_on": str(price)}
        for n, price in enumerate(falling[1:], 1)
    ]
    takes = takes or [{"priority": 1, "to": "H1", "passes_on": "0"}]
    form = {"share": "c", "chain": True, "takes": takes, "remainder": "END"}
    base = Fraction(falling[0]) * units
    parts = waterfall(RevenueShare.model_validate(form), base, Fraction(units), units)
    for before, after in pairwise(parts):
        assert before.there - before.amount == after.there
    assert [part.is_short for part in parts] == [False] * len(parts)
    assert sum(part.amount for part in parts) == base
    if len(falling) > 1:
        assert parts[-1].amount == Fraction(falling[-1]) * units
