"""Drafts, gapless numbers and final documents, also when processes race or die."""

import random
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, insert, select

from billing_assets.core.errors import BillingError, NotFound, StateError
from billing_assets.core.periods import month_period
from billing_assets.registry import Registry, schema
from billing_assets.registry.documents import Draft, Frozen, Gap
from billing_assets.registry.schema import CycleState, DocumentKind
from tests.registry_support import NOW, REFERENCE, approve, draft, execute, freeze, without_guards

pytest_plugins = ("tests.registry_fixtures",)

ID = "P14/2026-03"
PROJECT = Path(__file__).parents[1]


def finalise(registry: Registry, cycle_id: str, drafts: list[Draft]) -> list[str]:
    approve(registry, cycle_id, drafts)
    issued = registry.documents.finalise(cycle_id, drafts, freeze, now=NOW, who="carla")
    return [one.number_text for one in issued]


def validated(registry: Registry) -> None:
    registry.versions.load_reference(REFERENCE, {}, now=NOW, who="ana")
    registry.cycles.open_cycle(ID, "P14", month_period("2026-03"), "monthly", now=NOW, who="ana")
    registry.cycles.record_run(ID, {}, now=NOW, who="ana")
    registry.cycles.record_validation(ID, [], now=NOW, who="ana")


def test_a_final_document_is_its_draft_with_a_number_and_what_was_frozen(
    registry: Registry,
) -> None:
    unnumbered = draft("P14/2026-03/invoice")
    assert finalise(registry, ID, [unnumbered]) == ["FL-2026-000001"]
    issued = registry.documents.get("P14/2026-03/invoice")
    frozen = freeze(unnumbered, "FL-2026-000001")
    assert (issued.canonical_sha256, issued.files) == (frozen.canonical_sha256, frozen.files)
    assert (issued.net, issued.tax, issued.gross) == (
        Decimal("100.00"),
        Decimal("23.00"),
        Decimal("123.00"),
    )
    assert str(issued.net) == "100.00"
    assert issued.kind is DocumentKind.INVOICE
    assert (issued.year, issued.number, issued.cycle) == (2026, 1, ID)
    assert (issued.finalised_at, issued.finalised_by) == (NOW, "carla")
    assert (issued.pins, issued.engines) == (unnumbered.pins, unnumbered.engines)
    assert registry.cycles.get(ID).state is CycleState.FINAL
    assert registry.documents.of_cycle(ID) == [issued]
    assert registry.documents.with_number("FL-2026-000001") == [issued]
    with pytest.raises(NotFound):
        registry.documents.get("P14/2026-04/invoice")


def test_numbers_count_by_entity_series_and_year_of_issue(registry: Registry) -> None:
    new_year, old_year = date(2027, 1, 1), date(2026, 12, 31)
    numbers = finalise(
        registry,
        ID,
        [
            draft("a", issue_date=old_year),
            draft("b", issue_date=new_year),
            draft("c", issue_date=old_year),
            draft("d", series="SB", issue_date=old_year),
            replace(draft("e", issue_date=old_year), entity="farolink-uk"),
        ],
    )
    assert sorted(numbers) == [
        "FL-2026-000001",
        "FL-2026-000001",
        "FL-2026-000002",
        "FL-2027-000001",
        "SB-2026-000001",
    ]
    assert [registry.documents.get(name).number for name in "abcde"] == [1, 1, 2, 1, 1]


def test_finalising_a_final_cycle_again_gives_the_same_documents_and_changes_nothing(
    registry: Registry,
) -> None:
    finalise(registry, ID, [draft("P14/2026-03/invoice")])
    before, lines = registry.documents.of_cycle(ID), registry.audit.entries()

    def never(_unnumbered: Draft, _number_text: str) -> Frozen:
        raise AssertionError("a final document was frozen again")

    again = registry.documents.finalise(ID, [], never, now=NOW, who="dora")
    assert again == before
    assert registry.audit.entries() == lines


def test_a_document_that_cannot_be_frozen_burns_no_number_and_leaves_the_cycle_approved(
    registry: Registry,
) -> None:
    drafts = [draft("one"), draft("two")]
    approve(registry, ID, drafts)
    lines = registry.audit.entries()

    def fails_at_two(unnumbered: Draft, number_text: str) -> Frozen:
        if unnumbered.id == "two":
            raise BillingError("no font for the letter")
        return freeze(unnumbered, number_text)

    with pytest.raises(BillingError, match="no font"):
        registry.documents.finalise(ID, drafts, fails_at_two, now=NOW, who="carla")
    assert registry.cycles.get(ID).state is CycleState.APPROVED
    assert registry.documents.of_cycle(ID) == []
    assert registry.audit.entries() == lines
    issued = registry.documents.finalise(ID, drafts, freeze, now=NOW, who="carla")
    assert [one.number for one in issued] == [1, 2]


