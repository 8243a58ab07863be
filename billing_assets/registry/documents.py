"""Documents: drafts without numbers, and final ones with gapless numbers that never change.

A number is given in the same transaction that stores the document and closes its cycle, so a
run that fails or is killed burns none. What stands in a document, and how it looks, is the
invoicing room's concern.
Rules: catalogue 4.2 (trial runs, gapless numbering at finalisation only).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, insert, select, update

from billing_assets.core.errors import BillingError, NotFound, StateError
from billing_assets.registry import audit, cycles
from billing_assets.registry.cycles import FINALISED, USAGE_VERSION, Cycle
from billing_assets.registry.database import Database
from billing_assets.registry.schema import (
    CycleState,
    DocumentKind,
    cycle,
    document,
    draft,
    number_series,
    reference_version,
)

NUMBER_FORMAT = "{series}-{year}-{number:06d}"
"""How a number is written unless the issuing entity says otherwise."""


@dataclass(frozen=True)
class StoredFile:
    """One rendering of a document: its content's hash, its name for people, its size."""

    sha256: str
    name: str
    bytes: int


@dataclass(frozen=True)
class Frozen:
    """A document as it is issued: its canonical JSON's hash and its files by format."""

    canonical_sha256: str
    files: Mapping[str, StoredFile]


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A document without a number.

    `id` is unique over all documents and stays the same at every run ('P14/2026-03/invoice');
    `entity` is the legal entity that issues it, `number_format` how its number will be written;
    `pins` are the versions of the lake's tables it was made from, `engines` the versions of
    the programs that rendered it.
    """

    id: str
    kind: DocumentKind
    partner: str
    entity: str
    series: str
    issue_date: date
    due_date: date
    currency: str
    net: Decimal
    tax: Decimal
    gross: Decimal
    canonical_sha256: str
    pins: Mapping[str, int]
    reference_hash: str
    template_hash: str
    engines: Mapping[str, str]
    files: Mapping[str, StoredFile]
    number_format: str = NUMBER_FORMAT


@dataclass(frozen=True, kw_only=True)
class Document(Draft):
    """A final document; `year` is the issue date's, `number` counts within its series."""

    cycle: str
    year: int
    number: int
    number_text: str
    finalised_at: datetime
    finalised_by: str


@dataclass(frozen=True)
class Gap:
    """Numbers that a series should hold and does not."""

    entity: str
    series: str
    year: int
    missing: tuple[int, ...]


