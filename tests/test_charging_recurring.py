"""Recurring fees by quarter and year, in advance and arrears, with steps, credits and 30/360."""

import json
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing_assets.charging.cycles import Cycle
from billing_assets.charging.line import BilledFee, Facts, Line
from billing_assets.charging.recurring import pieces, recurring_lines
from billing_assets.core.periods import Period
from billing_assets.lake.tables import CHARGE, USAGE_DAILY
from billing_assets.reference.fees import Recurring
from billing_assets.reference.load import InForce, read_folder
from billing_assets.reference.versions import approve_reference, take_reference
from tests.support.billing_home import DEMO, NOW, issue, open_home, run, use
from tests.support.references import agreement, loaded, partner

RATES = [{"code": "44", "rate": "0.01"}]
FEE = {"fee": "ports", "title": "Ports", "price": "150.00", "quantity": 4, "from": "2026-01-01"}


def agreements(*versions: dict[str, object]) -> list[InForce]:
    return list(_loaded(json.dumps(versions)))


@lru_cache
def _loaded(versions: str) -> tuple[InForce, ...]:
    result = loaded([agreement(rates=RATES, **v) for v in json.loads(versions)], [partner()])
    assert not result.problems, [str(p) for p in result.problems]
    return result.reference.agreements


def cycle(first: date, end: date) -> Cycle:
    return Cycle(
        f"P01/{first}", "P01", f"{end - timedelta(days=1):%Y-%m}", Period(first, end, "UTC")
    )


def month(number: int) -> Cycle:
    first = date(2026, number, 1)
    return cycle(first, (first + timedelta(days=32)).replace(day=1))


class Desk:
    """Cycles run and made final one after the other, under terms that change between them."""

    def __init__(self) -> None:
        self.billed: list[BilledFee] = []
        self.since: date | None = None

    def lines(self, of: Cycle, *versions: dict[str, object]) -> list[Line]:
        return recurring_lines(
            Facts(
                of,
                agreements(*versions),
                pl.DataFrame(schema=USAGE_DAILY.schema),
                bills=lambda day: day < of.period.end,
                billed_fees=self.billed,
                late_since=self.since,
            )
        )

    def final(self, of: Cycle, *versions: dict[str, object]) -> list[Decimal]:
        lines = self.lines(of, *versions)
        for line in lines:
            c: dict[str, Any] = dict(line.columns)
            self.billed.append(
                BilledFee(
                    "recurring", str(c["agreement"]), str(line.inputs["fee"]),
                    c["first_day"], c["last_day"], c["exact_amount"],
                )
            )  # fmt: skip
        self.since = self.since or of.period.start
        return amounts(lines)


def amounts(lines: Sequence[Line]) -> list[Decimal]:
    return [Decimal(str(line.columns["amount"])) for line in lines]


def with_fee(**changes: object) -> dict[str, object]:
    return {"recurring": [{**FEE, **changes}]}


def test_a_part_of_a_month_by_actual_days_or_by_months_of_30_days() -> None:
    one = {"price": "1000.00", "quantity": 1, "from": "2026-02-10"}
    assert Desk().final(month(2), with_fee(**one)) == [Decimal("678.57")]
    assert Desk().final(month(2), with_fee(**one, day_count="30/360")) == [Decimal("700.00")]
    [line] = Desk().lines(month(2), with_fee(**one, day_count="30/360"))
    assert list(line.steps) == ["1 x 1000 EUR a month", "21 of 30 days (30/360)", "700 EUR"]


def test_in_advance_a_period_is_billed_by_the_cycle_of_its_first_day_less_the_lead() -> None:
    early = with_fee(bill="advance", lead_days=1, **{"from": "2026-04-01"})
    [line] = Desk().lines(month(3), early)
    assert (line.columns["first_day"], line.columns["last_day"], line.columns["amount"]) == (
        date(2026, 4, 1), date(2026, 4, 30), Decimal("600.00"),
    )  # fmt: skip
    assert Desk().final(month(4), with_fee(bill="advance")) == [Decimal("600.00")]


