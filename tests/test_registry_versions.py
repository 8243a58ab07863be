"""Versions of reference data and the plans compiled from them."""

from datetime import date, timedelta

import pytest

from billing_assets.core.errors import NotFound, Problem, StateError
from billing_assets.registry import Registry
from tests.registry_support import NOW

pytest_plugins = ("tests.registry_fixtures",)

OLD, NEW, PLAN = "1" * 64, "2" * 64, "3" * 64
PROBLEMS = [Problem("rate is not a decimal", file="sheets/p03.csv", row=7, field="rate", value="x")]
DAY = date(2026, 3, 29)


def test_versions_are_numbered_in_the_order_in_which_they_came(registry: Registry) -> None:
    assert registry.versions.current_reference() is None
    registry.versions.load_reference(OLD, {"partners.yaml": OLD}, now=NOW, who="ana")
    loaded = registry.versions.load_reference(
        NEW, {"partners.yaml": NEW}, PROBLEMS, now=NOW + timedelta(hours=1), who="bruno"
    )
    assert (loaded.number, loaded.current, loaded.who) == (2, True, "bruno")
    assert loaded.problems == tuple(PROBLEMS)
    assert registry.versions.current_reference() == loaded
    assert [version.current for version in registry.versions.references()] == [False, True]
    assert registry.versions.reference(OLD).manifest == {"partners.yaml": OLD}


def test_loading_the_current_version_again_changes_nothing(registry: Registry) -> None:
    first = registry.versions.load_reference(OLD, {}, PROBLEMS, now=NOW, who="ana")
    later = NOW + timedelta(days=1)
    again = registry.versions.load_reference(OLD, {}, PROBLEMS, now=later, who="bruno")
    assert again == first
    assert len(registry.audit.entries()) == 1


def test_going_back_to_an_older_version_makes_it_current_under_its_own_number(
    registry: Registry,
) -> None:
    for version in (OLD, NEW, OLD):
        registry.versions.load_reference(version, {}, now=NOW, who="ana")
    current = registry.versions.current_reference()
    assert current is not None
    assert (current.hash, current.number) == (OLD, 1)
    assert len(registry.audit.entries()) == 3


def test_a_plan_is_logged_once_for_a_day_and_a_reference_version(registry: Registry) -> None:
    registry.versions.load_reference(OLD, {}, now=NOW, who="ana")
    registry.versions.load_reference(NEW, {}, now=NOW, who="ana")
    for reference, hours in ((OLD, 0), (OLD, 1), (NEW, 2)):
        registry.versions.record_plan(
            PLAN, DAY, reference, {"rates": 10}, now=NOW + timedelta(hours=hours), who="ana"
        )
    plans = registry.versions.plans_of_day(DAY)
    assert [(plan.hash, plan.reference_hash) for plan in plans] == [(PLAN, OLD), (PLAN, NEW)]
    assert registry.versions.plan(PLAN) == plans[0]
    assert plans[0].compiled_at == NOW
    assert registry.versions.plans_of_day(date(2026, 3, 30)) == []


def test_a_plan_of_an_unknown_reference_version_is_refused(registry: Registry) -> None:
    with pytest.raises(NotFound, match="never loaded"):
        registry.versions.record_plan(PLAN, DAY, OLD, {}, now=NOW, who="ana")
    with pytest.raises(NotFound, match="never loaded"):
        registry.versions.reference(OLD)
    with pytest.raises(NotFound, match="no rating plan"):
        registry.versions.plan(PLAN)


def test_what_is_loaded_over_a_version_waits_for_a_second_person(registry: Registry) -> None:
    versions = registry.versions
    first = versions.propose_reference(OLD, {}, now=NOW, who="ana")
    assert (first.in_force_from, first.approved_by) == (NOW, None)
    later = NOW + timedelta(days=1)
    load = versions.propose_reference(NEW, {}, PROBLEMS, now=later, who="bruno")
    assert (load.version, load.in_force_from) == (2, None)
    assert versions.pending_reference() == load
    assert [v.current for v in versions.references()] == [True, False]
    for who in ("bruno", " BRUNO", "ana"):
        # ana's first load was never signed: it would be approved with the second
        with pytest.raises(StateError, match="cannot approve"):
            versions.approve_reference(2, now=later, who=who)
    with pytest.raises(StateError, match="version 2 waits"):
        versions.approve_reference(1, now=later, who="carla")
    approved = versions.approve_reference(2, now=later + timedelta(hours=1), who="carla")
    assert (approved.approved_by, approved.in_force_from) == ("carla", later + timedelta(hours=1))
    assert [v.current for v in versions.references()] == [False, True]
    assert versions.pending_reference() is None
    with pytest.raises(StateError, match="no reference version waits"):
        versions.approve_reference(2, now=later, who="dora")


def test_whoever_loaded_a_part_of_what_waits_cannot_approve_it(registry: Registry) -> None:
    versions = registry.versions
    versions.propose_reference(OLD, {}, now=NOW, who="ana")
    versions.approve_reference(1, now=NOW, who="bruno")
    versions.propose_reference(NEW, {}, now=NOW, who="bruno")
    versions.propose_reference(PLAN, {}, now=NOW, who="carla")
    with pytest.raises(StateError, match="bruno loaded version 3 or a part of it"):
        versions.approve_reference(3, now=NOW, who="bruno")
    versions.approve_reference(3, now=NOW, who="ana")


def test_loading_what_is_in_force_ends_the_wait_of_what_came_between(registry: Registry) -> None:
    versions = registry.versions
    versions.propose_reference(OLD, {}, now=NOW, who="ana")
    versions.propose_reference(NEW, {}, now=NOW, who="ana")
    assert versions.propose_reference(NEW, {}, now=NOW, who="bruno").loaded_by == "ana"
    assert versions.propose_reference(OLD, {}, now=NOW, who="ana").in_force_from is not None
    assert versions.pending_reference() is None
    assert [load.version for load in versions.reference_loads()] == [1, 2, 1]


def test_what_was_known_at_any_moment_is_told_by_approvals_not_by_loads(
    registry: Registry,
) -> None:
    versions = registry.versions
    day = timedelta(days=1)
    versions.propose_reference(OLD, {}, now=NOW, who="ana")
    versions.propose_reference(NEW, {}, now=NOW + day, who="ana")
    versions.approve_reference(2, now=NOW + 3 * day, who="bruno")
    versions.propose_reference(OLD, {}, now=NOW + 4 * day, who="ana")
    versions.approve_reference(1, now=NOW + 5 * day, who="bruno")
    known = [versions.reference_known_at(NOW + n * day).number for n in range(6)]
    assert known == [1, 1, 1, 2, 2, 1]
    with pytest.raises(NotFound, match="in force"):
        versions.reference_known_at(NOW - day)
