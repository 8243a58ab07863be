"""The worked examples of per-record pricing give their figures, and never those of mistakes."""

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from billing_assets.charging.balance import balance_charge
from billing_assets.charging.percentile import capacity_charge, percentile
from billing_assets.charging.short_calls import ShortCallCount, short_call_fee
from billing_assets.core.money import Money, Rounding, round_amount
from billing_assets.reference.codes import prefixes_of_range
from billing_assets.reference.models import ShortCalls
from tests.support.pricing import priced

EXAMPLES = json.loads((Path(__file__).parent / "data" / "worked_examples.json").read_text())
USUAL = {"start": "2026-03-02T10:00:00Z", "b_number": "447400123456", "duration_s": 60}
STAMPS = ("start", "setup_time", "answer_time")


def usage_of(example: dict) -> list[dict[str, object]]:
    """The example's rows, with a time, a number and a duration where they do not matter."""
    rows = []
    for row in example["usage"]:
        usual = dict(USUAL)
        if any(stamp in row for stamp in STAMPS):
            del usual["start"]
        if "end_time" in row or "text_length" in row:
            del usual["duration_s"]
        rows.append({**usual, **row})
    return rows


def shown(found: dict, wanted: dict) -> dict[str, object]:
    """The wanted fields as texts, as a reader of the JSON sees them."""
    return {
        name: value if isinstance(value, int | None) else str(value)
        for name, value in ((name, found[name]) for name in wanted)
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["id"])
def test_a_worked_example_gives_its_figures_and_no_mistake_s(example: dict, tmp_path: Path) -> None:
    for name, text in example.get("sheets", {}).items():
        (tmp_path / name).write_text(text)
    result = priced(
        tmp_path, [example["agreement"]], usage_of(example), month=example.get("month", "")
    )
    assert len(result["legs"]) == len(example["legs"])
    for leg, wanted in zip(result["legs"], example["legs"], strict=True):
        assert shown(leg, wanted) == wanted
        assert str(leg["amount"]) not in example.get("never", {}).values()
    charged = [c for c in result["charges"] if c["amount"] or c["kind"] == "usage"]
    if "charges" in example:
        lines = [c for c in charged if c["kind"] == example["charges"][0].get("kind", "usage")]
        assert [shown(c, w) for c, w in zip(lines, example["charges"], strict=True)] == example[
            "charges"
        ]
    for mistake in example.get("never_charged", {}).values():
        assert Decimal(mistake) not in {c["amount"] for c in charged}


def test_b03_a_range_of_codes_becomes_the_smallest_set_of_prefixes() -> None:
    assert prefixes_of_range("447400", "447412") == ["44740", "447410", "447411", "447412"]


def test_b09_the_breach_names_the_date_asked_for_and_the_date_loaded(tmp_path: Path) -> None:
    example = next(e for e in EXAMPLES if e["id"] == "B09")
    for name, text in example["sheets"].items():
        (tmp_path / name).write_text(text)
    (breach,) = priced(tmp_path, [example["agreement"]], usage_of(example))["breaches"]
    assert str(breach["requested"].date()) == "2026-03-13"
    assert str(breach["loaded"].date()) == "2026-03-17"
    overcharge = 4 * 1000 * (Decimal("0.0120") - Decimal("0.0100"))
    assert overcharge == Decimal("8.00")


def test_h04_messages_beyond_the_agreed_ratio_are_charged() -> None:
    beyond, amount = balance_charge(
        1_500_000, 1_200_000, ratio=Decimal("1.10"), rate=Decimal("0.0100")
    )
    assert beyond == 180_000
    assert round_amount(amount, 2, Rounding.HALF_UP) == Decimal("1800.00")
    assert balance_charge(100, 1000, ratio=Decimal("1.10"), rate=Decimal("1")) == (0, 0)


def test_h06_the_95th_percentile_is_a_sample_and_not_interpolated() -> None:
    samples = [310, 420, 500, 515, 530, 545, 560, 575, 590, 600,
               610, 625, 640, 655, 670, 690, 705, 720, 742, 990]  # fmt: skip
    level = percentile(samples)
    assert level == 742
    amount = capacity_charge(
        level, commit=Decimal(500), commit_price=Decimal("1.20"), burst_price=Decimal("1.50")
    )
    assert round_amount(amount, 2, Rounding.HALF_UP) == Decimal("963.00")
    assert amount != Decimal("981.60")


