"""Volume terms whose days begin or change inside a period: what they count, and what they cost."""

import json
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing_assets.charging.cycles import Cycle
from billing_assets.charging.line import Facts
from billing_assets.charging.lines import charge_cycle
from billing_assets.cli.price import quote
from billing_assets.core.periods import Period
from tests.support.pricing import priced
from tests.support.references import agreement, loaded, partner
from tests.test_charging_lines import usage
from tests.test_charging_volume import FR, GROUP, minutes

TIERS = [{"up_to": 1000, "price": "0.10"}, {"price": "0.05"}]
EARLY, LATE = minutes(1000, "2026-03-05"), minutes(1000, "2026-03-20")


def volume(**rule: object) -> dict:
    return {"volume": [{"rule": "r", "period": "month", **rule}]}


def two_versions(folder: Path, terms: dict, before: dict | None = None) -> list[dict]:
    """The charges of March when a second version takes over on the 15th; by default the same."""
    first = {"agreement": "A", "to": "2026-03-15", "rates": GROUP}
    second = {"agreement": "A", "version": 2, "from": "2026-03-15", "rates": GROUP}
    found = priced(
        folder, [{**first, **(terms if before is None else before)}, {**second, **terms}],
        [EARLY, LATE],
    )["charges"]  # fmt: skip
    return [one for one in found if one["kind"] != "replaced"]


def of_kind(charges: list[dict], kind: str) -> list[tuple[str, str]]:
    return sorted((str(c["quantity"]), str(c["amount"])) for c in charges if c["kind"] == kind)


def charged(folder: Path, terms: dict, usage: list[dict]) -> list[dict]:
    return priced(folder, [{"agreement": "A", "rates": GROUP, **terms}], usage)["charges"]


def total(charges: list[dict], kind: str) -> Decimal:
    return sum((c["amount"] for c in charges if c["kind"] == kind), Decimal(0))


def test_a_prorated_bundle_goes_on_over_a_new_version(tmp_path: Path) -> None:
    """One fee of the whole month, 1500 minutes inside, wherever the version changes."""
    rule = volume(model="bundle", included=1500, fee=310, overage_price="0.05", prorate=True)
    found = two_versions(tmp_path, rule)
    assert of_kind(found, "fixed_fee") == [("1", "310.00")]
    assert of_kind(found, "bundle") == [("500", "25.00")]


def test_a_prorated_bundle_of_the_new_version_alone_counts_its_days_alone(tmp_path: Path) -> None:
    """17 of 31 days: 170 for 850 minutes, of which the usage before takes none."""
    rule = volume(model="bundle", included=1550, fee=310, overage_price="0.05", prorate=True)
    found = two_versions(tmp_path, rule, before={})
    assert of_kind(found, "fixed_fee") == [("1", "170.00")]
    assert of_kind(found, "bundle") == [("150", "7.50")]
    assert of_kind(found, "usage") == [("1000", "20.00")]


def test_a_prorated_fee_of_a_tier_goes_on_over_a_new_version(tmp_path: Path) -> None:
    rule = volume(model="flat_fee", prorate=True, tiers=[{"up_to": 1500, "fee": 31}, {"fee": 62}])
    assert of_kind(two_versions(tmp_path, rule), "fixed_fee") == [("1", "62.00")]


def test_a_fee_by_destination_is_charged_where_the_last_version_has_no_usage(
    tmp_path: Path,
) -> None:
    rule = volume(model="flat_fee", accumulate="by_destination", tiers=[{"fee": 40}])
    versions = [
        {"agreement": "A", "to": "2026-03-15", "rates": GROUP, **rule},
        {"agreement": "A", "version": 2, "from": "2026-03-15", "rates": GROUP, **rule},
    ]
    usage = [minutes(5, "2026-03-05", FR), minutes(5, "2026-03-20")]
    assert total(priced(tmp_path, versions, usage)["charges"], "fixed_fee") == 80


