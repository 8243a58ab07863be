"""Requests to rate again: what, why, who, who agreed, and what each run did to each day.

A request that a person makes for themselves runs at once; one that is proposed from a change of
reference data waits until a second person decides (catalogue 4.3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from billing_assets.core.errors import NotFound, StateError
from billing_assets.registry import audit
from billing_assets.registry.database import Database
from billing_assets.registry.schema import RerateState, plain, rerate_day, rerate_request


@dataclass(frozen=True)
class Request:
    """One request; `scope` is the scope's fields, empty ones left out."""

    number: int
    scope: Mapping[str, object]
    reason: str
    state: RerateState
    made_at: datetime
    made_by: str
    decided_at: datetime | None
    decided_by: str | None
    ended_at: datetime | None


@dataclass(frozen=True)
class Day:
    """What one run of a request did to a day.

    `changes` are rows of what changed, money as decimal text; the versions are those of table
    `rated_leg` before and after: without the one after, the run has not ended, or died. `run`
    counts the runs of the request on the day, from 1.
    """

    request: int
    day: date
    run: int
    reference_hash: str
    plan: str
    version_before: int | None
    version_after: int | None
    candidates: int
    changed: int
    changes: Sequence[Mapping[str, object]]
    rated_at: datetime


class Rerates:
    """Writes and reads requests to rate again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def make(
        self,
        scope: Mapping[str, object],
        reason: str,
        *,
        proposed: bool = False,
        now: datetime,
        who: str,
    ) -> Request:
        """Record a request under the next number: running, or waiting for a decision.

        Raises `StateError` without a reason.
        """
        if not reason.strip():
            raise StateError("a re-rating needs a reason", hint="say why prices change: --reason")
        with self._database.writing() as connection:
            last = connection.execute(select(func.max(rerate_request.c.number))).scalar()
            number = (last or 0) + 1
            state = RerateState.PROPOSED if proposed else RerateState.RUNNING
            connection.execute(
                insert(rerate_request).values(
                    number=number,
                    scope=dict(scope),
                    reason=reason.strip(),
                    state=state,
                    made_at=now,
                    made_by=who,
                )
            )
            audit.append(
                connection,
                "rerate.propose" if proposed else "rerate.begin",
                f"rerate:{number}",
                now=now,
                who=who,
                after={"scope": dict(scope), "reason": reason.strip()},
            )
            return _get(connection, number)

    def decide(self, number: int, *, approve: bool, now: datetime, who: str) -> Request:
        """Approve or refuse a proposed request.

        Raises `StateError` when it waits for no decision, or the one who made it decides.
        """
        with self._database.writing() as connection:
            current = _get(connection, number)
            if current.state is not RerateState.PROPOSED:
                raise StateError(f"re-rate request {number} is {current.state}, not proposed")
            if who.strip().casefold() == current.made_by.strip().casefold():
                raise StateError(
                    f"{who} made re-rate request {number} and cannot decide on it",
                    hint="another person decides: set ICB_USER",
                )
            state = RerateState.APPROVED if approve else RerateState.REFUSED
            return _step(
                connection, current, state, now=now, who=who, decided_at=now, decided_by=who
            )

    def begin(self, number: int, *, now: datetime, who: str) -> Request:
        """Let an approved request run; one that runs or is done may run again.

        Raises `StateError` for one that waits for a decision or was refused.
        """
        with self._database.writing() as connection:
            current = _get(connection, number)
            if current.state in (RerateState.PROPOSED, RerateState.REFUSED):
                raise StateError(
                    f"re-rate request {number} is {current.state}",
                    hint="a second person approves it first: `icb rerate approve`",
                )
            if current.state is RerateState.RUNNING:
                return current
            return _step(connection, current, RerateState.RUNNING, now=now, who=who)

    def end(self, number: int, *, now: datetime, who: str) -> Request:
        """Record that a running request has rated all its days."""
        with self._database.writing() as connection:
            current = _get(connection, number)
            if current.state is not RerateState.RUNNING:
                raise StateError(f"re-rate request {number} is {current.state}, not running")
            return _step(connection, current, RerateState.DONE, now=now, who=who, ended_at=now)

    def begin_day(
        self,
        number: int,
        day: date,
        *,
        reference_hash: str,
        version_before: int | None,
        now: datetime,
    ) -> Day:
        """Record that a run of a request begins on a day, before it writes anything there.

        Raises `NotFound` for an unknown request.
        """
        with self._database.writing() as connection:
            _get(connection, number)
            same = (rerate_day.c.request == number) & (rerate_day.c.day == day)
            runs = connection.execute(select(func.count()).where(same)).scalar_one()
            begun = Day(
                request=number,
                day=day,
                run=runs + 1,
                reference_hash=reference_hash,
                plan="",
                version_before=version_before,
                version_after=None,
                candidates=0,
                changed=0,
                changes=[],
                rated_at=now,
            )
            connection.execute(insert(rerate_day).values(**vars(begun)))
            return begun

    def end_day(self, done: Day) -> None:
        """Record what a run that began on a day did to it."""
        with self._database.writing() as connection:
            connection.execute(
                update(rerate_day)
                .where(
                    rerate_day.c.request == done.request,
                    rerate_day.c.day == done.day,
                    rerate_day.c.run == done.run,
                )
                .values(**{**vars(done), "changes": plain(done.changes)})
            )

    def get(self, number: int) -> Request:
        """Return a request; raises `NotFound`."""
        with self._database.reading() as connection:
            return _get(connection, number)

    def list(self) -> Sequence[Request]:
        """Return all requests, the newest first."""
        query = select(rerate_request).order_by(rerate_request.c.number.desc())
        with self._database.reading() as connection:
            return [_request(row) for row in connection.execute(query).mappings()]

    def days(self, number: int | None = None, day: date | None = None) -> Sequence[Day]:
        """Return what was done, of one request or all, on one day or all, oldest first."""
        query = select(rerate_day).order_by(rerate_day.c.rated_at, rerate_day.c.day)
        if number is not None:
            query = query.where(rerate_day.c.request == number)
        if day is not None:
            query = query.where(rerate_day.c.day == day)
        with self._database.reading() as connection:
            return [Day(**row) for row in connection.execute(query).mappings()]


def _get(connection: Connection, number: int) -> Request:
    query = select(rerate_request).where(rerate_request.c.number == number)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound(f"no re-rate request {number}", hint="`icb rerate list` shows them")
    return _request(row)


def _request(row: RowMapping) -> Request:
    return Request(**row)


def _step(
    connection: Connection,
    current: Request,
    state: RerateState,
    *,
    now: datetime,
    who: str,
    **values: object,
) -> Request:
    connection.execute(
        update(rerate_request)
        .where(rerate_request.c.number == current.number)
        .values(state=state, **values)
    )
    audit.append(
        connection,
        f"rerate.{state.value}",
        f"rerate:{current.number}",
        now=now,
        who=who,
        before={"state": current.state},
        after={"state": state},
    )
    return _get(connection, current.number)