def test_h06_below_the_commitment_only_the_commitment_is_paid() -> None:
    assert capacity_charge(
        Decimal(300), commit=Decimal(500), commit_price=Decimal("1.20"), burst_price=Decimal("1.50")
    ) == Decimal("600.00")
    with pytest.raises(ValueError, match="needs samples"):
        percentile([])


def test_h02_segments_charged_sum_to_the_exact_amount(tmp_path: Path) -> None:
    example = next(e for e in EXAMPLES if e["id"] == "H02")
    legs = priced(tmp_path, [example["agreement"]], usage_of(example))["legs"]
    assert sum(leg["amount"] for leg in legs) == Decimal("0.4160")
    assert sum(leg["amount"] for leg in legs) != Decimal("0.3840")


def test_j04_a_surcharge_by_call_is_a_fee_of_each_answered_call(tmp_path: Path) -> None:
    terms = {
        "surcharges": [{"surcharge": "payphone", "codes": [1800], "per_call": "0.24"}],
        "rates": [{"code": 1, "rate": "0.0060"}],
    }
    call = {"start": "2026-03-02T10:00:00Z", "b_number": "18005550100", "duration_s": 60}
    result = priced(
        tmp_path,
        [terms],
        [
            {**call, "records": 1000},
            {**call, "answered": False},
            {**call, "b_number": "12125550100"},
        ],
    )
    amounts = [(str(leg["amount"]), str(leg["fees"])) for leg in result["legs"]]
    assert amounts == [("0.246000", "0.2400"), ("0.000000", "0.0000"), ("0.006000", "0.0000")]


def test_j05_money_is_conserved_along_a_chain_of_carriers(tmp_path: Path) -> None:
    prices = {"transit": "0.0500", "hub": "0.0440", "terminator": "0.0400"}
    result = priced(
        tmp_path,
        [{"agreement": name, "leg": "supplier" if name != "transit" else "customer",
          "rates": [{"code": 44, "rate": price}]} for name, price in prices.items()],
        [{"start": "2026-03-02T10:00:00Z", "b_number": "447400123456", "duration_s": 60,
          "records": 10000}],
    )  # fmt: skip
    paid = {leg["agreement"]: leg["total"] for leg in result["legs"]}
    assert {k: str(round(v, 2)) for k, v in paid.items()} == {
        "transit@1": "500.00", "hub@1": "440.00", "terminator@1": "400.00",
    }  # fmt: skip
    transit, hub = paid["transit@1"] - paid["hub@1"], paid["hub@1"] - paid["terminator@1"]
    assert (transit, hub) == (60, 40)
    assert transit + hub + paid["terminator@1"] - paid["transit@1"] == 0


def test_j07_up_to_the_threshold_nothing_is_surcharged() -> None:
    terms = ShortCalls.model_validate({"seconds": 6, "threshold": "0.15", "fee": "0.0100"})
    assert ShortCallCount(40000, 7200).share == Fraction(18, 100)
    assert short_call_fee(ShortCallCount(40000, 7200), terms) == (7200, Decimal("72.00"))
    assert short_call_fee(ShortCallCount(40000, 6000), terms) == (0, 0)
    assert short_call_fee(ShortCallCount(40000, 6001), terms) == (6001, Decimal("60.01"))
    assert short_call_fee(ShortCallCount(0, 0), terms) == (0, 0)


def test_a21_amounts_round_to_the_minor_unit_of_their_currency() -> None:
    def shown(amount: str, currency: str, method: Rounding) -> str:
        return str(Money(Decimal(amount), currency).rounded(method=method).amount)

    assert shown("1234.5", "JPY", Rounding.HALF_UP) == "1235"
    assert shown("1234.5", "JPY", Rounding.HALF_EVEN) == "1234"
    assert shown("12.3445", "KWD", Rounding.HALF_UP) == "12.345"
    assert shown("12.3445", "KWD", Rounding.HALF_EVEN) == "12.344"
    assert shown("99.995", "EUR", Rounding.HALF_UP) == "100.00"
    assert shown("99.995", "EUR", Rounding.DOWN) == "99.99"
