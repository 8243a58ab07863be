"""Versions of the reference data, and the rating plans that were compiled from them.

A version is named by its content hash and carries a number for people. What is in the files
is the reference room's concern; what is in a plan, the rating room's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from billing_assets.core.errors import NotFound, Problem
from billing_assets.registry import audit
from billing_assets.registry.database import Database
from billing_assets.registry.schema import rating_plan, reference_version


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
        """Make a version the current one, with the next number when it is new.

        Loading the current version again changes nothing; going back to an older one makes it
        current again under its own number.
        """
        with self._database.writing() as connection:
            before = _current(connection)
            known = _version(connection, version_hash)
            if known and known.current and known.problems == tuple(problems):
                return known
            connection.execute(update(reference_version).values(current=False))
            if known is None:
                highest = connection.scalar(select(func.max(reference_version.c.number))) or 0
                connection.execute(
                    insert(reference_version).values(
                        hash=version_hash,
                        number=highest + 1,
                        loaded_at=now,
                        who=who,
                        current=True,
                        manifest=manifest,
                        problems=problems,
                    )
                )
            else:
                connection.execute(
                    update(reference_version)
                    .where(reference_version.c.hash == version_hash)
                    .values(current=True, problems=problems)
                )
            audit.append(
                connection,
                "reference.load",
                f"reference:{version_hash}",
                now=now,
                who=who,
                before={"current": before.hash} if before else None,
                after={"current": version_hash, "problems": problems},
            )
            return self._require(connection, version_hash)

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