def test_a_quarter_and_a_year_are_billed_whole_where_they_end_or_begin() -> None:
    desk = Desk()
    quarter = with_fee(every="quarter", bill="arrears")
    assert [desk.final(month(n), quarter) for n in (1, 2, 3, 4)] == [[], [], [Decimal(600)], []]
    desk = Desk()
    year = with_fee(every="year", bill="advance", **{"from": "2026-03-01"})
    # 306 of 365 days of the first year
    assert [desk.final(month(n), year) for n in (2, 3, 4)] == [[], [Decimal("503.01")], []]


def test_what_ends_after_it_was_billed_in_advance_is_credited_once() -> None:
    # I03: 600.00 for July in advance, ended after 20 July: 11 of 31 days
    desk = Desk()
    advance = with_fee(bill="advance", lead_days=1, **{"from": "2026-07-01"})
    assert desk.final(month(6), advance) == [Decimal("600.00")]
    ended = with_fee(bill="advance", lead_days=1, **{"from": "2026-07-01", "to": "2026-07-21"})
    [credit] = desk.lines(month(7), ended)
    assert credit.columns["amount"] == Decimal("-212.90")
    assert credit.columns["description"] == "Ports, credit"
    assert list(credit.steps) == [
        "billed before for 2026-07-01 to 2026-07-31: 600 EUR",
        "4 x 150 EUR a month",
        "20 of 31 days",
        "due: 387.0967741935 EUR",
        "line rounded half up to 2 decimals: -212.90",
    ]
    assert desk.lines(month(7), ended) == [credit]
    assert desk.final(month(7), ended) == [Decimal("-212.90")]
    assert desk.final(month(8), ended) == []


def test_a_quantity_agreed_late_is_billed_for_the_days_that_were_billed_without() -> None:
    desk = Desk()
    advance = {"bill": "advance"}
    assert desk.final(month(4), with_fee(**advance)) == [Decimal("600.00")]
    more = with_fee(**advance, quantities=[{"from": "2026-04-16", "quantity": 6}])
    # two ports more for 15 of 30 days, and all of May
    assert sorted(desk.final(month(5), more)) == [Decimal("150.00"), Decimal("900.00")]
    # months that only days of cycles were billed for are corrected alike
    desk = Desk()
    assert desk.final(month(4), with_fee()) == [Decimal("600.00")]
    assert desk.final(month(5), with_fee(to="2026-04-16")) == [Decimal("-300.00")]


def test_a_fee_agreed_late_is_billed_by_the_next_cycle_and_none_before_the_first() -> None:
    desk = Desk()
    assert desk.final(month(3)) == []
    late = with_fee(bill="advance", lead_days=1, **{"from": "2026-03-17"})
    # 15 of 31 days of March, April and May
    assert desk.final(month(4), late) == [Decimal("290.32"), Decimal(600), Decimal(600)]
    old = with_fee(bill="advance", every="year", **{"from": "2020-01-01"})
    assert Desk().final(month(3), old) == []


def test_a_new_version_that_drops_a_fee_credits_what_the_old_one_billed() -> None:
    desk = Desk()
    assert desk.final(month(4), with_fee(bill="advance")) == [Decimal("600.00")]
    versions = (with_fee(bill="advance"), {"version": 2, "from": "2026-05-16"})
    assert desk.final(month(5), *versions) == [Decimal("290.32")]
    again = Desk()
    assert again.final(month(5), with_fee(bill="advance")) == [Decimal("600.00")]
    assert again.final(month(6), *versions) == [Decimal("-309.68")]


@pytest.mark.parametrize(
    ("bill", "wanted"),
    [
        ("advance", [["106.78", "406.44"], [], []]),
        ("arrears", [[], [], ["106.78", "406.44"]]),
    ],
)
@pytest.mark.parametrize("finals", [True, False])
def test_each_version_bills_its_part_of_a_quarter_where_that_is_due(
    bill: str, wanted: list, finals: bool
) -> None:
    """310 a quarter for 31 of 90 days, then 620 for 59: both by the cycle that bills the quarter,
    whether or not earlier cycles are final."""
    fee = {"quantity": 1, "every": "quarter", "bill": bill}
    versions = (
        {**with_fee(**fee, price="310"), "to": "2026-02-01"},
        {**with_fee(**fee, price="620"), "version": 2, "from": "2026-02-01"},
    )
    desk = Desk()
    found = [
        desk.final(month(n), *versions) if finals else amounts(Desk().lines(month(n), *versions))
        for n in (1, 2, 3)
    ]
    assert found == [[Decimal(amount) for amount in lines] for lines in wanted]


