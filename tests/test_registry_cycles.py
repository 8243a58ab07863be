"""Cycles: the steps that are allowed, the second person, and holds."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from billing_assets.core.errors import NotFound, StateError
from billing_assets.core.periods import Period, month_period
from billing_assets.registry import Registry
from billing_assets.registry.cycles import Finding
from billing_assets.registry.schema import CycleState
from tests.registry_support import NOW, REFERENCE, approve, draft, freeze

pytest_plugins = ("tests.registry_fixtures",)

ID = "P14/2026-03"
MARCH = month_period("2026-03", "Europe/Lisbon")
BLOCKING = Finding("PO_NUMBER", "the partner's order number is missing", blocks=True)
WARNING = Finding("VARIANCE", "30 % above last month", blocks=False)


def opened(registry: Registry) -> None:
    registry.versions.load_reference(REFERENCE, {}, now=NOW, who="ana")
    registry.cycles.open_cycle(ID, "P14", MARCH, "monthly", now=NOW, who="ana")


def drafted(registry: Registry, who: str = "ana") -> None:
    opened(registry)
    registry.cycles.record_run(ID, {"receivable": "1.00"}, now=NOW, who=who)
    registry.cycles.record_validation(ID, [WARNING], now=NOW, who=who)
    registry.documents.record_drafts(ID, [draft("P14/2026-03/invoice")], now=NOW, who=who)


def test_an_open_cycle_knows_its_period_and_the_month_in_which_it_ends(
    registry: Registry,
) -> None:
    week = Period(date(2026, 3, 30), date(2026, 4, 6), "Europe/Lisbon")
    cycle = registry.cycles.open_cycle("P05/2026-W14", "P05", week, "weekly", now=NOW, who="ana")
    assert (cycle.period, cycle.month, cycle.state) == (week, "2026-04", CycleState.OPEN)
    until_april = Period(date(2026, 3, 16), date(2026, 4, 1))
    half = registry.cycles.open_cycle("P06/2026-03b", "P06", until_april, "semi", now=NOW, who="a")
    assert half.month == "2026-03"


def test_opening_a_cycle_again_changes_nothing_even_when_it_has_gone_on(
    registry: Registry,
) -> None:
    drafted(registry)
    lines = registry.audit.entries()
    again = registry.cycles.open_cycle(ID, "P14", MARCH, "monthly", now=NOW, who="bruno")
    assert again.state is CycleState.DRAFT
    assert registry.audit.entries() == lines


def test_a_cycle_cannot_be_opened_again_with_another_period(registry: Registry) -> None:
    opened(registry)
    with pytest.raises(StateError, match="exists as P14"):
        registry.cycles.open_cycle(
            ID, "P14", month_period("2026-02"), "monthly", now=NOW, who="ana"
        )


def test_trial_runs_are_counted_and_each_voids_what_the_last_one_found(
    registry: Registry,
) -> None:
    opened(registry)
    registry.cycles.record_run(ID, {"receivable": "1.00"}, now=NOW, who="ana")
    blocked = registry.cycles.record_validation(ID, [WARNING, BLOCKING], now=NOW, who="ana")
    assert (blocked.state, blocked.findings) == (CycleState.BLOCKED, (WARNING, BLOCKING))
    again = registry.cycles.record_run(ID, {"receivable": "2.00"}, now=NOW, who="ana")
    assert (again.state, again.runs, again.findings) == (CycleState.RATED, 2, ())
    assert again.totals == {"receivable": "2.00"}
    validated = registry.cycles.record_validation(ID, [WARNING], now=NOW, who="ana")
    assert (validated.state, validated.findings) == (CycleState.VALIDATED, (WARNING,))


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (lambda r: r.cycles.approve(ID, 0, now=NOW, who="bruno"), "is open and cannot become app"),
        (lambda r: r.cycles.record_validation(ID, [], now=NOW, who="ana"), "cannot become valid"),
        (lambda r: r.documents.record_drafts(ID, [], now=NOW, who="ana"), "cannot become draft"),
        (
            lambda r: r.documents.finalise(ID, [], freeze, now=NOW, who="ana"),
            "cannot become final (from open it can become rated)".replace("(", r"\(").replace(
                ")", r"\)"
            ),
        ),
        (lambda r: r.cycles.mark_delivered(ID, now=NOW, who="ana"), "cannot become delivered"),
        (lambda r: r.cycles.mark_settled(ID, now=NOW, who="ana"), "cannot become settled"),
        (lambda r: r.cycles.withdraw_approval(ID, "x", now=NOW, who="ana"), "no approval"),
    ],
)
def test_a_step_that_an_open_cycle_does_not_allow_is_refused_with_a_sentence(
    registry: Registry, step: Callable[[Registry], object], said: str
) -> None:
    opened(registry)
    before = registry.cycles.get(ID)
    with pytest.raises(StateError, match=said):
        step(registry)
    assert registry.cycles.get(ID) == before


@pytest.mark.parametrize("who", ["ana", "Ana", " ana "])
def test_the_one_who_ran_or_drafted_a_cycle_cannot_approve_it(registry: Registry, who: str) -> None:
    drafted(registry)
    with pytest.raises(StateError, match="cannot approve it"):
        registry.cycles.approve(ID, 1, now=NOW, who=who)
    assert registry.cycles.approve(ID, 1, now=NOW, who="bruno").approved_by == "bruno"


def test_the_rule_follows_the_newest_run(registry: Registry) -> None:
    drafted(registry)
    registry.cycles.record_run(ID, {}, now=NOW, who="bruno")
    registry.cycles.record_validation(ID, [], now=NOW, who="bruno")
    registry.documents.record_drafts(ID, [], now=NOW, who="carla")
    for who in ("bruno", "carla"):
        with pytest.raises(StateError, match="cannot approve it"):
            registry.cycles.approve(ID, 2, now=NOW, who=who)
    assert registry.cycles.approve(ID, 2, now=NOW, who="ana").state is CycleState.APPROVED


def test_a_run_that_was_replaced_meanwhile_cannot_be_approved(registry: Registry) -> None:
    drafted(registry)
    registry.cycles.record_run(ID, {}, now=NOW, who="ana")
    registry.cycles.record_validation(ID, [], now=NOW, who="ana")
    registry.documents.record_drafts(ID, [], now=NOW, who="ana")
    with pytest.raises(StateError, match="is at run 2, not 1"):
        registry.cycles.approve(ID, 1, now=NOW, who="bruno")


def test_an_approved_cycle_runs_again_only_after_its_approval_is_withdrawn(
    registry: Registry,
) -> None:
    approve(registry, ID, [draft("P14/2026-03/invoice")])
    with pytest.raises(StateError, match="is approved and cannot become rated"):
        registry.cycles.record_run(ID, {}, now=NOW, who="ana")
    back = registry.cycles.withdraw_approval(ID, "FX fixing was late", now=NOW, who="bruno")
    assert (back.state, back.approved_by) == (CycleState.DRAFT, None)
    assert "FX fixing was late" in (registry.audit.entries()[-1].after or "")
    assert registry.cycles.record_run(ID, {}, now=NOW, who="ana").state is CycleState.RATED


def test_a_held_cycle_is_run_and_drafted_but_neither_approved_nor_finalised(
    registry: Registry,
) -> None:
    opened(registry)
    assert registry.cycles.hold(ID, "rate dispute", now=NOW, who="ana").held
    drafted(registry)
    with pytest.raises(StateError, match="on hold: rate dispute"):
        registry.cycles.approve(ID, 1, now=NOW, who="bruno")
    registry.cycles.release(ID, now=NOW, who="ana")
    registry.cycles.approve(ID, 1, now=NOW, who="bruno")
    registry.cycles.hold(ID, "second thoughts", now=NOW, who="ana")
    drafts = registry.documents.drafts(ID, 1)
    with pytest.raises(StateError, match="second thoughts"):
        registry.documents.finalise(ID, drafts, freeze, now=NOW, who="carla")
    registry.cycles.release(ID, now=NOW, who="ana")
    lines = registry.audit.entries()
    assert not registry.cycles.release(ID, now=NOW, who="ana").held  # twice is once
    assert registry.audit.entries() == lines
    assert len(registry.documents.finalise(ID, drafts, freeze, now=NOW, who="carla")) == 1
    with pytest.raises(StateError, match="too late"):
        registry.cycles.hold(ID, "too late", now=NOW, who="ana")


def test_a_hold_needs_a_reason(registry: Registry) -> None:
    opened(registry)
    with pytest.raises(ValueError, match="reason"):
        registry.cycles.hold(ID, " ", now=NOW, who="ana")


def test_a_final_cycle_is_delivered_then_settled_and_nothing_else(registry: Registry) -> None:
    approve(registry, ID, [])
    registry.documents.finalise(ID, [], freeze, now=NOW, who="carla")
    with pytest.raises(StateError, match="is final and cannot become rated"):
        registry.cycles.record_run(ID, {}, now=NOW, who="ana")
    registry.cycles.mark_delivered(ID, now=NOW, who="ana")
    settled = registry.cycles.mark_settled(ID, now=NOW, who="ana")
    assert settled.state is CycleState.SETTLED
    with pytest.raises(StateError, match="it can become nothing else"):
        registry.cycles.mark_delivered(ID, now=NOW, who="ana")


def test_cycles_are_listed_by_month_and_partner(registry: Registry) -> None:
    for cycle_id, partner, month in (
        ("P14/2026-03", "P14", "2026-03"),
        ("P03/2026-03", "P03", "2026-03"),
        ("P14/2026-02", "P14", "2026-02"),
    ):
        registry.cycles.open_cycle(
            cycle_id, partner, month_period(month), "monthly", now=NOW, who="ana"
        )
    assert [one.id for one in registry.cycles.list()] == [
        "P14/2026-02",
        "P03/2026-03",
        "P14/2026-03",
    ]
    assert [one.id for one in registry.cycles.list("2026-03", "P14")] == ["P14/2026-03"]
    with pytest.raises(NotFound, match="no cycle P99"):
        registry.cycles.get("P99")


def test_no_sequence_of_steps_leads_past_a_second_person(tmp_path: Path) -> None:
    """Walk at random, and hold what the registry says against a model of the states."""
    with Registry.open(f"sqlite:///{tmp_path / 'registry.db'}") as registry:
        registry.versions.load_reference(REFERENCE, {}, now=NOW, who="ana")
        walks = iter(range(1_000_000))

        class Walk(RuleBasedStateMachine):
            def __init__(self) -> None:
                super().__init__()
                self.id = f"W{next(walks)}"
                self.state, self.runs, self.makers = "open", 0, set[str]()
                registry.cycles.open_cycle(self.id, "P14", MARCH, "monthly", now=NOW, who="x")

            def expect(self, allowed: bool, to: str, step: Callable[[], object]) -> bool:
                if not allowed:
                    with pytest.raises(StateError):
                        step()
                    return False
                step()
                self.state = to
                return True

            @rule(who=st.sampled_from(["ana", "bruno"]))
            def run(self, who: str) -> None:
                allowed = self.state in {"open", "rated", "validated", "blocked", "draft"}
                if self.expect(
                    allowed,
                    "rated",
                    lambda: registry.cycles.record_run(self.id, {}, now=NOW, who=who),
                ):
                    self.runs, self.makers = self.runs + 1, {who}

            @rule(findings=st.lists(st.sampled_from([WARNING, BLOCKING]), max_size=2))
            def validate(self, findings: list[Finding]) -> None:
                self.expect(
                    self.state == "rated",
                    "blocked" if BLOCKING in findings else "validated",
                    lambda: registry.cycles.record_validation(self.id, findings, now=NOW, who="x"),
                )

            @rule(who=st.sampled_from(["ana", "bruno"]))
            def make_drafts(self, who: str) -> None:
                documents = [draft(f"{self.id}/invoice", series=self.id)]
                if self.expect(
                    self.state == "validated",
                    "draft",
                    lambda: registry.documents.record_drafts(self.id, documents, now=NOW, who=who),
                ):
                    self.makers = self.makers | {who}

            @rule(who=st.sampled_from(["ana", "bruno", "carla"]))
            def approve(self, who: str) -> None:
                self.expect(
                    self.state == "draft" and who not in self.makers,
                    "approved",
                    lambda: registry.cycles.approve(self.id, self.runs, now=NOW, who=who),
                )

            @rule()
            def withdraw(self) -> None:
                self.expect(
                    self.state == "approved",
                    "draft",
                    lambda: registry.cycles.withdraw_approval(self.id, "", now=NOW, who="x"),
                )

            @rule()
            def finalise(self) -> None:
                documents = registry.documents.drafts(self.id, self.runs)
                again = self.state in {"final", "delivered"}
                self.expect(
                    self.state == "approved" or again,
                    self.state if again else "final",
                    lambda: registry.documents.finalise(
                        self.id, documents, freeze, now=NOW, who="x"
                    ),
                )

            @rule()
            def deliver(self) -> None:
                self.expect(
                    self.state == "final",
                    "delivered",
                    lambda: registry.cycles.mark_delivered(self.id, now=NOW, who="x"),
                )

            @invariant()
            def the_registry_agrees(self) -> None:
                cycle = registry.cycles.get(self.id)
                assert (cycle.state, cycle.runs) == (self.state, self.runs)
                numbered = registry.documents.of_cycle(self.id)
                assert [one.number for one in numbered] == (
                    [1] if self.state in {"final", "delivered"} else []
                )

        run_state_machine_as_test(
            Walk, settings=settings(max_examples=12, stateful_step_count=25, deadline=None)
        )
        assert registry.audit.verify() is None
