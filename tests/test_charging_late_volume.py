"""Late and re-rated usage under volume terms and shares: what is counted moves back and forth."""

from datetime import date
from decimal import Decimal

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from billing_assets.charging.line import Facts
from billing_assets.charging.lines import charge_cycle
from tests.support.references import agreement, reference
from tests.test_charging_lines import MARCH, usage

TIERS = [{"up_to": 100, "price": "0.10"}, {"price": "0.05"}]
FEBRUARY, JANUARY = date(2026, 2, 10), date(2026, 1, 10)


def minutes(count: int, day: date = MARCH.period.start) -> dict:
    """A row of so many minutes at 0.01; a negative count takes usage back."""
    return {
        "day": day,
        "records": count,
        "answered": count,
        "quantity": 60 * count,
        "billed_units": 60 * count,
        "amount": count * Decimal("0.01"),
    }


def money(terms: dict, now: pl.DataFrame, billed: pl.DataFrame) -> list[tuple[str, str]]:
    facts = Facts(MARCH, reference(agreement(**terms)).agreements, now, billed)
    made = charge_cycle(facts, buckets=4, sources={})
    again = charge_cycle(Facts(MARCH, facts.agreements, now.reverse(), billed.reverse()),
                         buckets=4, sources={})  # fmt: skip
    assert made.write_csv() == again.write_csv()
    lines = made.filter(pl.col("kind") != "replaced")
    return sorted((kind, f"{amount:.2f}") for kind, amount in lines.select("kind", "amount").rows())


def tiers(model: str, period: str) -> dict:
    return {"volume": [{"rule": "t", "model": model, "period": period, "tiers": TIERS}]}


def test_usage_taken_back_goes_back_through_the_tiers() -> None:
    now = usage(minutes(-30, FEBRUARY), minutes(20))
    billed = usage(minutes(120, FEBRUARY))
    # February: 120 were 10.00 + 1.00, 90 are 9.00; March begins anew
    assert money(tiers("graduated", "month"), now, billed) == [
        ("tier", "-1.00"), ("tier", "-1.00"), ("tier", "2.00"),
    ]  # fmt: skip
    # a quarter: 120 before, 110 now
    assert money(tiers("graduated", "quarter"), now, billed) == [("tier", "-0.50")]


def test_all_unit_gives_the_earlier_price_back() -> None:
    now, billed = usage(minutes(-30, FEBRUARY)), usage(minutes(120, FEBRUARY))
    # 120 at 0.05 were billed, 90 at 0.10 are due
    found = money(tiers("all_unit", "month"), now, billed)
    assert sum(Decimal(amount) for _, amount in found) == Decimal("9.00") - Decimal("6.00")


def test_late_usage_lowers_a_shortfall_that_was_billed() -> None:
    terms = {"commitments": [{"commitment": "m", "period": "month", "amount": "2"}]}
    now, billed = usage(minutes(50, FEBRUARY), minutes(200)), usage(minutes(100, FEBRUARY))
    assert money(terms, now, billed) == [
        ("shortfall", "-0.50"), ("usage", "0.50"), ("usage", "2.00"),
    ]  # fmt: skip


def test_a_rebate_of_a_closed_quarter_follows_late_usage() -> None:
    rule = {"rule": "r", "model": "rebate", "period": "month", "on": "all",
            "tiers": [{"up_to": 100, "price": 0}, {"price": "0.01"}]}  # fmt: skip
    now, billed = usage(minutes(50, FEBRUARY)), usage(minutes(100, FEBRUARY))
    assert money({"volume": [rule]}, now, billed) == [("rebate", "-1.50"), ("usage", "0.50")]
    assert money({"volume": [rule]}, usage(), usage(minutes(200, JANUARY))) == []


def shared(*takes: dict) -> dict:
    """An outpayment net of a quarter of VAT, with the provider as the last one."""
    rule = {"share": "s", "vat": "0.25", "takes": takes, "remainder": "P01"}
    return {"leg": "supplier", "shares": [rule]}


ACCESS = {"priority": 1, "to": "carrier", "price": "0.004", "per": "call"}
OURS = {"priority": 2, "to": "carrier", "share": "0.3", "at_least": "0.002"}
parts_of_a_month = st.lists(
    st.tuples(st.sampled_from([1, 12, 25]), st.integers(-200, 200)), max_size=6
)


@settings(deadline=None)
@given(parts_of_a_month, parts_of_a_month, parts_of_a_month)
def test_a_share_comes_to_the_same_however_its_usage_comes(
    first: list[tuple[int, int]], second: list[tuple[int, int]], third: list[tuple[int, int]]
) -> None:
    """What three cycles bill of a month, some of it taken back, is what one would have."""
    agreements = reference(agreement(**shared(ACCESS, OURS))).agreements

    def exact(now: list[tuple[int, int]], before: list[tuple[int, int]]) -> Decimal:
        rows = [
            usage(*(minutes(count, date(2026, 3, day)) for day, count in some))
            for some in (now, before)
        ]
        made = charge_cycle(Facts(MARCH, agreements, rows[0], rows[1]), buckets=4, sources={})
        lines = made.filter(pl.col("kind") == "share")
        assert lines.height <= 1
        return sum(lines["exact_amount"], Decimal(0))

    in_turn = exact(first, []) + exact(second, first) + exact(third, first + second)
    assert in_turn == exact(first + second + third, [])