@pytest.mark.parametrize(
    ("terms", "bundle", "usage", "shortfall"),
    [
        ({"quantity": 1500, "excess_price": "0.04"}, [("1000", "50.00"), ("500", "20.00"),
         ("500", "25.00")], [], []),
        ({"quantity": 1500}, [("1000", "50.00"), ("500", "25.00")], [("500", "10.00")], []),
        ({"quantity": 3500}, [("1000", "50.00"), ("1000", "50.00")], [], [("1500", "75.00")]),
    ],
)  # fmt: skip
def test_a_swap_holds_over_versions_of_its_agreement(
    tmp_path: Path, terms: dict, bundle: list, usage: list, shortfall: list
) -> None:
    """Minutes at 0.05 up to the volume of the whole deal, then beyond it."""
    first = agreement(agreement="IN", rates=GROUP, **{"from": "2026-01-01", "to": "2026-03-15"})
    second = agreement(agreement="IN", version=2, rates=GROUP, **{"from": "2026-03-15"})
    deal = {
        "deal": "SWAP", "partner": "P01", "from": "2026-03-01", "to": "2026-04-01",
        "received": {"agreement": "IN", "price": "0.05", **terms},
    }  # fmt: skip
    paths = []
    for number, form in enumerate((first, second, deal)):
        paths.append(tmp_path / f"{number}.yaml")
        paths[-1].write_text(json.dumps(form))
    records = tmp_path / "usage.jsonl"
    records.write_text("\n".join(json.dumps(row) for row in (EARLY, LATE)))
    found = quote(paths, records, calendar=None, month="", zone="UTC")["charges"]
    assert of_kind(found, "bundle") == bundle
    assert of_kind(found, "usage") == usage
    assert of_kind(found, "shortfall") == shortfall


@pytest.mark.parametrize("model", ["graduated", "all_unit"])
def test_a_tier_counts_from_the_day_on_which_it_begins(tmp_path: Path, model: str) -> None:
    rule = volume(model=model, tiers=TIERS, **{"from": "2026-03-15"})
    found = charged(tmp_path, rule, [EARLY, LATE])
    assert of_kind(found, "tier") == [("1000", "100.00")]
    assert of_kind(found, "usage") == [("1000", "20.00")]


def test_usage_that_a_tier_did_not_price_is_not_priced_again(tmp_path: Path) -> None:
    """It counts for the tier that is reached, and keeps the price of its records."""
    rule = volume(model="all_unit", tiers=TIERS)
    found = two_versions(tmp_path, rule, before={})
    assert of_kind(found, "tier") == [("1000", "50.00")]
    assert total(two_versions(tmp_path, rule), "tier") == Decimal("100.00")


def test_a_tier_after_a_bundle_counts_what_the_bundle_left(tmp_path: Path) -> None:
    """500 of 2000 minutes are the bundle's: the tiers hold 1500, of which 500 above the bound."""
    rules = [
        {"rule": "b", "model": "bundle", "period": "month", "included": 500, "fee": 10},
        {"rule": "t", "model": "graduated", "period": "month", "tiers": TIERS},
    ]
    found = two_versions(tmp_path, {"volume": rules})
    assert of_kind(found, "tier") == [("500", "25.00"), ("500", "50.00"), ("500", "50.00")]


def test_a_commitment_counts_what_tiers_charge_for_its_own_days(tmp_path: Path) -> None:
    """Tiers come to 100 before the 15th and 50 after it; 170 are due for 17 of 31 days."""
    tiers = volume(model="graduated", tiers=TIERS)
    due = {"commitment": "c", "period": "month", "amount": 310, "from": "2026-03-15"}
    found = charged(tmp_path, {**tiers, "commitments": [due]}, [EARLY, LATE])
    assert of_kind(found, "shortfall") == [("1", "120.00")]


