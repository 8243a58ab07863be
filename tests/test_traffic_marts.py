import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_assets.controls.traffic import traffic_of_day
from billing_assets.core.countries import country_of_code
from billing_assets.core.e164 import COUNTRY_CODES
from billing_assets.lake.store import Lake
from billing_assets.orchestration.dbt_types import Verdict
from billing_assets.orchestration.marts import MartBuild, build_marts
from billing_assets.reference.load import Loaded, load_reference
from billing_assets.reference.traffic import DEFAULT, Dimension, Traffic, TrafficMart
from tests.support.month import FIFTH, FOURTH, month_inputs, write
from tests.support.references import CARRIER

TRAFFIC = Traffic(
    marts=[
        TrafficMart(mart="country-hour", dimensions=[Dimension.COUNTRY, Dimension.HOUR]),
        TrafficMart(mart="trunk", dimensions=[Dimension.TRUNK]),
        TrafficMart(mart="all", dimensions=list(Dimension)),
    ]
)


def leg(day: date, record: int, leg: str, code: int | None, e10: int, **more: object):
    """A rated leg of ten past eight."""
    return {
        "day": day,
        "record_id": record,
        "leg": leg,
        "service": "voice",
        "partner": "P01" if leg == "customer" else "P02",
        "account": "A",
        "agreement": "A@1",
        "code": code,
        "destination": "Jamaica Mobile",
        "event_time": datetime(day.year, day.month, day.day, 8, 10, tzinfo=UTC),
        "answered": True,
        "duration_ms": 60_000,
        "quantity": 60,
        "billed_units": 60,
        "rate_e10": e10,
        "fees_e10": 0,
        "amount_e10": e10,
        "currency": "EUR",
        "pricing": "priced",
        **more,
    }


LEGS = [
    leg(FOURTH, 1, "customer", 1876, 1_234_567_891),
    leg(FOURTH, 1, "supplier", 1, 900_000_000),
    leg(FOURTH, 2, "customer", 1876555, 1_234_567_891),
    # 10^17 and 1 in units of 10^-10: a binary float would lose the 1
    leg(FIFTH, 3, "customer", 44, 100_000_000_000_000_001, currency="USD"),
    leg(FIFTH, 4, "customer", None, 0, answered=False, rate_e10=None, duration_ms=0),
]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    outside = [leg(day, 9, "customer", 49, 7) for day in (date(2026, 2, 28), date(2026, 4, 1))]
    write(lake, "rated_leg", *LEGS, *outside)
    trunks = {1: ("sw/P01", "sw/P02"), 2: ("sw/P01b", None), 3: ("sw/P01", None)}
    write(
        lake,
        "xdr",
        *(
            {"day": FOURTH if record < 3 else FIFTH, "record_id": record}
            | {"in_trunk": came, "out_trunk": went}
            for record, (came, went) in trunks.items()
        ),
    )
    return lake


