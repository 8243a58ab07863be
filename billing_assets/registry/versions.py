"""Versions of the reference data, and the rating plans that were compiled from them.

A version is named by its content hash and carries a number for people. A version that is loaded
over another one is pending until a second person approves it (catalogue 4.3); the log of loads
tells what was in force at any moment. What is in the files is the reference room's concern; what
is in a plan, the rating room's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from billing_assets.core.errors import NotFound, Problem, StateError
from billing_assets.registry import audit
from billing_assets.registry.database import Database
from billing_assets.registry.schema import rating_plan, reference_load, reference_version


@dataclass(frozen=True)
class ReferenceVersion:
    """One state of the reference data: `manifest` is {path: SHA-256} of its files.

    `loaded_at` and `who` tell of its first load, `problems` of its last.
    """

    hash: str
    number: int
    loaded_at: datetime
    who: str
    current: bool
    manifest: Mapping[str, str]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class ReferenceLoad:
    """One load of a reference version, `version` being its number for people.

    `in_force_from` is None while it waits for approval, and for good when another load came
    first. A home's first load is in force at once; `approved_by` is None until one signs it.
    """

    number: int
    hash: str
    version: int
    loaded_at: datetime
    loaded_by: str
    approved_at: datetime | None
    approved_by: str | None
    in_force_from: datetime | None


@dataclass(frozen=True)
class RatingPlan:
    """The compiled plan of one UTC day under one reference version."""

    hash: str
    day: date
    reference_hash: str
    compiled_at: datetime
    who: str
    summary: Mapping[str, object]


class Versions:
    """Writes and reads reference versions and rating plans."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load_reference(
        self,
        version_hash: str,
        manifest: Mapping[str, str],
        problems: Sequence[Problem] = (),
        *,
        now: datetime,
        who: str,
    ) -> ReferenceVersion:
        """Make a version the current one at once, with the next number when it is new.

        Loading the current version again changes nothing; going back to an older one makes it
        current again under its own number.
        """
        with self._database.writing() as connection:
            before = _current(connection)
            known = _version(connection, version_hash)
            if known and known.current and known.problems == tuple(problems):
                return known
            _keep(connection, known, version_hash, manifest, problems, now=now, who=who)
            _log_load(connection, version_hash, now=now, who=who, in_force=True)
            _put_into_force(connection, version_hash)
            _audit_load(connection, before, version_hash, problems, now=now, who=who)
            return self._require(connection, version_hash)

    def propose_reference(
        self,
        version_hash: str,
        manifest: Mapping[str, str],
        problems: Sequence[Problem] = (),
        *,
        now: datetime,
        who: str,
    ) -> ReferenceLoad:
        """Log the load of a version, which waits for approval unless it is the first of all.

        The version that was loaded last changes nothing when it is loaded again; the one in
        force, loaded again, ends the wait of what was loaded meanwhile.
        """
        with self._database.writing() as connection:
            before, last = _current(connection), _last_load(connection)
            known = _version(connection, version_hash)
            _keep(connection, known, version_hash, manifest, problems, now=now, who=who)
            if last and last.hash == version_hash:
                return last
            at_once = before is None or before.hash == version_hash
            _log_load(connection, version_hash, now=now, who=who, in_force=at_once)
            if at_once:
                _put_into_force(connection, version_hash)
            _audit_load(connection, before, version_hash, problems, now=now, who=who)
            load = _last_load(connection)
            assert load is not None
            return load

    def pending_reference(self) -> ReferenceLoad | None:
        """Return the load that waits for approval, if any."""
        with self._database.reading() as connection:
            last = _last_load(connection)
        return last if last and last.in_force_from is None else None

    def approve_reference(self, version: int, *, now: datetime, who: str) -> ReferenceLoad:
        """Put the pending version into force, named so that nobody approves what they never saw.

        Signs the first load of a home too, which is in force already. Raises `StateError` when
        another version or none waits, and when `who` loaded it or what it was built upon:
        approving takes a second person.
        """
        with self._database.writing() as connection:
            last = _last_load(connection)
            if last is None or last.approved_by is not None:
                raise StateError("no reference version waits for approval")
            if last.version != version:
                raise StateError(
                    f"version {last.version} waits for approval, not {version}",
                    hint="look at its differences and impact and approve that one",
                )
            waiting = [load for load in _loads(connection) if load.approved_by is None]
            since = max(
                (load.number for load in _loads(connection) if load.approved_by is not None),
                default=0,
            )
            loaders = {load.loaded_by for load in waiting if load.number > since}
            if who.strip().casefold() in {name.strip().casefold() for name in loaders}:
                raise StateError(
                    f"{who} loaded version {version} or a part of it and cannot approve it",
                    hint="another person approves: set ICB_USER",
                )
            before = _current(connection)
            connection.execute(
                update(reference_load)
                .where(reference_load.c.number == last.number)
                .values(approved_at=now, approved_by=who, in_force_from=last.in_force_from or now)
            )
            _put_into_force(connection, last.hash)
            audit.append(
                connection,
                "reference.approve",
                f"reference:{last.hash}",
                now=now,
                who=who,
                before={"current": before.hash} if before else None,
                after={"current": last.hash, "loaded_by": sorted(loaders)},
            )
            approved = _last_load(connection)
            assert approved is not None
            return approved

    def reference_loads(self) -> list[ReferenceLoad]:
        """Return every load, oldest first."""
        with self._database.reading() as connection:
            return _loads(connection)

    def reference_known_at(self, moment: datetime) -> ReferenceVersion:
        """Return the version that was in force at a moment; raises `NotFound` before the first."""
        with self._database.reading() as connection:
            known = [
                load
                for load in _loads(connection)
                if load.in_force_from is not None and load.in_force_from <= moment
            ]
            if not known:
                raise NotFound(f"no reference data were in force at {moment.isoformat()}")
            newest = max(known, key=lambda load: (load.in_force_from, load.number))
            return self._require(connection, newest.hash)

    def current_reference(self) -> ReferenceVersion | None:
        """Return the version that was loaded last, None when none ever was."""
        with self._database.reading() as connection:
            return _current(connection)

    def reference(self, version_hash: str) -> ReferenceVersion:
        """Return a version by its hash; raises `NotFound`."""
        with self._database.reading() as connection:
            return self._require(connection, version_hash)

    def references(self) -> list[ReferenceVersion]:
        """Return every version, oldest number first."""
        query = select(reference_version).order_by(reference_version.c.number)
        with self._database.reading() as connection:
            return [_reference(row) for row in connection.execute(query).mappings()]

    def record_plan(
        self,
        plan_hash: str,
        day: date,
        reference_hash: str,
        summary: Mapping[str, object],
        *,
        now: datetime,
        who: str,
    ) -> RatingPlan:
        """Log the plan of a UTC day; the same plan again changes nothing.

        Raises `NotFound` when the reference version was never loaded.
        """
        this_one = (
            (rating_plan.c.hash == plan_hash)
            & (rating_plan.c.day == day)
            & (rating_plan.c.reference_hash == reference_hash)
        )
        with self._database.writing() as connection:
            self._require(connection, reference_hash)
            row = connection.execute(select(rating_plan).where(this_one)).mappings().first()
            if row is not None:
                return RatingPlan(**row)
            plan = RatingPlan(plan_hash, day, reference_hash, now, who, summary)
            connection.execute(insert(rating_plan).values(**vars(plan)))
            audit.append(
                connection, "plan.compile", f"plan:{plan_hash}", now=now, who=who, after=plan
            )
            return plan

    def plan(self, plan_hash: str) -> RatingPlan:
        """Return a plan by its hash, as it was first compiled; raises `NotFound`."""
        query = (
            select(rating_plan)
            .where(rating_plan.c.hash == plan_hash)
            .order_by(rating_plan.c.compiled_at, rating_plan.c.reference_hash)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            raise NotFound(f"no rating plan {plan_hash} was ever compiled")
        return RatingPlan(**row)

    def buckets(self) -> int | None:
        """Into how many buckets of partners the plan that was compiled last cuts its day; None
        before the first."""
        query = select(rating_plan.c.summary).order_by(rating_plan.c.compiled_at.desc()).limit(1)
        with self._database.reading() as connection:
            summary = connection.execute(query).scalar()
        return summary.get("buckets") if summary else None

    def plans_of_day(self, day: date) -> list[RatingPlan]:
        """Return every plan that was compiled for a UTC day, oldest first."""
        query = (
            select(rating_plan)
            .where(rating_plan.c.day == day)
            .order_by(rating_plan.c.compiled_at, rating_plan.c.hash)
        )
        with self._database.reading() as connection:
            return [RatingPlan(**row) for row in connection.execute(query).mappings()]

    @staticmethod
    def _require(connection: Connection, version_hash: str) -> ReferenceVersion:
        version = _version(connection, version_hash)
        if version is None:
            raise NotFound(f"reference version {version_hash} was never loaded")
        return version


def _version(connection: Connection, version_hash: str) -> ReferenceVersion | None:
    query = select(reference_version).where(reference_version.c.hash == version_hash)
    row = connection.execute(query).mappings().one_or_none()
    return _reference(row) if row else None


def _current(connection: Connection) -> ReferenceVersion | None:
    query = select(reference_version).where(reference_version.c.current)
    row = connection.execute(query).mappings().one_or_none()
    return _reference(row) if row else None


def _reference(row: RowMapping) -> ReferenceVersion:
    return ReferenceVersion(
        **{**row, "problems": tuple(Problem(**problem) for problem in row["problems"])}
    )


def _keep(
    connection: Connection,
    known: ReferenceVersion | None,
    version_hash: str,
    manifest: Mapping[str, str],
    problems: Sequence[Problem],
    *,
    now: datetime,
    who: str,
) -> None:
    """Keep a version that is new, or the problems of an older one's newest load."""
    if known is not None:
        connection.execute(
            update(reference_version)
            .where(reference_version.c.hash == version_hash)
            .values(problems=problems)
        )
        return
    highest = connection.scalar(select(func.max(reference_version.c.number))) or 0
    connection.execute(
        insert(reference_version).values(
            hash=version_hash,
            number=highest + 1,
            loaded_at=now,
            who=who,
            current=False,
            manifest=manifest,
            problems=problems,
        )
    )


def _log_load(
    connection: Connection, version_hash: str, *, now: datetime, who: str, in_force: bool
) -> None:
    highest = connection.scalar(select(func.max(reference_load.c.number))) or 0
    connection.execute(
        insert(reference_load).values(
            number=highest + 1,
            hash=version_hash,
            loaded_at=now,
            loaded_by=who,
            in_force_from=now if in_force else None,
        )
    )


def _put_into_force(connection: Connection, version_hash: str) -> None:
    connection.execute(update(reference_version).values(current=False))
    connection.execute(
        update(reference_version)
        .where(reference_version.c.hash == version_hash)
        .values(current=True)
    )


def _audit_load(
    connection: Connection,
    before: ReferenceVersion | None,
    version_hash: str,
    problems: Sequence[Problem],
    *,
    now: datetime,
    who: str,
) -> None:
    current = _current(connection)
    audit.append(
        connection,
        "reference.load",
        f"reference:{version_hash}",
        now=now,
        who=who,
        before={"current": before.hash} if before else None,
        after={
            "loaded": version_hash,
            "current": current.hash if current else None,
            "problems": problems,
        },
    )


def _loads(connection: Connection) -> list[ReferenceLoad]:
    query = (
        select(reference_load, reference_version.c.number.label("version"))
        .join_from(reference_load, reference_version)
        .order_by(reference_load.c.number)
    )
    return [ReferenceLoad(**row) for row in connection.execute(query).mappings()]


def _last_load(connection: Connection) -> ReferenceLoad | None:
    loads = _loads(connection)
    return loads[-1] if loads else None