def test_freezing_may_read_the_registry_but_not_write_to_it(registry: Registry) -> None:
    drafts = [draft("one")]
    approve(registry, ID, drafts)

    def reads(unnumbered: Draft, number_text: str) -> Frozen:
        assert registry.cycles.get(ID).state is CycleState.APPROVED
        return freeze(unnumbered, number_text)

    def writes(unnumbered: Draft, number_text: str) -> Frozen:
        registry.cycles.hold(ID, "from inside", now=NOW, who="eve")
        return freeze(unnumbered, number_text)

    with pytest.raises(RuntimeError, match="inside another"):
        registry.documents.finalise(ID, drafts, writes, now=NOW, who="carla")
    assert len(registry.documents.finalise(ID, drafts, reads, now=NOW, who="carla")) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"net": Decimal("90.00"), "gross": Decimal("113.00")},
        {"currency": "USD"},
        {"series": "XX"},
        {"partner": "P15"},
        {"pins": {"charge": 8, "rated_leg": 12}},
        {"id": "another"},
    ],
)
def test_what_was_not_approved_is_not_issued(
    registry: Registry, changed: dict[str, object]
) -> None:
    approve(registry, ID, [draft("P14/2026-03/invoice")])
    other = replace(draft("P14/2026-03/invoice"), **changed)
    for documents in ([other], [], [draft("P14/2026-03/invoice")] * 2):
        with pytest.raises(StateError, match="not what was approved"):
            registry.documents.finalise(ID, documents, freeze, now=NOW, who="carla")
    assert registry.cycles.get(ID).state is CycleState.APPROVED


def test_the_day_of_issue_may_be_later_than_in_the_draft(registry: Registry) -> None:
    approve(registry, ID, [draft("P14/2026-03/invoice")])
    today = replace(
        draft("P14/2026-03/invoice"), issue_date=date(2026, 4, 7), due_date=date(2026, 5, 7)
    )
    (issued,) = registry.documents.finalise(ID, [today], freeze, now=NOW, who="carla")
    assert (issued.issue_date, issued.due_date) == (date(2026, 4, 7), date(2026, 5, 7))


def test_drafts_of_every_run_are_kept_and_have_no_number(registry: Registry) -> None:
    validated(registry)
    first, second = [draft("b"), draft("a")], [draft("a")]
    assert registry.documents.record_drafts(ID, first, now=NOW, who="ana").state is CycleState.DRAFT
    registry.cycles.record_run(ID, {}, now=NOW, who="ana")
    registry.cycles.record_validation(ID, [], now=NOW, who="ana")
    registry.documents.record_drafts(ID, second, now=NOW, who="ana")
    assert registry.documents.drafts(ID, 1) == first
    assert registry.documents.drafts(ID, 2) == second
    assert registry.documents.drafts(ID, 3) == []
    assert registry.documents.of_cycle(ID) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"gross": Decimal("123.01")}, "net 100.00 and tax 23.00 are not gross 123.01"),
        ({"number_format": "FL-{year}"}, "is no number format"),
        ({"number_format": "{nothing}{number}"}, "is no number format"),
        ({"number_format": "{number"}, "is no number format"),
        ({"reference_hash": "9" * 64}, "was never loaded"),
    ],
)
def test_a_draft_that_could_never_be_issued_is_refused(
    registry: Registry, changed: dict[str, object], said: str
) -> None:
    validated(registry)
    with pytest.raises(BillingError, match=said):
        registry.documents.record_drafts(ID, [replace(draft("x"), **changed)], now=NOW, who="ana")
    assert registry.cycles.get(ID).state is CycleState.VALIDATED


def test_an_id_names_one_document_only(registry: Registry) -> None:
    finalise(registry, "P03/2026-03", [draft("x")])
    validated(registry)
    with pytest.raises(BillingError, match="was issued in cycle P03/2026-03"):
        registry.documents.record_drafts(ID, [draft("x")], now=NOW, who="ana")
    with pytest.raises(BillingError, match="have the same id"):
        registry.documents.record_drafts(ID, [draft("y"), draft("y")], now=NOW, who="ana")


def test_a_number_text_is_never_given_twice_by_one_entity(registry: Registry) -> None:
    bare = "{number:04d}"
    first = replace(draft("one"), number_format=bare)
    second = replace(draft("two", series="SB"), number_format=bare)
    assert finalise(registry, "P03/2026-03", [first]) == ["0001"]
    with pytest.raises(BillingError, match="0001 to one already"):
        finalise(registry, ID, [second])


def test_pins_name_every_version_that_a_document_or_a_draft_stands_on(
    registry: Registry,
) -> None:
    finalise(registry, "P03/2026-03", [draft("one")])
    validated(registry)
    registry.documents.record_drafts(
        ID, [replace(draft("two"), pins={"charge": 5})], now=NOW, who="ana"
    )
    assert registry.documents.pins() == {"charge": {5, 7}, "rated_leg": {12}}
    registry.cycles.record_run(ID, {}, now=NOW, who="ana")
    assert registry.documents.pins() == {"charge": {7}, "rated_leg": {12}}