@pytest.mark.parametrize(("model", "spend"), [("graduated", "140.00"), ("all_unit", "90.00")])
def test_a_month_s_commitment_counts_what_a_quarter_s_tiers_charge_in_it(
    tmp_path: Path, model: str, spend: str
) -> None:
    """100 minutes of February count; in March 1900 follow, and all_unit gives 5 of it back."""
    tiers = {"volume": [{"rule": "r", "model": model, "period": "quarter", "tiers": TIERS}]}
    commitments = [{"commitment": "c", "period": "month", "amount": 195}]
    usage = [minutes(100, "2026-02-05"), EARLY, minutes(900, "2026-03-20")]
    found = charged(tmp_path, {**tiers, "commitments": commitments}, usage)
    march = [one for one in found if one["cycle"].endswith("2026-03")]
    assert total(march, "tier") == Decimal(spend)
    assert total(march, "shortfall") == 195 - Decimal(spend)


def test_a_quarter_s_commitment_counts_the_shares_of_its_months(tmp_path: Path) -> None:
    share = {"share": "s", "takes": [{"priority": 1, "to": "P01", "share": "0.5"}],
             "remainder": "carrier"}  # fmt: skip
    terms = {
        "shares": [share],
        "commitments": [{"commitment": "c", "period": "quarter", "amount": 100}],
    }
    usage = [minutes(500, f"2026-0{month}-10") for month in (1, 2, 3)]
    found = charged(tmp_path, terms, [*usage, minutes(1000, "2026-03-10", FR)])
    assert total(found, "share") == Decimal("17.50")
    assert of_kind(found, "shortfall") == [("1", "82.50")]


def test_fees_of_months_without_usage_count_towards_a_quarter_s_commitment(
    tmp_path: Path,
) -> None:
    """40 a month, February's too; what an opening states is not counted again."""
    due = {"commitment": "c", "period": "quarter", "amount": 200}
    rule = volume(model="bundle", included=5000, fee=40)
    usage = [minutes(10, f"2026-0{month}-10") for month in (1, 3)]
    found = charged(tmp_path, {**rule, "commitments": [due]}, usage)
    assert of_kind(found, "shortfall") == [("1", "80.00")]
    opened = {**due, "opening": [{"until": "2026-02-28", "amount": 90}]}
    late = charged(tmp_path, {**rule, "commitments": [opened]}, usage[1:])
    assert of_kind(late, "shortfall") == [("1", "70.00")]


@pytest.mark.parametrize(
    ("rule", "term", "field"),
    [
        ({}, {"destinations": ["France"]}, "destinations"),
        ({"destinations": ["France", "UK Mobile O2"]}, {"destinations": ["France"]},
         "destinations"),
        ({}, {"accounts": ["P01-A"]}, "accounts"),
        ({"destinations": ["France"]}, {"destinations": ["UK Mobile O2"]}, ""),
        ({"destinations": ["France"]}, {"destinations": ["France", "UK Mobile O2"]}, ""),
        ({"accumulate": "by_destination"}, {"destinations": ["France"]}, ""),
    ],
)  # fmt: skip
def test_a_part_of_what_a_rule_prices_together_cannot_be_committed(
    rule: dict, term: dict, field: str
) -> None:
    terms = {
        **volume(model="graduated", tiers=TIERS, **rule),
        "commitments": [{"commitment": "c", "period": "month", "amount": 100, **term}],
    }
    found = [
        f"{one.field}: {one.message}"
        for one in loaded([agreement(rates=GROUP, **terms)], [partner()]).problems
    ]
    said = f"commitments.0.{field}: names a part of what r prices together"
    assert found == ([said] if field else [])


def test_a_commitment_on_a_destination_counts_its_tiers(tmp_path: Path) -> None:
    """Of tiers by destination 50 are France's; those of the United Kingdom do not count."""
    terms = {
        **volume(model="graduated", accumulate="by_destination", tiers=TIERS),
        "commitments": [
            {"commitment": "c", "period": "month", "amount": 100, "destinations": ["France"]}
        ],
    }
    found = charged(tmp_path, terms, [minutes(500, number=FR), minutes(2000)])
    assert of_kind(found, "shortfall") == [("1", "50.00")]


