"""Revenue shares through `icb price`: VAT, transport, bad debt, waterfalls; money is conserved."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_assets.charging.waterfall import by_party, net_of_vat, waterfall
from billing_assets.core.errors import InputError
from billing_assets.reference.share_terms import RevenueShare
from tests.support.pricing import priced
from tests.support.references import agreement, loaded, partner

PREMIUM, SUPPORT = "4487112345", "4484412345"
RATES = [
    {"code": 44871, "destination": "Premium", "rate": "1.50"},
    {"code": 44844, "destination": "Support", "rate": "0.1800"},
]
TRANSPORT = {"priority": 1, "to": "carrier", "title": "transport", "price": "0.0300"}
BAD_DEBT = {"priority": 2, "to": "carrier", "title": "bad debt", "share": "0.05"}
SHARE = {"priority": 3, "to": "P01", "share": "0.70"}


def share(*takes: dict, remainder: str = "carrier", **more: object) -> dict:
    return {"share": "outpayment", "takes": list(takes), "remainder": remainder, **more}


def minutes(count: int, number: str = PREMIUM, day: str = "2026-03-02", **more: object) -> dict:
    """So many calls of one minute."""
    start = f"{day}T10:00:00Z"
    return {"start": start, "b_number": number, "duration_s": 60, "records": count, **more}


def charged(folder: Path, terms: dict, usage: list[dict], month: str = "") -> list[dict]:
    """The lines, having seen that with what they replace they are all that was rated."""
    result = priced(folder, [{"rates": RATES, "leg": "supplier", **terms}], usage, month=month)
    rated = sum(leg["total"] for leg in result["legs"])
    kept = sum(c["exact_amount"] for c in result["charges"] if c["kind"] in ("usage", "replaced"))
    assert month or kept == rated
    return [c for c in result["charges"] if c["kind"] != "replaced"]


def amounts(lines: list[dict]) -> list[tuple[str, str]]:
    return sorted((line["kind"], str(line["amount"])) for line in lines)


def test_j01_a_share_of_the_retail_price_net_of_vat_transport_and_bad_debt(tmp_path: Path) -> None:
    terms = {"shares": [share(TRANSPORT, BAD_DEBT, SHARE, vat="0.21")]}
    (line,) = charged(tmp_path, terms, [minutes(10000)])
    assert str(line["amount"]) == "8044.30"
    assert line["exact_amount"] == Decimal("8044.3016528926")
    assert line["steps"] == [
        "retail price of 10000 records, 10000 answered, 10000 minutes at 1.5: 15000 EUR",
        "without 21% VAT: 12396.694214876",
        "transport (carrier), 0.03 a minute: 300",
        "bad debt (carrier), 5% of 12096.694214876: 604.8347107438",
        "P01, 70% of 11491.8595041322: 8044.3016528926",
        "line rounded half up to 2 decimals: 8044.30",
    ]


def test_bad_debt_before_transport_is_another_order_and_another_amount(tmp_path: Path) -> None:
    first = {**BAD_DEBT, "priority": 1}
    terms = {"shares": [share(first, {**TRANSPORT, "priority": 2}, SHARE, vat="0.21")]}
    (line,) = charged(tmp_path, terms, [minutes(10000)])
    assert str(line["amount"]) == "8033.80"


def test_s11_the_remainder_is_the_providers(tmp_path: Path) -> None:
    access = {"priority": 1, "to": "carrier", "title": "access", "price": "0.0450"}
    transit = {"priority": 2, "to": "carrier", "title": "transit", "price": "0.0080"}
    terms = {"shares": [share(access, transit, remainder="P01")]}
    (line,) = charged(tmp_path, terms, [minutes(8000, SUPPORT)])
    assert (str(line["amount"]), line["quantity"], line["price"]) == (
        "1016.00", Decimal(8000), Decimal("0.1270"),
    )  # fmt: skip


def test_who_has_the_money_pays_the_other(tmp_path: Path) -> None:
    """As customer the partner has collected: it keeps its share, and we get the rest."""
    rule = {"shares": [share(SHARE)]}
    sent = [minutes(1000, SUPPORT)]
    for terms, amount in (
        ({"leg": "supplier"}, "126.00"),
        ({"leg": "customer"}, "54.00"),
        ({"leg": "customer", "reverse": True}, "-126.00"),
        ({"leg": "supplier", "reverse": True}, "-54.00"),
    ):
        (line,) = charged(tmp_path, {**rule, **terms}, sent)
        assert str(line["amount"]) == amount
        assert (line["quantity"] < 0) is (line["amount"] < 0)


def test_prices_per_call_count_answered_calls(tmp_path: Path) -> None:
    """1.00 a call, 0.10 a call of transport, 60 % of what is left of 90."""
    carried = {"priority": 1, "to": "carrier", "price": "0.10", "per": "call"}
    terms = {
        "setup_fee": "1.00",
        "rates": [{"code": 44, "destination": "Vote", "rate": "0"}],
        "shares": [share(carried, {"priority": 2, "to": "P01", "share": "0.6"})],
    }
    usage = [minutes(100), minutes(7, answered="no", duration_s=0)]
    attempts, line = sorted(charged(tmp_path, terms, usage), key=lambda one: one["records"])
    assert (attempts["kind"], attempts["records"], attempts["amount"]) == ("usage", 7, 0)
    assert str(line["amount"]) == "54.00"


def test_shares_by_destination_and_band_and_what_no_rule_names_at_its_price(
    tmp_path: Path,
) -> None:
    terms = {
        "bands": {
            "otherwise": "off-peak",
            "windows": [
                {"band": "peak", "days": ["weekday"],
                 "from": "08:00", "to": "20:00"},
            ],
        },
        "rates": [
            {"code": 44871, "destination": "Premium", "band": "peak", "rate": "2.00"},
            {"code": 44871, "destination": "Premium", "band": "off-peak", "rate": "1.00"},
            {"code": 44844, "destination": "Support", "rate": "0.10"},
        ],
        "shares": [
            {**share(SHARE), "share": "peak", "destinations": ["Premium"], "bands": ["peak"]},
            {**share({**SHARE, "share": "0.5"}), "share": "rest", "destinations": ["Premium"]},
        ],
    }  # fmt: skip
    night = {**minutes(100), "start": "2026-03-02T23:00:00Z"}
    found = charged(tmp_path, terms, [minutes(100), night, minutes(100, SUPPORT)])
    assert amounts(found) == [("share", "140.00"), ("share", "50.00"), ("usage", "10.00")]


def test_a_fixed_take_gets_no_more_than_there_is(tmp_path: Path) -> None:
    dear = {**TRANSPORT, "price": "0.1700"}
    second = {"priority": 2, "to": "carrier", "title": "transit", "price": "0.0200"}
    terms = {"shares": [share(dear, second, SHARE)]}
    result = priced(
        tmp_path, [{"rates": RATES, "leg": "supplier", **terms}], [minutes(100, SUPPORT)]
    )
    assert [c["kind"] for c in result["charges"]] == ["replaced"]
    assert result["totals"][0]["amount"] == Decimal("0.00")
    terms = {"shares": [share(TRANSPORT, {**second, "required": True}, {**SHARE, "share": "1"})]}
    terms["shares"][0]["takes"][1]["price"] = "0.1600"
    result = priced(
        tmp_path, [{"rates": RATES, "leg": "supplier", **terms}], [minutes(100, SUPPORT)]
    )
    assert result["notes"] == [
        "outpayment, Support: transit must get 16 EUR, and 15 is left",
    ]


def test_bounds_of_a_share_are_for_each_unit(tmp_path: Path) -> None:
    for bounds, amount in (
        ({}, "90.00"),
        ({"at_least": "0.1000"}, "80.00"),
        ({"at_most": "0.0500"}, "130.00"),
    ):
        ours = {"priority": 1, "to": "carrier", "share": "0.5", **bounds}
        terms = {"shares": [share(ours, remainder="P01")]}
        (line,) = charged(tmp_path, terms, [minutes(1000, SUPPORT)])
        assert str(line["amount"]) == amount


def test_other_parties_are_not_named_to_a_partner(tmp_path: Path) -> None:
    other = {"priority": 1, "to": "P02", "title": "content", "share": "0.20"}
    (line,) = charged(tmp_path, {"shares": [share(other, SHARE)]}, [minutes(10)])
    assert str(line["amount"]) == "8.40"
    assert line["steps"][1:] == [
        "another party: 3",
        "P01, 70% of 12: 8.4",
        "8.4 EUR",
    ]


def test_usage_of_before_is_shared_out_in_its_own_month(tmp_path: Path) -> None:
    """February comes late, in the cycle of March, on a line of its own."""
    terms = {"shares": [share(SHARE)]}
    usage = [minutes(10, day="2026-02-10"), minutes(20)]
    found = charged(tmp_path, terms, usage, month="2026-03")
    assert amounts(found) == [("share", "10.50"), ("share", "21.00")]


@pytest.mark.parametrize(
    ("change", "place", "said"),
    [
        ({"takes": [{**SHARE, "share": "1.2"}]}, "shares.0.takes.0.share", "equal to 1"),
        ({"takes": [{**SHARE, "share": "-0.1"}]}, "shares.0.takes.0.share", "equal to 0"),
        ({"takes": [SHARE], "accounts": ["P01-B"]}, "shares.0.accounts", "is no account of"),
        ({"takes": [SHARE], "to": "2026-01-01"}, "shares.0", "holds on no day of A"),
        ({"takes": [SHARE], "destinations": ["X"]}, "shares.0.destinations", "no destination of"),
        (
            {"takes": [SHARE, {**SHARE, "to": "carrier", "share": "0.4"}]},
            "shares.0",
            "takes of priority 3 share out 110.00%, more than there is",
        ),
        (
            {"takes": [SHARE, {**TRANSPORT, "priority": 3}]},
            "shares.0",
            "must all be shares without bounds: who is paid first?",
        ),
        ({"takes": [{**SHARE, "price": "1"}]}, "shares.0.takes.0", "one of them"),
        ({"takes": [{**TRANSPORT, "at_most": "1"}]}, "shares.0.takes.0", "is for a share"),
        ({"takes": [SHARE], "remainder": "P09"}, "shares.0.remainder", "neither carrier nor"),
        ({"takes": [BAD_DEBT]}, "shares", "names no part of P01"),
        ({"takes": []}, "shares.0", "it has no takes"),
        ({"takes": [SHARE], "vat": "21"}, "shares.0.vat", "equal to 1"),
        ({"takes": [SHARE], "bands": ["peak"]}, "shares.0.bands", "is no band"),
    ],
)
def test_wrong_shares_are_refused_at_load(change: dict, place: str, said: str) -> None:
    form = agreement(leg="supplier", rates=RATES, shares=[{**share(SHARE), **change}])
    problems = loaded([form], [partner()]).problems
    assert problems[0].field == place
    assert problems[0].row
    assert said in problems[0].message


def test_a_share_changes_with_a_new_version_and_by_its_own_days(tmp_path: Path) -> None:
    """70 % to the 9th, 60 % to the 19th, then by another version 50 % of what is left of VAT."""
    until = {**share(SHARE), "share": "early", "to": "2026-03-10"}
    since = {**share({**SHARE, "share": "0.6"}), "share": "later", "from": "2026-03-10"}
    first = {"agreement": "A", "shares": [until, since]}
    second = {
        "agreement": "A", "version": 2, "from": "2026-03-20",
        "shares": [share({**SHARE, "share": "0.5"}, vat="0.2")],
    }  # fmt: skip
    usage = [minutes(100, SUPPORT, day=f"2026-03-{day}") for day in ("09", "10", "20")]
    result = priced(
        tmp_path, [{"rates": RATES, "leg": "supplier", **one} for one in (first, second)], usage
    )
    found = [c for c in result["charges"] if c["kind"] == "share"]
    assert sorted((str(c["amount"]), c["agreement"]) for c in found) == [
        ("10.80", "A@1"), ("12.60", "A@1"), ("7.50", "A@2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "shares", [5, [5], [{"share": "s", "remainder": [1], "takes": [7]}], [{"takes": {"to": "x"}}]]
)
def test_what_is_no_share_is_refused_by_its_field(tmp_path: Path, shares: object) -> None:
    with pytest.raises(InputError, match=r"shares"):
        charged(tmp_path, {"shares": shares}, [minutes(1)])


def test_two_shares_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is the name of two rules"):
        charged(tmp_path, {"shares": [share(SHARE), share(SHARE)]}, [minutes(1)])


fractions = st.fractions(min_value=0, max_value=10**6, max_denominator=10**6)
prices = st.decimals(min_value=0, max_value=5, places=4).map(str)
shares = st.decimals(min_value=0, max_value="0.5", places=3).map(str)
parties = st.sampled_from(["carrier", "P01", "P02", "P03"])


@st.composite
def rules(draw: st.DrawFn) -> RevenueShare:
    """Waterfalls of prices, bounded shares and pairs of shares of one priority."""
    takes = []
    for priority in range(1, draw(st.integers(2, 5))):
        kind = draw(st.sampled_from(["price", "passes_on", "share", "floor", "pair"]))
        for _ in range(2 if kind == "pair" else 1):
            priced_by = kind in ("price", "passes_on")
            terms = {kind: draw(prices)} if priced_by else {"share": draw(shares)}
            if kind == "floor":
                terms["at_least"] = draw(prices)
            per = draw(st.sampled_from(["unit", "call"]))
            takes.append({"priority": priority, "to": draw(parties), "per": per, **terms})
    vat = draw(st.sampled_from(["0", "0.055", "0.2", "0.21"]))
    form = {"share": "s", "takes": takes, "remainder": draw(parties), "vat": vat}
    return RevenueShare.model_validate(form)


@given(rules(), fractions, fractions, st.integers(0, 10**6))
def test_parts_are_never_negative_and_add_up_to_what_is_shared(
    rule: RevenueShare, gross: Fraction, units: Fraction, calls: int
) -> None:
    base = net_of_vat(rule, gross)
    parts = waterfall(rule, base, units, calls)
    assert all(0 <= part.amount <= part.due for part in parts)
    assert sum(by_party(parts).values()) == base
    back = waterfall(rule, -base, -units, -calls)
    assert [part.amount for part in back] == [-part.amount for part in parts]