def test_a_document_removed_behind_the_registry_is_a_gap(registry: Registry, url: str) -> None:
    finalise(registry, ID, [draft(name) for name in "abcd"])
    finalise(registry, "P03/2026-03", [draft("e", series="SB")])
    assert registry.documents.check_gaps() == []
    execute(url, *without_guards(url), "DELETE FROM document WHERE number IN (2, 4)")
    assert registry.documents.check_gaps() == [Gap("farolink-pt", "FL", 2026, (2, 4))]
    execute(url, "DELETE FROM document")
    assert registry.documents.check_gaps() == [
        Gap("farolink-pt", "FL", 2026, (1, 2, 3, 4)),
        Gap("farolink-pt", "SB", 2026, (1,)),
    ]


def test_whatever_fails_in_between_numbers_have_no_gap(tmp_path: Path) -> None:
    with Registry.open(f"sqlite:///{tmp_path / 'registry.db'}") as registry:
        cycles = iter(range(1_000_000))

        @settings(max_examples=15, deadline=None)
        @given(
            st.lists(st.sampled_from(["FL", "SB"]), min_size=1, max_size=4),
            st.integers(0, 6),
        )
        def check(series: list[str], fails_at: int) -> None:
            cycle_id = f"C{next(cycles)}"
            drafts = [draft(f"{cycle_id}/{n}", series=name) for n, name in enumerate(series)]
            approve(registry, cycle_id, drafts)
            seen: list[str] = []

            def maybe(unnumbered: Draft, number_text: str) -> Frozen:
                if len(seen) == fails_at:
                    raise OSError("disk full")
                seen.append(number_text)
                return freeze(unnumbered, number_text)

            if fails_at < len(drafts):
                with pytest.raises(OSError, match="disk full"):
                    registry.documents.finalise(cycle_id, drafts, maybe, now=NOW, who="carla")
            else:
                registry.documents.finalise(cycle_id, drafts, maybe, now=NOW, who="carla")
            assert registry.documents.check_gaps() == []
            given_numbers = {one.number_text for one in registry.documents.of_cycle(cycle_id)}
            assert given_numbers == (set() if fails_at < len(drafts) else set(seen))

        check()


def worker(url: str, first: int, end: int, *die_at: int) -> subprocess.Popen[bytes]:
    arguments = [str(number) for number in (first, end, *die_at)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.registry_worker", url, *arguments],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
    )


def approve_many(registry: Registry, url: str, count: int) -> None:
    """Approve cycle C0 with one invoice, and copy its rows for C1, C2, ..."""
    approve(registry, "C0", [draft("C0/invoice")])
    engine = create_engine(url)
    with engine.begin() as connection:
        (cycle,) = connection.execute(select(schema.cycle)).mappings()
        (unnumbered,) = connection.execute(select(schema.draft)).mappings()
        for n in range(1, count):
            connection.execute(insert(schema.cycle).values({**cycle, "id": f"C{n}"}))
            copy = {**unnumbered, "cycle": f"C{n}", "id": f"C{n}/invoice"}
            connection.execute(insert(schema.draft).values(copy))
    engine.dispose()


def assert_gapless(registry: Registry, count: int) -> None:
    issued = [one for n in range(count) for one in registry.documents.of_cycle(f"C{n}")]
    assert sorted(one.number for one in issued) == list(range(1, count + 1))
    assert {one.files["pdf"].name for one in issued} == {
        f"FL-2026-{n:06d}.pdf" for n in range(1, count + 1)
    }
    assert registry.documents.check_gaps() == []
    assert registry.audit.verify() is None


def test_a_process_killed_while_its_documents_are_frozen_burns_no_number(
    registry: Registry, url: str
) -> None:
    approve_many(registry, url, 4)
    dying = worker(url, 0, 4, 2)
    out, _ = dying.communicate(timeout=60)
    assert dying.returncode == -9
    assert out.decode().split() == ["C0", "FL-2026-000001", "C1", "FL-2026-000002"]
    assert registry.cycles.get("C2").state is CycleState.APPROVED
    assert registry.documents.check_gaps() == []
    assert worker(url, 0, 4).wait(timeout=60) == 0
    assert_gapless(registry, 4)


def test_four_processes_that_finalise_at_once_share_and_skip_no_number(
    registry: Registry, url: str
) -> None:
    approve_many(registry, url, 100)
    processes = [worker(url, first, first + 25) for first in range(0, 100, 25)]
    told = [process.communicate(timeout=120)[0].decode().splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    assert [len(lines) for lines in told] == [25, 25, 25, 25]
    assert_gapless(registry, 100)


def test_processes_killed_at_random_moments_leave_no_gap_and_no_double(
    registry: Registry, url: str
) -> None:
    approve_many(registry, url, 100)
    dice = random.Random(20260401)
    ranges = {first: worker(url, first, first + 25) for first in range(0, 100, 25)}
    killed = 0
    while running := [first for first, process in ranges.items() if process.poll() is None]:
        time.sleep(dice.uniform(0.1, 0.4))
        if killed < 6:
            first = dice.choice(running)
            ranges[first].kill()
            ranges[first].communicate(timeout=60)
            killed += ranges[first].returncode == -9
            ranges[first] = worker(url, first, first + 25)
    for process in ranges.values():
        process.communicate(timeout=60)
    assert {process.returncode for process in ranges.values()} == {0}
    assert killed >= 3
    assert_gapless(registry, 100)