MODELS = {
    "graduated": {"tiers": [{"up_to": 150, "price": "0.10"}, {"price": "0.03"}]},
    "all_unit": {"tiers": [{"up_to": 150, "price": "0.10"}, {"price": "0.03"}]},
    "flat_fee": {"tiers": [{"up_to": 150, "fee": 50}, {"fee": 90}], "prorate": True},
    "bundle": {"included": 150, "fee": 20, "price": "0.02", "overage_price": "0.05",
               "prorate": True},
}  # fmt: skip
DAYS = st.dates(date(2026, 1, 2), date(2026, 3, 31))


@settings(deadline=None, max_examples=25)
@given(
    model=st.sampled_from(sorted(MODELS)),
    period=st.sampled_from(["month", "quarter"]),
    accumulate=st.sampled_from(["together", "by_destination"]),
    begins=st.none() | DAYS,
    changes=DAYS,
    cuts=st.lists(DAYS, unique=True, max_size=4),
    calls=st.lists(
        st.tuples(DAYS, st.integers(1, 200), st.sampled_from(["UK", "FR"])), min_size=1, max_size=8
    ),
)
def test_a_quarter_comes_to_the_same_however_cycles_and_versions_cut_it(
    model: str,
    period: str,
    accumulate: str,
    begins: date | None,
    changes: date,
    cuts: list[date],
    calls: list[tuple[date, int, str]],
) -> None:
    rule = {"rule": "r", "model": model, "period": period, "accumulate": accumulate}
    start = {"from": begins.isoformat()} if begins else {}
    credit = {"rule": "d", "model": "discount", "period": "quarter", "tiers": [{"discount": "0.1"}]}
    terms = {
        "rates": [{"code": 44, "destination": "UK", "rate": 1},
                  {"code": 33, "destination": "FR", "rate": 1}],
        "volume": [{**rule, **MODELS[model], **start}, credit],
        "commitments": [{"commitment": "c", "period": "quarter", "amount": 200}],
    }  # fmt: skip
    first = agreement(**{**terms, "to": changes.isoformat()})
    second = agreement(**{**terms, "version": 2, "from": changes.isoformat()})
    quarter = [date(2026, 1, 1), date(2026, 4, 1)]
    whole = _comes_to([agreement(**terms)], calls, quarter, None)
    edges = sorted({*quarter, *cuts})
    assert _comes_to([first, second], calls, quarter, changes) == whole
    assert _comes_to([agreement(**terms)], calls, edges, None) == whole
    assert _comes_to([first, second], calls, edges, changes) == whole


def _comes_to(
    forms: list[dict], calls: list[tuple[date, int, str]], edges: list[date], changes: date | None
) -> dict[str, Decimal]:
    """Exact money by kind, to a thousandth, of cycles that lie between some days."""
    found: dict[str, Decimal] = {}
    rows = [
        {"day": day, "records": count, "quantity": 60 * count, "billed_units": 60 * count,
         "amount": Decimal(count), "destination": destination,
         "agreement": "A@2" if changes and day >= changes else "A@1"}
        for day, count, destination in calls
    ]  # fmt: skip
    held = loaded(forms, [partner()]).reference.agreements
    for begin, end in pairwise(edges):
        cycle = Cycle(f"P01/{begin}", "P01", "2026-03", Period(begin, end, "UTC"))
        own = [row for row in rows if begin <= row["day"] < end]
        before = [row for row in rows if row["day"] < begin]
        none = usage().clear()
        facts = Facts(cycle, held, usage(*own) if own else none, usage(*before) if before else none)
        charges = charge_cycle(facts, buckets=1, sources={}).filter(pl.col("kind") != "replaced")
        for kind, exact in charges.select("kind", "exact_amount").iter_rows():
            found[kind] = found.get(kind, Decimal(0)) + exact
    rounded = {kind: round(exact, 3) for kind, exact in found.items()}
    return {kind: exact for kind, exact in rounded.items() if exact}