def test_the_price_is_indexed_on_what_holds_and_rounded_once() -> None:
    fee = Recurring.model_validate(
        {
            **FEE,
            "price": "100.00",
            "price_decimals": 2,
            "prices": [{"from": "2026-10-01", "price": "120.00"}],
            "indexation": [
                {"from": "2026-04-01", "percent": "2.5"},
                {"from": "2026-07-01", "percent": "3.3"},
                {"from": "2026-11-01", "percent": "-10"},
            ],
        }
    )
    # 100 x 1.025 x 1.033 = 105.8825: rounding in between would give the same only by luck
    prices = [fee.price_on(date(2026, n, 1)) for n in (3, 4, 7, 10, 11)]
    assert prices == [Decimal(p) for p in ("100.00", "102.50", "105.88", "120.00", "108.00")]


def test_steps_inside_a_period_are_told_piece_by_piece() -> None:
    [line] = Desk().lines(
        month(4),
        with_fee(
            quantities=[{"from": "2026-04-11", "quantity": 6}],
            prices=[{"from": "2026-04-21", "price": "90.00"}],
        ),
    )
    assert line.columns["amount"] == Decimal("680.00")
    assert list(line.steps) == [
        "2026-04-01 to 2026-04-10: 4 x 150 EUR a month, 10 of 30 days",
        "2026-04-11 to 2026-04-20: 6 x 150 EUR a month, 10 of 30 days",
        "2026-04-21 to 2026-04-30: 6 x 90 EUR a month, 10 of 30 days",
        "680 EUR",
    ]


def test_final_cycles_decide_what_the_next_one_credits(tmp_path: Path) -> None:
    """Through run, approval and issue: advance in February, the end known in March."""
    path, fee = "agreements/P02-TRANSIT.yaml", (
        "recurring:\n  - {fee: port, title: Port, price: 310.00, from: 2026-01-01, "
        "bill: advance, lead_days: 1%s}\nrates:"
    )  # fmt: skip
    home = open_home(tmp_path, {path: {"rates:": fee % ""}})
    use(
        home,
        *(
            {"partner": "P02", "agreement": "P02-TRANSIT@1", "local_day": day, "day": day,
             "records": 5_000}
            for day in (date(2026, 2, 10), date(2026, 3, 10))
        ),
    )  # fmt: skip

    def recurring(name: str) -> list[Decimal]:
        charges = home.lake.scan(CHARGE, part={"cycle": [name]}).collect()
        return charges.filter(pl.col("kind") == "recurring").sort("first_day")["amount"].to_list()

    run(home, "P02/2026-02")
    assert recurring("P02/2026-02") == [Decimal(310), Decimal(310)]
    issue(home, "P02/2026-02")
    files = dict(read_folder(DEMO))
    files[path] = files[path].replace(b"rates:", (fee % ", to: 2026-03-21").encode())
    stores = {"lake": home.lake, "registry": home.registry, "blobs": home.blobs}
    taken = take_reference(files, **stores, now=NOW, who="ana")
    approve_reference(taken.number, **stores, now=NOW, who="bruno")
    run(home, "P02/2026-03")
    first = home.lake.scan(CHARGE, part={"cycle": ["P02/2026-03"]}).collect()
    assert recurring("P02/2026-03") == [Decimal(-110)]
    run(home, "P02/2026-03")
    assert home.lake.scan(CHARGE, part={"cycle": ["P02/2026-03"]}).collect().equals(first)


