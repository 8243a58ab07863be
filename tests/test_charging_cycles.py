"""Cycles: what closes when, and that every day's usage is billed once, whatever the order."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing_assets.charging.cycles import (
    Cycle,
    ad_hoc_cycle,
    cycles_of_month,
    is_closed,
    newly_closed,
)
from billing_assets.charging.unbilled import claim, require_still_due, unbilled_usage
from billing_assets.core.errors import StateError
from billing_assets.lake.tables import USAGE_DAILY
from billing_assets.reference.models import Cadence, Partner
from billing_assets.registry.cycles import USAGE_VERSION
from billing_assets.registry.cycles import Cycle as RegisteredCycle
from billing_assets.registry.schema import CycleState


def partner(cadence: str, zone: str = "Europe/Berlin", **more: object) -> Partner:
    return Partner.model_validate(
        {
            "partner": "P03",
            "name": "Voxhansa",
            "country": "DE",
            "address": {"street": "-", "city": "-", "country": "DE"},
            "currency": "EUR",
            "zone": zone,
            "roles": ["customer"],
            "cadence": cadence,
            "tax": {"category": "O"},
            "accounts": [],
            **more,
        }
    )


def ends(cycles: list[Cycle]) -> list[tuple[str, str, str]]:
    return [(c.cycle, str(c.period.start), str(c.period.last_day)) for c in cycles]


def test_a_month_holds_the_cycles_that_end_in_it() -> None:
    assert ends(cycles_of_month(partner("monthly"), "2026-02")) == [
        ("P03/2026-02", "2026-02-01", "2026-02-28")
    ]
    assert ends(cycles_of_month(partner("semi-monthly"), "2026-02")) == [
        ("P03/2026-02-A", "2026-02-01", "2026-02-15"),
        ("P03/2026-02-B", "2026-02-16", "2026-02-28"),
    ]
    weeks = ends(cycles_of_month(partner("weekly"), "2026-03"))
    assert weeks[0] == ("P03/2026-W09", "2026-02-23", "2026-03-01")
    assert weeks[2] == ("P03/2026-W11", "2026-03-09", "2026-03-15")
    assert [name for name, _, _ in weeks] == [f"P03/2026-W{n:02d}" for n in range(9, 14)]
    assert cycles_of_month(partner("ad-hoc"), "2026-03") == []


@given(
    st.sampled_from(["monthly", "weekly", "semi-monthly"]),
    st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sat", "sun"]),
    st.integers(2020, 2040),
)
@settings(max_examples=40, deadline=None)
def test_a_calendar_has_every_day_once_and_every_name_once(
    cadence: str, begins: str, year: int
) -> None:
    who = partner(cadence, week_starts=begins)
    months = [f"{y}-{m:02d}" for y in (year, year + 1) for m in range(1, 13)]
    cycles = [cycle for month in months for cycle in cycles_of_month(who, month)]
    for one, following in pairwise(cycles):
        assert one.period.end == following.period.start
    assert all(c.month == c.period.last_day.isoformat()[:7] for c in cycles)
    assert len({c.cycle for c in cycles}) == len(cycles)
    if cadence == "weekly":
        assert {c.period.start.strftime("%a").lower() for c in cycles} == {begins}
        assert {c.period.days for c in cycles} == {7}


def test_a_cycle_closes_when_its_last_day_is_over_where_the_partner_is() -> None:
    tokyo, miami = (
        cycles_of_month(partner("semi-monthly", zone), "2026-03")[0]
        for zone in ("Asia/Tokyo", "America/New_York")
    )
    assert is_closed(tokyo, datetime(2026, 3, 15, 15, tzinfo=UTC))
    assert not is_closed(tokyo, datetime(2026, 3, 15, 14, 59, tzinfo=UTC))
    # after the American clock change of 8 March midnight is at 04:00 UTC
    assert is_closed(miami, datetime(2026, 3, 16, 4, tzinfo=UTC))
    assert not is_closed(miami, datetime(2026, 3, 16, 3, 59, tzinfo=UTC))


def test_the_cycle_that_closed_last_follows_the_partners_own_week() -> None:
    tuesday = datetime(2026, 3, 17, 6, tzinfo=UTC)
    assert newly_closed(partner("weekly"), tuesday).cycle == "P03/2026-W11"
    sunday_on = newly_closed(partner("weekly", week_starts="tue"), tuesday)
    assert (sunday_on.period.start, sunday_on.period.last_day) == (
        date(2026, 3, 10),
        date(2026, 3, 16),
    )
    assert newly_closed(partner("monthly"), tuesday).cycle == "P03/2026-02"
    assert newly_closed(partner("semi-monthly"), tuesday).cycle == "P03/2026-03-A"
    with pytest.raises(ValueError, match="calendar"):
        newly_closed(partner("ad-hoc"), tuesday)


def test_an_ad_hoc_cycle_has_any_days_and_a_name_of_its_own() -> None:
    some = ad_hoc_cycle(partner("monthly"), date(2026, 3, 5), date(2026, 4, 2))
    assert (some.cycle, some.month) == ("P03/2026-03-05--2026-04-02", "2026-04")
    month = date(2026, 3, 1), date(2026, 3, 31)
    assert ad_hoc_cycle(partner("ad-hoc"), *month).cycle == "P03/2026-03"
    # a monthly partner's own cycle bears that name
    assert ad_hoc_cycle(partner("monthly"), *month).cycle == "P03/2026-03-01--2026-03-31"
    with pytest.raises(ValueError, match="no day"):
        ad_hoc_cycle(partner("ad-hoc"), date(2026, 3, 5), date(2026, 3, 4))


def usage(by_day: dict[date, int]) -> pl.DataFrame:
    """Rows of `usage_daily` with so many records of 0.01 on each local day."""
    rows = [
        {
            "day": day,
            "bucket": 0,
            "leg": "customer",
            "service": "voice",
            "partner": "P03",
            "agreement": "A@1",
            "local_day": day,
            "currency": "EUR",
            "records": count,
            "answered": count,
            "duration_ms": count,
            "quantity": count,
            "billed_units": count,
            "fees": Decimal(0),
            "amount": count * Decimal("0.01"),
        }
        for day, count in by_day.items()
        if count
    ]
    return pl.DataFrame(rows, schema=USAGE_DAILY.schema)


class Desk:
    """A partner's cycles and its usage, as the registry and the lake hold them."""

    def __init__(self, *, has_calendar: bool) -> None:
        self.has_calendar = has_calendar
        self.versions: list[dict[date, int]] = [{}]
        self.cycles: dict[str, RegisteredCycle] = {}
        self.drafts: dict[str, dict[date, int]] = {}
        self.billed: dict[date, int] = {}

    def arrives(self, day: date, count: int) -> None:
        now = dict(self.versions[-1])
        now[day] = max(0, now.get(day, 0) + count)
        self.versions.append(now)

    def run(self, cycle: Cycle) -> dict[date, int]:
        """Run a cycle unless it is final; returns what it bills by day."""
        known = self.cycles.get(cycle.cycle)
        if known and known.state is CycleState.FINAL:
            return {}
        claimed = claim(cycle, list(self.cycles.values()), has_calendar=self.has_calendar)

        def at(version: int) -> pl.DataFrame:
            kept = self.versions[version].items()
            return usage({day: n for day, n in kept if day < cycle.period.end})

        version = len(self.versions) - 1
        due = unbilled_usage(claimed, at(version), {v: at(v) for v in claimed.versions})
        self.drafts[cycle.cycle] = dict(
            due.group_by("local_day").agg(pl.col("records").sum()).iter_rows()
        )
        self.cycles[cycle.cycle] = RegisteredCycle(
            id=cycle.cycle,
            partner=cycle.partner,
            month=cycle.month,
            period=cycle.period,
            cadence=cycle.cadence,
            state=CycleState.DRAFT,
            runs=1,
            held_reason=None,
            ran_by=None,
            drafted_by=None,
            approved_by=None,
            findings=(),
            totals={USAGE_VERSION: version, **claimed.figures},
            updated_at=datetime(2026, 1, 1, tzinfo=UTC),
            updated_by="ana",
        )
        return self.drafts[cycle.cycle]

    def finalise(self, cycle: Cycle) -> None:
        """Issue what the cycle's last run billed; raises `StateError` when it is not due."""
        known = self.cycles[cycle.cycle]
        if known.state is CycleState.FINAL:
            return
        require_still_due(known, list(self.cycles.values()))
        self.cycles[cycle.cycle] = replace(known, state=CycleState.FINAL)
        for day, count in self.drafts[cycle.cycle].items():
            self.billed[day] = self.billed.get(day, 0) + count


