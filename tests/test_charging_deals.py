"""Bilateral deals through `icb price`: swaps, balance, ratio rules, and what is refused."""

import json
from pathlib import Path

import pytest

from billing_assets.cli.price import quote
from billing_assets.core.errors import InputError
from tests.support.references import agreement

IN = agreement("IN", accounts=["P01-I"], rates=[{"code": 351, "destination": "PT", "rate": "0.09"}])
OUT = agreement(
    "OUT",
    leg="supplier",
    accounts=["P01-O"],
    rates=[{"code": 966, "destination": "SA", "rate": "0.08"}],
)
SWAP = {
    "deal": "SWAP",
    "partner": "P01",
    "from": "2026-03-01",
    "to": "2026-04-01",
    "sent": {"agreement": "OUT", "quantity": "1000000", "price": "0.0300"},
    "received": {"agreement": "IN", "quantity": "600000", "price": "0.0500"},
}


def received(count: int, day: str = "2026-03-02") -> dict:
    """So many minutes that the partner sends us."""
    return {"start": f"{day}T10:00:00Z", "b_number": "351212345678", "in_trunk": "P01-I",
            "duration_s": 60, "records": count}  # fmt: skip


def sent(count: int, day: str = "2026-03-02") -> dict:
    """So many minutes that we send them."""
    return {"start": f"{day}T10:00:00Z", "b_number": "966512345678", "out_trunk": "P01-O",
            "duration_s": 60, "records": count}  # fmt: skip


def charged(folder: Path, deal: dict, usage: list[dict], sides: tuple = (IN, OUT)) -> list[tuple]:
    paths = []
    for number, form in enumerate((*sides, deal)):
        paths.append(folder / f"{number}.yaml")
        paths[-1].write_text(json.dumps(form))
    (folder / "usage.jsonl").write_text("\n".join(json.dumps(row) for row in usage))
    result = quote(paths, folder / "usage.jsonl", calendar=None, month="", zone="UTC")
    rated = sum(leg["total"] for leg in result["legs"] if leg["total"])
    kinds = ("usage", "replaced")
    assert rated == sum(c["exact_amount"] for c in result["charges"] if c["kind"] in kinds)
    return sorted((c["leg"], c["kind"], str(c["amount"])) for c in result["charges"] if c["amount"])


def test_f01_a_swap_fulfilled_on_both_sides_nets_to_nothing(tmp_path: Path) -> None:
    assert charged(tmp_path, SWAP, [received(600000), sent(1000000)]) == [
        ("customer", "bundle", "30000.00"),
        ("supplier", "bundle", "30000.00"),
    ]


def test_s05_shortfall_one_way_and_excess_at_its_price_the_other(tmp_path: Path) -> None:
    deal = {**SWAP, "received": {**SWAP["received"], "excess_price": "0.0420"}}
    assert charged(tmp_path, deal, [received(640000), sent(900000)]) == [
        ("customer", "bundle", "1680.00"),
        ("customer", "bundle", "30000.00"),
        ("supplier", "bundle", "27000.00"),
        ("supplier", "shortfall", "3000.00"),
    ]


def test_f05_beyond_the_deal_the_agreement_s_own_price_holds(tmp_path: Path) -> None:
    usage = [received(640000), sent(1000000)]
    assert ("customer", "usage", "3600.00") in charged(tmp_path, SWAP, usage)


def test_f02_both_sides_pay_what_is_missing_unless_they_release_each_other(tmp_path: Path) -> None:
    usage = [received(500000), sent(900000)]
    both = charged(tmp_path, SWAP, usage)
    assert [c for c in both if c[1] == "shortfall"] == [
        ("customer", "shortfall", "5000.00"),
        ("supplier", "shortfall", "3000.00"),
    ]
    released = {**SWAP, "mutual_release": True}
    assert [c for c in charged(tmp_path, released, usage) if c[1] == "shortfall"] == []
    one = charged(tmp_path, released, [received(600000), sent(900000)])
    assert [c for c in one if c[1] == "shortfall"] == [("supplier", "shortfall", "3000.00")]


def test_a_swap_of_two_months_is_trued_up_once(tmp_path: Path) -> None:
    deal = {**SWAP, "to": "2026-05-01"}
    usage = [received(600000), sent(400000), sent(500000, "2026-04-03")]
    assert charged(tmp_path, deal, usage) == [
        ("customer", "bundle", "30000.00"),
        ("supplier", "bundle", "12000.00"),
        ("supplier", "bundle", "15000.00"),
        ("supplier", "shortfall", "3000.00"),
    ]