@st.composite
def fees(draw: st.DrawFn) -> dict[str, object]:
    begins = draw(st.dates(date(2026, 1, 1), date(2026, 6, 1)))
    steps = draw(st.lists(st.dates(date(2026, 6, 1), date(2026, 9, 1)), unique=True, max_size=2))
    return {
        **FEE,
        "from": begins.isoformat(),
        "price": f"{draw(st.integers(1, 100_000)) / Decimal(100)}",
        "every": draw(st.sampled_from(["month", "quarter", "year"])),
        "day_count": draw(st.sampled_from(["actual", "30/360"])),
        "quantities": [
            {"from": day.isoformat(), "quantity": n} for n, day in enumerate(sorted(steps))
        ],
    }


CUTS = st.lists(st.dates(date(2026, 1, 2), date(2026, 12, 31)), unique=True, max_size=8)


@settings(deadline=None)
@given(fees(), CUTS)
def test_parts_sum_to_the_whole_over_any_split_into_cycles(
    form: dict[str, object], cuts: list[date]
) -> None:
    fee = Recurring.model_validate(form)
    edges = [date(2026, 1, 1), *sorted(cuts), date(2027, 1, 1)]
    whole = sum((p.amount for p in pieces(fee, (edges[0], edges[-1]))), Fraction(0))
    split = [p for days in pairwise(edges) for p in pieces(fee, days)]
    assert sum((p.amount for p in split), Fraction(0)) == whole
    desk = Desk()
    for first, end in pairwise(edges):
        desk.final(cycle(first, end), {"recurring": [form]})
    held = sum((p.amount for p in pieces(fee, (fee.valid_from, edges[-1]))), Fraction(0))
    assert abs(Fraction(sum(one.exact for one in desk.billed)) - held) < Fraction(1, 10**7)


@settings(deadline=None)
@given(fees(), st.dates(date(2026, 6, 2), date(2026, 12, 1)), st.integers(0, 40))
def test_advance_and_its_credit_come_to_what_the_days_come_to(
    form: dict[str, object], ends: date, lead: int
) -> None:
    """Whenever the end becomes known: all that is billed in the end is what the days cost."""
    form = {k: v for k, v in form.items() if k != "quantities"} | {"bill": "advance"}
    form["lead_days"] = lead
    ended = {**form, "to": ends.isoformat()}
    known = (ends - timedelta(days=20)).replace(day=1)
    desk = Desk()
    for number in range(1, 13):
        of = month(number)
        desk.final(of, {"recurring": [ended if of.period.start >= known else form]})
    fee = Recurring.model_validate(ended)
    due = sum((p.amount for p in pieces(fee, (fee.valid_from, ends))), Fraction(0))
    assert abs(Fraction(sum(one.exact for one in desk.billed)) - due) < Fraction(1, 10**8)
    assert all(one.last < date(2027, 12, 31) for one in desk.billed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"every": "week"}, "month"),
        ({"bill": "later"}, "advance"),
        ({"day_count": "30/365"}, "30/360"),
        ({"lead_days": 1}, "lead_days is for bill: advance"),
        ({"bill": "advance", "lead_days": -1}, "greater than or equal to 0"),
        ({"price": "-1"}, "greater than or equal to 0"),
        ({"to": "2025-12-31"}, "is before from"),
        ({"quantities": [{"from": "2026-02-01", "quantity": -1}]}, "greater than or equal to 0"),
        (
            {"quantities": [{"from": "2026-03-01", "quantity": 1}] * 2},
            "step 2 from 2026-03-01 overlaps the one before it",
        ),
        ({"prices": [{"from": "2025-03-01", "price": 1}]}, "outside the days of the fee"),
        ({"indexation": [{"from": "2026-03-01", "percent": 3}]}, "price_decimals"),
        ({"indexation": [{"from": "2026-03-01", "percent": -100}]}, "greater than -100"),
    ],
)
def test_terms_that_make_no_sense_are_refused_at_load(change: dict[str, object], said: str) -> None:
    result = loaded([agreement(rates=RATES, **with_fee(**change))], [partner()])
    [problem] = result.problems
    assert problem.file == "agreements/A-1.yaml"
    assert str(problem.field).startswith("recurring.0")
    assert said in str(problem)
    twice = loaded([agreement(rates=RATES, recurring=[FEE, FEE])], [partner()])
    assert "ports stands twice" in str(twice.problems[0])