WEEKS = [c for m in ("2026-03", "2026-04") for c in cycles_of_month(partner("weekly"), m)]
MONTHS = [c for m in ("2026-03", "2026-04") for c in cycles_of_month(partner("monthly"), m)]
HALVES = [c for m in ("2026-03", "2026-04") for c in cycles_of_month(partner("semi-monthly"), m)]
DAYS = [date(2026, 2, 10) + timedelta(days=n) for n in range(75)]
AD_HOC = [
    ad_hoc_cycle(partner("monthly"), date(2026, 3, 5), date(2026, 3, 12)),
    ad_hoc_cycle(partner("monthly"), date(2026, 3, 28), date(2026, 4, 7)),
]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("usage"), st.sampled_from(DAYS), st.integers(-2, 9)),
        st.tuples(st.just("run"), st.integers(0, 11)),
        st.tuples(st.just("final"), st.integers(0, 11)),
    ),
    max_size=25,
)


@given(STEPS, st.sampled_from([WEEKS, MONTHS, HALVES, [*MONTHS, *WEEKS]]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_day_is_billed_once_in_whatever_order_cycles_are_run_and_issued(
    steps: list[tuple], calendar: list[Cycle], ad_hoc: bool
) -> None:
    desk = Desk(has_calendar=True)
    cycles = [*calendar, *(AD_HOC if ad_hoc else [])]
    for action, *rest in steps:
        match action:
            case "usage":
                desk.arrives(*rest)
            case "run":
                desk.run(cycles[rest[0] % len(cycles)])
            case _:
                cycle = cycles[rest[0] % len(cycles)]
                if cycle.cycle in desk.cycles:
                    try:
                        desk.finalise(cycle)
                    except StateError as error:
                        assert "run it again" in str(error)
    for cycle in sorted(cycles, key=lambda one: one.period):
        desk.run(cycle)
        desk.finalise(cycle)
    desk.arrives(DAYS[3], 7)
    may = cycles_of_month(partner("monthly"), "2026-05")[0]
    desk.run(may)
    desk.finalise(may)
    owed = {day: count for day, count in desk.versions[-1].items() if count}
    assert {day: count for day, count in desk.billed.items() if count} == owed


def test_late_usage_of_a_closed_week_is_a_prior_period_of_the_next_open_one() -> None:
    desk = Desk(has_calendar=True)
    first, second, third = WEEKS[:3]
    desk.arrives(first.period.start, 5)
    desk.run(first)
    desk.finalise(first)
    desk.arrives(first.period.last_day, 2)
    desk.arrives(third.period.start, 9)
    assert desk.run(second) == {first.period.last_day: 2}
    assert desk.run(third) == {third.period.start: 9}
    desk.finalise(third)
    assert desk.run(third) == {}
    desk.arrives(third.period.start, 1)
    assert desk.run(second) == {first.period.last_day: 2}, "a later week is not its past"
    assert desk.run(WEEKS[3]) == {}, "the second week is open and has what came late"
    desk.finalise(second)
    assert desk.run(WEEKS[3]) == {third.period.start: 1}


def test_a_draft_that_another_cycle_overtook_is_not_issued() -> None:
    desk = Desk(has_calendar=True)
    month, ad_hoc = MONTHS[0], AD_HOC[0]
    desk.arrives(date(2026, 3, 6), 5)
    desk.arrives(date(2026, 3, 20), 3)
    assert desk.run(month) == {date(2026, 3, 6): 5, date(2026, 3, 20): 3}
    assert desk.run(ad_hoc) == {date(2026, 3, 6): 5}
    desk.finalise(ad_hoc)
    with pytest.raises(StateError, match="run it again"):
        desk.finalise(month)
    assert desk.run(month) == {date(2026, 3, 20): 3}


def test_a_partner_billed_ad_hoc_pays_for_the_days_that_were_asked_for_alone() -> None:
    desk = Desk(has_calendar=False)
    who = partner("ad-hoc")
    one = ad_hoc_cycle(who, date(2026, 3, 1), date(2026, 3, 10))
    two = ad_hoc_cycle(who, date(2026, 3, 16), date(2026, 3, 20))
    gap = ad_hoc_cycle(who, date(2026, 3, 11), date(2026, 3, 15))
    for day in (4, 12, 17):
        desk.arrives(date(2026, 3, day), day)
    assert desk.run(one) == {date(2026, 3, 4): 4}
    desk.finalise(one)
    desk.arrives(date(2026, 3, 4), 1)
    assert desk.run(two) == {date(2026, 3, 4): 1, date(2026, 3, 17): 17}
    desk.finalise(two)
    assert desk.run(gap) == {date(2026, 3, 12): 12}


def test_a_re_rated_day_takes_back_what_was_billed() -> None:
    march = MONTHS[0]
    desk = Desk(has_calendar=True)
    february = ad_hoc_cycle(partner("monthly"), date(2026, 2, 1), date(2026, 2, 28))
    february = replace(february, cadence=Cadence.MONTHLY)
    desk.arrives(date(2026, 2, 10), 3)
    desk.run(february)
    desk.finalise(february)
    desk.arrives(date(2026, 2, 10), -1)
    assert desk.run(march) == {date(2026, 2, 10): -1}
