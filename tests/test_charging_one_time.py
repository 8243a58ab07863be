"""A one-time fee is charged once: whatever is run again, and however cycles follow each other."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import pairwise

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from billing_assets.charging.cycles import Cycle
from billing_assets.charging.line import Facts
from billing_assets.charging.lines import charge_cycle
from billing_assets.charging.one_time import one_time_lines
from billing_assets.core.periods import Period
from billing_assets.lake.tables import USAGE_DAILY
from billing_assets.reference.load import InForce
from tests.support.references import agreement, loaded, partner

RATES = [{"code": "44", "rate": "0.01"}]


def agreements(*versions: dict[str, object]) -> list[InForce]:
    return list(
        loaded([agreement(rates=RATES, **v) for v in versions], [partner()]).reference.agreements
    )


def cycle(first: date, end: date) -> Cycle:
    month = f"{end:%Y-%m}"
    return Cycle(f"P01/{first}", "P01", month, Period(first, end, "UTC"))


def facts(first: date, end: date, *versions: dict[str, object]) -> Facts:
    return Facts(cycle(first, end), agreements(*versions), pl.DataFrame(schema=USAGE_DAILY.schema))


FEE = {
    "fee": "install",
    "title": "Installation",
    "price": "62.505",
    "quantity": 4,
    "on": "2026-03-11",
}
MARCH = facts(date(2026, 3, 1), date(2026, 4, 1), {"one_time": [FEE]})


def test_it_is_quantity_by_price_rounded_once_with_its_derivation() -> None:
    charges = charge_cycle(MARCH, buckets=4, sources={})
    [row] = charges.to_dicts()
    assert (row["kind"], row["amount"], row["first_day"]) == (
        "one_time", Decimal("250.02"), date(2026, 3, 11),
    )  # fmt: skip
    assert "4 x 62.505 EUR, once, on 2026-03-11" in row["steps"]


@given(st.lists(st.dates(date(2026, 3, 2), date(2026, 3, 31)), unique=True, max_size=5))
def test_cycles_that_follow_each_other_charge_it_once(cuts: list[date]) -> None:
    edges = [date(2026, 3, 1), *sorted(cuts), date(2026, 4, 1)]
    found = [
        line
        for first, end in pairwise(edges)
        for line in one_time_lines(replace(MARCH, cycle=cycle(first, end)))
    ]
    assert len(found) == 1


def test_the_version_in_force_on_its_day_charges_it() -> None:
    versions = (
        {"version": 1, "one_time": [FEE]},
        {"version": 2, "from": "2026-03-10", "one_time": [FEE]},
    )
    [line] = one_time_lines(facts(date(2026, 3, 1), date(2026, 4, 1), *versions))
    assert line.columns["agreement"] == "A@2"


def test_one_agreed_late_falls_to_the_next_cycle_and_one_charged_to_none() -> None:
    april = replace(MARCH, cycle=cycle(date(2026, 4, 1), date(2026, 5, 1)))
    assert one_time_lines(april) == []
    late = replace(april, bills=lambda day: day < date(2026, 5, 1))
    assert len(one_time_lines(late)) == 1
    assert one_time_lines(replace(late, charged_once={("A", "install")})) == []


def test_a_fee_without_a_day_or_of_nothing_is_refused() -> None:
    for change in ({"on": None}, {"quantity": 0}, {"price": "-1"}, {"on": "2026-02-30"}):
        result = loaded([agreement(rates=RATES, one_time=[{**FEE, **change}])], [partner()])
        assert [p.file for p in result.problems] == ["agreements/A-1.yaml"]
        assert str(result.problems[0].field).startswith("one_time.0.")