FREE = tuple({**side, "bill_and_keep": True} for side in (IN, OUT))
BALANCE = {
    "deal": "KEEP",
    "partner": "P01",
    "period": "month",
    "from": "2026-01-01",
    "received": {"agreement": "IN"},
    "sent": {"agreement": "OUT"},
    "balance": {"tolerance": "0.10", "price": "0.0008"},
}


@pytest.mark.parametrize(
    ("theirs", "ours", "wanted"),
    [
        (1200000, 1000000, [("customer", "balance", "80.00")]),
        (1000000, 1200000, [("supplier", "balance", "80.00")]),
        (1100000, 1000000, []),
    ],
)
def test_f03_only_what_exceeds_the_tolerance_is_charged(
    tmp_path: Path, theirs: int, ours: int, wanted: list
) -> None:
    assert charged(tmp_path, BALANCE, [received(theirs), sent(ours)], FREE) == wanted


def test_h04_only_the_partner_pays_when_the_deal_says_so(tmp_path: Path) -> None:
    deal = {**BALANCE, "balance": {"tolerance": "0.10", "price": "0.01", "payer": "partner"}}
    assert charged(tmp_path, deal, [received(1000), sent(9000)], FREE) == []
    usage = [received(1500000), sent(1200000)]
    assert charged(tmp_path, deal, usage, FREE) == [("customer", "balance", "1800.00")]


def test_traffic_of_one_direction_alone_is_not_balanced_by_itself(tmp_path: Path) -> None:
    deal = {**SWAP, "received": {"agreement": "IN"}, "sent": {"agreement": "OUT"}}
    deal["balance"] = {"tolerance": "0.10", "price": "0.01"}
    free = {"bill_and_keep": True}
    sides = ({**IN, **free}, {**OUT, **free})
    assert charged(tmp_path, deal, [received(500)], sides) == [("customer", "balance", "5.00")]
    assert charged(tmp_path, deal, [sent(300)], sides) == [("supplier", "balance", "3.00")]


def test_a_quarter_s_balance_is_settled_once_over_versions_of_its_agreements(
    tmp_path: Path,
) -> None:
    """9000 against 3000 minutes: 5700 above the tolerance, in March alone."""
    received_by = {**IN, "bill_and_keep": True}
    sides = (
        {**received_by, "to": "2026-02-01"},
        {**received_by, "version": 2, "from": "2026-02-01"},
        {**OUT, "bill_and_keep": True},
    )
    deal = {**BALANCE, "period": "quarter"}
    months = [f"2026-{month:02d}-05" for month in range(1, 4)]
    usage = [row for day in months for row in (received(3000, day), sent(1000, day))]
    assert charged(tmp_path, deal, usage, sides) == [("customer", "balance", "4.56")]


def test_f04_a_ratio_is_charged_once_it_was_passed_in_months_in_a_row(tmp_path: Path) -> None:
    rule = {"tolerance": "0.10", "price": "0.01", "ratio": "1.5", "consecutive": 3}
    deal = {**BALANCE, "balance": rule}
    months = [f"2026-{month:02d}-05" for month in range(1, 5)]
    usage = [row for day in months for row in (received(2000, day), sent(1000, day))]
    assert charged(tmp_path, deal, usage, FREE) == [("customer", "balance", "9.00")] * 2
    broken = [*usage[:2], received(1400, months[1]), sent(1000, months[1]), *usage[4:]]
    assert charged(tmp_path, deal, broken, FREE) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sent": {"agreement": "NONE", "quantity": 1, "price": 1}}, "is no agreement"),
        ({"sent": {"agreement": "IN", "quantity": 1, "price": 1}}, "must be an agreement of the"),
        ({"sent": {"agreement": "OUT"}}, "needs quantity and price"),
        ({"to": "2026-03-01"}, "ends before it begins"),
        ({"to": None}, "a deal without a period needs to"),
        ({"partner": "P02"}, "is not an agreement of P02"),
    ],
)
def test_a_deal_that_does_not_fit_is_refused(tmp_path: Path, change: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        charged(tmp_path, {**SWAP, **change}, [received(1)])