class Documents:
    """Stores drafts, finalises documents, and proves their numbers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record_drafts(
        self, cycle_id: str, drafts: Sequence[Draft], *, now: datetime, who: str
    ) -> Cycle:
        """Store the drafts of a cycle's current run, which puts the cycle in draft.

        Drafts of former runs stay, to compare with. Raises `StateError` unless the cycle is
        validated, and `BillingError` for a draft that could not be finalised as it is.
        """
        with self._database.writing() as connection:
            current = cycles.get(connection, cycle_id)
            cycles.require(current, CycleState.DRAFT)
            if current.state is not CycleState.VALIDATED:
                raise StateError(
                    f"cycle {cycle_id} is {current.state}: its run has drafts",
                    hint="withdraw the approval and run it again",
                )
            _check_drafts(connection, cycle_id, drafts)
            for position, unnumbered in enumerate(drafts):
                connection.execute(
                    insert(draft).values(
                        cycle=cycle_id, run=current.runs, position=position, **vars(unnumbered)
                    )
                )
            return cycles.step(
                connection, current, CycleState.DRAFT, now=now, who=who, drafted_by=who
            )

    def finalise(
        self,
        cycle_id: str,
        documents: Sequence[Draft],
        freeze: Callable[[Draft, str], Frozen],
        *,
        guard: Callable[[Cycle, Sequence[Cycle]], None] | None = None,
        now: datetime,
        who: str,
    ) -> list[Document]:
        """Number and store a cycle's documents and make the cycle final: all of it or nothing.

        `documents` are the drafts that were approved, in the order in which they get their
        numbers; their dates, template and engines may be new, their content may not.
        `freeze` is called for each with its number text and stores the canonical JSON and
        the files that bear it; it must not write to the registry, and all other writers wait
        for it. When it raises or the process dies, no number is used up. `guard` is called before
        with the cycle and all cycles of its partner, and raises when what was approved does not
        hold any more. A cycle that is final already gives its documents back, and nothing changes.

        Raises `StateError` when the cycle is not approved, is on hold, or when `documents`
        are not what was approved; `BillingError` when a number text is in use already.
        """
        with self._database.writing() as connection:
            current = cycles.get(connection, cycle_id)
            if current.state in FINALISED:
                return _documents(connection, document.c.cycle == cycle_id)
            cycles.require(current, CycleState.FINAL)
            cycles.require_not_held(current)
            if guard is not None:
                guard(current, cycles.of_partner(connection, current.partner))
            _require_as_approved(cycle_id, _drafts(connection, cycle_id, current.runs), documents)
            for unnumbered in documents:
                _issue(connection, cycle_id, unnumbered, freeze, now=now, who=who)
            cycles.step(connection, current, CycleState.FINAL, now=now, who=who)
            return _documents(connection, document.c.cycle == cycle_id)

    def drafts(self, cycle_id: str, run: int) -> list[Draft]:
        """Return the drafts that a run of a cycle made, in their order."""
        with self._database.reading() as connection:
            return _drafts(connection, cycle_id, run)

    def get(self, document_id: str) -> Document:
        """Return a final document; raises `NotFound`."""
        with self._database.reading() as connection:
            found = _documents(connection, document.c.id == document_id)
        if not found:
            raise NotFound(f"there is no final document {document_id}")
        return found[0]

    def with_number(self, number_text: str) -> list[Document]:
        """Return the documents that bear a number; two legal entities may use the same."""
        with self._database.reading() as connection:
            return _documents(connection, document.c.number_text == number_text)

    def of_cycle(self, cycle_id: str) -> list[Document]:
        """Return a cycle's final documents in the order of their numbers."""
        with self._database.reading() as connection:
            return _documents(connection, document.c.cycle == cycle_id)

    def pins(self) -> dict[str, set[int]]:
        """Return the versions of each lake table that a document, or a draft, stands on.

        The usage of a final cycle is among them even when it made no document: what comes late is
        held against it.
        """
        newest = (cycle.c.id == draft.c.cycle) & (cycle.c.runs == draft.c.run)
        pinned: dict[str, set[int]] = {}
        with self._database.reading() as connection:
            for query in (select(document.c.pins), select(draft.c.pins).join(cycle, newest)):
                for pins in connection.scalars(query):
                    for table, version in pins.items():
                        pinned.setdefault(table, set()).add(version)
            for totals in connection.scalars(
                select(cycle.c.totals).where(cycle.c.state.in_(FINALISED))
            ):
                if USAGE_VERSION in totals:
                    pinned.setdefault("usage_daily", set()).add(int(totals[USAGE_VERSION]))
        return pinned

    def last_numbers(self) -> dict[tuple[str, str, int], int]:
        """Return the last number given by entity, series and year."""
        with self._database.reading() as connection:
            rows = connection.execute(select(number_series)).mappings()
            return {(r["entity"], r["series"], r["year"]): r["last_number"] for r in rows}

    def check_gaps(self) -> list[Gap]:
        """Return every series in which a number up to the last one given has no document."""
        numbers = select(document.c.number, number_series).join_from(
            number_series, document, isouter=True
        )
        with self._database.reading() as connection:
            rows = connection.execute(numbers).mappings().all()
        held: dict[tuple[str, str, int, int], set[int]] = {}
        for row in rows:
            series = (row["entity"], row["series"], row["year"], row["last_number"])
            held.setdefault(series, set()).add(row["number"])
        return [
            Gap(entity, series, year, tuple(missing))
            for (entity, series, year, last), present in sorted(held.items())
            if (missing := [n for n in range(1, last + 1) if n not in present])
        ]


def _check_drafts(connection: Connection, cycle_id: str, drafts: Sequence[Draft]) -> None:
    """Refuse now what the database would refuse when the documents are to be issued."""
    ids = [unnumbered.id for unnumbered in drafts]
    if len(set(ids)) < len(ids):
        raise BillingError(f"two documents of cycle {cycle_id} have the same id")
    for unnumbered in drafts:
        if unnumbered.net + unnumbered.tax != unnumbered.gross:
            raise BillingError(
                f"document {unnumbered.id}: net {unnumbered.net} and tax {unnumbered.tax} "
                f"are not gross {unnumbered.gross}"
            )
        try:
            distinct = written_number(unnumbered, 2000, 1) != written_number(unnumbered, 2000, 2)
        except (LookupError, ValueError, AttributeError):
            distinct = False
        if not distinct:
            raise BillingError(
                f"document {unnumbered.id}: {unnumbered.number_format!r} is no number format",
                hint=f"write it like {NUMBER_FORMAT}",
            )
        reference = select(reference_version.c.hash).where(
            reference_version.c.hash == unnumbered.reference_hash
        )
        if connection.scalar(reference) is None:
            raise NotFound(
                f"document {unnumbered.id}: reference version {unnumbered.reference_hash} "
                "was never loaded"
            )
        elsewhere = connection.scalar(
            select(document.c.cycle).where(document.c.id == unnumbered.id)
        )
        if elsewhere is not None:
            raise BillingError(f"document {unnumbered.id} was issued in cycle {elsewhere}")