@pytest.fixture(scope="module")
def built(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> MartBuild:
    inputs = replace(month_inputs(), traffic=TRAFFIC)
    return build_marts(lake, inputs, "2026-03", tmp_path_factory.mktemp("scratch"), ["traffic"])


def mart(built: MartBuild, name: str) -> pl.DataFrame:
    return built.frames["traffic"].filter(pl.col("mart") == name)


def test_a_mart_adds_up_what_it_keeps_and_leaves_the_rest_null(built: MartBuild):
    rows = mart(built, "country-hour")
    found = rows.select("country", "hour", "direction", "currency", "records", "amount").rows()
    assert sorted(found) == [
        ("", 8, "in", "EUR", 1, Decimal(0)),
        ("GB", 8, "in", "USD", 1, Decimal("10000000.0000000001")),
        ("JM", 8, "in", "EUR", 2, Decimal("0.2469135782")),
        ("US", 8, "out", "EUR", 1, Decimal("0.09")),
    ]
    assert rows.select("partner", "day", "trunk", "rate").null_count().row(0) == (4, 4, 4, 4)
    assert rows["dimensions"].unique().to_list() == ["hour, country, direction, currency"]


def test_the_trunk_is_that_of_the_partners_side(built: MartBuild):
    rows = mart(built, "trunk").select("trunk", "direction", "currency", "records").rows()
    assert sorted(rows) == [
        ("", "in", "EUR", 1),
        ("sw/P01", "in", "EUR", 1),
        ("sw/P01", "in", "USD", 1),
        ("sw/P01b", "in", "EUR", 1),
        ("sw/P02", "out", "EUR", 1),
    ]


def test_every_mart_holds_the_money_of_the_months_legs(built: MartBuild):
    checked = {o.test: o.verdict for o in built.outcomes}
    assert checked["traffic_keeps_every_leg_and_amount"] is Verdict.PASSED
    for name in ("country-hour", "trunk", "all"):
        sums = mart(built, name).group_by("currency").agg(pl.col("amount").sum()).sort("currency")
        assert sums.rows() == [
            ("EUR", Decimal("0.3369135782")),
            ("USD", Decimal("10000000.0000000001")),
        ]


@pytest.mark.parametrize("loses", ["a leg", "a mart"])
def test_a_mart_that_loses_something_is_found_out(
    loses: str, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def losing(*args: object) -> pl.DataFrame:
        whole = traffic_of_day(*args)  # pyright: ignore[reportArgumentType]
        return whole.filter(pl.col("mart") != "trunk") if loses == "a mart" else whole.head(2)

    monkeypatch.setattr("billing_assets.orchestration.marts.traffic_of_day", losing)
    inputs = replace(month_inputs(), traffic=TRAFFIC)
    outcomes = build_marts(lake, inputs, "2026-03", tmp_path, ["traffic"]).outcomes
    assert {o.test for o in outcomes if o.verdict is Verdict.FAILED} == {
        "traffic_keeps_every_leg_and_amount"
    }


@given(st.lists(st.sampled_from(Dimension), min_size=1, unique=True))
def test_any_dimensions_hold_the_same_records_and_money(lake: Lake, dimensions: list[Dimension]):
    chosen = TrafficMart(mart="any", dimensions=dimensions)
    rows = traffic_of_day(lake, [chosen], FOURTH)
    assert rows["records"].sum() == 3
    assert rows["amount"].sum() == Decimal("0.3369135782")
    assert rows.select(chosen.kept).is_duplicated().sum() == 0


def read(text: str) -> Loaded:
    return load_reference(
        {"carrier.yaml": json.dumps(CARRIER).encode(), "traffic.yaml": text.encode()}
    )


def test_an_unknown_dimension_is_refused_with_its_line():
    text = "marts:\n  - mart: odd\n    dimensions: [partner, colour]\n"
    loaded = read(text)
    (problem,) = loaded.problems
    assert (problem.file, problem.field, problem.row) == ("traffic.yaml", "marts.0.dimensions", 3)
    assert "there is no dimension 'colour'; known: day, hour, partner" in problem.message
    assert loaded.reference.traffic == DEFAULT


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("marts: [{mart: a, dimensions: []}]", "at least 1"),
        ("marts: [{mart: a, dimensions: [day]}, {mart: a, dimensions: [hour]}]", "stands twice"),
        ("marts: [{mart: a}]", "is missing"),
        ("marts: [{mart: a, dimensions: day}]", "is not a list"),
    ],
)
def test_a_mart_that_cannot_be_is_refused(text: str, said: str):
    loaded = read(text)
    assert [said in one.message for one in loaded.problems] == [True]


def test_every_assigned_country_code_has_a_country():
    unknown = {code for code in COUNTRY_CODES if not country_of_code(code)}
    # the Vatican uses that of Italy, the group of countries is given up
    assert unknown == {"379", "388"}
