"""Many cycles on all processors: drafts made side by side, final renderings made ahead.

Numbers are given one cycle after the other, because the registry has one writer. So that no other
writer waits for renderings, they are made before, with the numbers that the documents will
most likely get; each is kept under the hash of its document, and a wrong guess is rendered again.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from datetime import date, datetime
from multiprocessing import get_context

from billing_assets.charging.cycles import Cycle
from billing_assets.core.errors import BillingError
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.invoicing.finalise import rendered_as
from billing_assets.invoicing.run import CycleRun, run_cycle
from billing_assets.registry.documents import Draft, StoredFile, written_number
from billing_assets.registry.schema import CycleState

WORTH = 8
"""Cycles from which on starting processes pays."""

MOST_PROCESSES = 8

_home: list[Installation] = []
"""The installation of a worker process; empty in any other."""


def draft_cycles(
    home: Installation, cycles: Sequence[Cycle], *, issue_date: date, now: datetime, who: str
) -> dict[str, CycleRun | Exception]:
    """What a run of each cycle came to, or why it failed, by the cycle's name."""
    if len(cycles) < WORTH:
        return {cycle.cycle: _drafted(home, cycle, issue_date, now, who) for cycle in cycles}
    with _workers(home) as pool:
        tasks = {cycle.cycle: pool.submit(_draft, cycle, issue_date, now, who) for cycle in cycles}
        return {name: _outcome(task) for name, task in tasks.items()}


def render_ahead(
    home: Installation, cycle_ids: Collection[str], issue_date: date
) -> dict[str, Mapping[str, StoredFile]]:
    """The files of documents that are about to be issued in this order, by document hash.

    Nothing for a few cycles, and for a document that cannot be rendered: issuing it tells why.
    """
    if len(cycle_ids) < WORTH:
        return {}
    last = dict(home.registry.documents.last_numbers())
    tasks: list[tuple[Draft, str]] = []
    for name in cycle_ids:
        cycle = home.registry.cycles.get(name)
        if cycle.state not in (CycleState.DRAFT, CycleState.APPROVED):
            continue
        for draft in home.registry.documents.drafts(name, cycle.runs):
            series = (draft.entity, draft.series, issue_date.year)
            last[series] = last.get(series, 0) + 1
            tasks.append((draft, written_number(draft, issue_date.year, last[series])))
    with _workers(home) as pool:
        made = [pool.submit(_render, draft, issue_date, number) for draft, number in tasks]
        return dict(pair for task in made for pair in task.result())


@contextmanager
def _workers(home: Installation) -> Iterator[ProcessPoolExecutor]:
    """Processes with the same home open; spawned, as threads of the engines survive no fork."""
    with ProcessPoolExecutor(
        min(os.cpu_count() or 1, MOST_PROCESSES),
        get_context("spawn"),
        _open,
        (home.settings.model_dump_json(),),
    ) as pool:
        yield pool


def _open(settings: str) -> None:
    _home.append(Installation.open(Settings.model_validate_json(settings)))


def _draft(cycle: Cycle, issue_date: date, now: datetime, who: str) -> CycleRun | Exception:
    return _drafted(_home[0], cycle, issue_date, now, who)


def _drafted(
    home: Installation, cycle: Cycle, issue_date: date, now: datetime, who: str
) -> CycleRun | Exception:
    try:
        return run_cycle(home, home.reference, cycle, issue_date=issue_date, now=now, who=who)
    except BillingError as error:
        return BillingError(str(error))


def _render(
    draft: Draft, issue_date: date, number: str
) -> list[tuple[str, Mapping[str, StoredFile]]]:
    home = _home[0]
    try:
        return [
            rendered_as(
                draft,
                number,
                blobs=home.blobs,
                templates=home.templates,
                issue_date=issue_date,
                ledger=home.reference.ledger,
                home_currency=home.reference.carrier.currency,
            )
        ]
    except BillingError:
        return []


def _outcome(task: Future[CycleRun | Exception]) -> CycleRun | Exception:
    try:
        return task.result()
    except Exception as error:
        return error