def _require_as_approved(
    cycle_id: str, approved: Sequence[Draft], documents: Sequence[Draft]
) -> None:
    """Compare what says how much is owed for what; dates and looks may differ."""

    def content(drafts: Sequence[Draft]) -> dict[str, tuple[object, ...]]:
        return {
            one.id: (
                one.kind,
                one.partner,
                one.entity,
                one.series,
                one.number_format,
                one.currency,
                one.net,
                one.tax,
                one.gross,
                one.reference_hash,
                dict(one.pins),
            )
            for one in drafts
        }

    asked, expected = content(documents), content(approved)
    differing = [name for name in sorted(asked | expected) if asked.get(name) != expected.get(name)]
    if differing or len(documents) != len(approved):
        raise StateError(
            f"cycle {cycle_id}: what is to be issued is not what was approved "
            f"({', '.join(differing) or 'a document twice'})",
            hint="run, draft and approve the cycle again",
        )


def _issue(
    connection: Connection,
    cycle_id: str,
    unnumbered: Draft,
    freeze: Callable[[Draft, str], Frozen],
    *,
    now: datetime,
    who: str,
) -> None:
    number = _next_number(connection, unnumbered)
    number_text = written_number(unnumbered, unnumbered.issue_date.year, number)
    bearer = connection.scalar(
        select(document.c.id).where(
            document.c.entity == unnumbered.entity, document.c.number_text == number_text
        )
    )
    if bearer is not None:
        raise BillingError(
            f"{unnumbered.entity} has given number {number_text} to {bearer} already",
            hint="put the series and the year into the number format",
        )
    frozen = freeze(unnumbered, number_text)
    issued = Document(
        **{
            **vars(unnumbered),
            "canonical_sha256": frozen.canonical_sha256,
            "files": frozen.files,
        },
        cycle=cycle_id,
        year=unnumbered.issue_date.year,
        number=number,
        number_text=number_text,
        finalised_at=now,
        finalised_by=who,
    )
    connection.execute(insert(document).values(**vars(issued)))
    audit.append(
        connection,
        "document.finalise",
        f"document:{issued.id}",
        now=now,
        who=who,
        after=issued,
    )


def _next_number(connection: Connection, unnumbered: Draft) -> int:
    """Count a series on by one; nobody else can, as the caller is the only writer."""
    names = {
        "entity": unnumbered.entity,
        "series": unnumbered.series,
        "year": unnumbered.issue_date.year,
    }
    this_series = and_(*(number_series.c[name] == value for name, value in names.items()))
    last = connection.scalar(select(number_series.c.last_number).where(this_series))
    if last is None:
        connection.execute(insert(number_series).values(**names, last_number=1))
        return 1
    connection.execute(update(number_series).where(this_series).values(last_number=last + 1))
    return last + 1


def written_number(unnumbered: Draft, year: int, number: int) -> str:
    """How a draft's number of a year is written."""
    return unnumbered.number_format.format(series=unnumbered.series, year=year, number=number)


def _drafts(connection: Connection, cycle_id: str, run: int) -> list[Draft]:
    query = (
        select(*(draft.c[one.name] for one in fields(Draft)))
        .where(draft.c.cycle == cycle_id, draft.c.run == run)
        .order_by(draft.c.position)
    )
    return [Draft(**_facts(row)) for row in connection.execute(query).mappings()]


def _documents(connection: Connection, condition: ColumnElement[bool]) -> list[Document]:
    query = (
        select(document)
        .where(condition)
        .order_by(document.c.entity, document.c.series, document.c.year, document.c.number)
    )
    return [Document(**_facts(row)) for row in connection.execute(query).mappings()]


def _facts(row: RowMapping) -> dict[str, Any]:
    files = {name: StoredFile(**stored) for name, stored in row["files"].items()}
    return {**row, "files": files}
