"""Billing cycles: how far each has come, who brought it there, and what stands in its way.

A cycle is one partner's period. Steps between states are methods; a step that a state does not
allow is refused. Trial runs may be repeated until a second person approves one; then only the
documents room's `finalise` goes on, and from there nothing goes back.
Rules: catalogue 4.2 (runs, hold), 4.3 (segregation).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from billing_assets.core.errors import NotFound, StateError
from billing_assets.core.periods import Period
from billing_assets.registry import audit
from billing_assets.registry.database import Database
from billing_assets.registry.schema import CycleState, cycle, waiver

NEXT_STATES: Mapping[CycleState, tuple[CycleState, ...]] = {
    CycleState.OPEN: (CycleState.RATED,),
    CycleState.RATED: (CycleState.RATED, CycleState.VALIDATED, CycleState.BLOCKED),
    CycleState.VALIDATED: (CycleState.RATED, CycleState.DRAFT),
    CycleState.BLOCKED: (CycleState.RATED,),
    CycleState.DRAFT: (CycleState.RATED, CycleState.APPROVED),
    CycleState.APPROVED: (CycleState.DRAFT, CycleState.FINAL),
    CycleState.FINAL: (CycleState.DELIVERED,),
    CycleState.DELIVERED: (CycleState.SETTLED,),
    CycleState.SETTLED: (),
}
"""Every step there is. From rated, validated, blocked and draft a cycle can run again."""

FINALISED = (CycleState.FINAL, CycleState.DELIVERED, CycleState.SETTLED)
"""States in which a cycle's documents exist and never change."""

CORRECTION = "correction"
"""The cadence of a cycle that corrects a final document and bills no usage of its own."""

ADJUSTMENT = "adjustment"
"""The cadence of a cycle that bills at once what the days of a final cycle have gained or lost."""

USAGE_VERSION = "usage_daily_version"
"""The figure of a run that tells at which version of `usage_daily` the cycle was billed."""


@dataclass(frozen=True)
class Finding:
    """What a validation rule found in a cycle; `blocks`: no document may be made from it.

    `query` is SQL over the lake's views that shows the evidence; `owner` is who mends it;
    without `waivable` nobody may let it pass.
    """

    rule: str
    message: str
    blocks: bool
    severity: str = ""
    owner: str = ""
    query: str = ""
    waivable: bool = True


@dataclass(frozen=True)
class Waiver:
    """A person's word that a cycle may pass though a rule blocks it.

    `finding` is what the rule had found when it was waived. It holds for later runs too.
    """

    cycle: str
    rule: str
    reason: str
    finding: str
    who: str
    at: datetime


@dataclass(frozen=True)
class Cycle:
    """One partner's billing period and its state.

    `month` ('YYYY-MM') is the one in which the period's last day lies; `runs` counts trial
    runs; `held_reason` is None unless the cycle is on hold; `totals` are the last run's
    figures, money as text.
    """

    id: str
    partner: str
    month: str
    period: Period
    cadence: str
    state: CycleState
    runs: int
    held_reason: str | None
    ran_by: str | None
    drafted_by: str | None
    approved_by: str | None
    findings: tuple[Finding, ...]
    totals: Mapping[str, str | int]
    updated_at: datetime
    updated_by: str

    @property
    def is_correction(self) -> bool:
        """Whether the cycle holds a credit or debit note to a final document."""
        return self.cadence == CORRECTION

    @property
    def held(self) -> bool:
        """Whether the cycle is on hold: it can be run and drafted, but not issued."""
        return self.held_reason is not None


class Cycles:
    """Opens cycles, moves them from state to state, and lists them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open_cycle(
        self, cycle_id: str, partner: str, period: Period, cadence: str, *, now: datetime, who: str
    ) -> Cycle:
        """Open a cycle; opening it again changes nothing, whatever its state.

        Raises `StateError` when it exists for another partner, period or cadence.
        """
        with self._database.writing() as connection:
            known = find(connection, cycle_id)
            if known is not None:
                if (known.partner, known.period, known.cadence) != (partner, period, cadence):
                    raise StateError(
                        f"cycle {cycle_id} exists as {known.partner}, {known.period}, "
                        f"{known.cadence}, not as {partner}, {period}, {cadence}",
                        hint="give the new cycle another name",
                    )
                return known
            values = {
                "partner": partner,
                "month": period.last_day.isoformat()[:7],
                "start_day": period.start,
                "end_day": period.end,
                "zone": period.zone,
                "cadence": cadence,
                "state": CycleState.OPEN,
                "runs": 0,
                "findings": [],
                "totals": {},
            }
            connection.execute(
                insert(cycle).values(id=cycle_id, **values, updated_at=now, updated_by=who)
            )
            audit.append(
                connection, "cycle.open", f"cycle:{cycle_id}", now=now, who=who, after=values
            )
            return get(connection, cycle_id)

    def record_run(
        self, cycle_id: str, totals: Mapping[str, str | int], *, now: datetime, who: str
    ) -> Cycle:
        """Log one more trial run: the cycle is rated, and what the last run found is void.

        Raises `StateError` once the cycle is approved.
        """
        with self._database.writing() as connection:
            current = get(connection, cycle_id)
            return step(
                connection,
                current,
                CycleState.RATED,
                now=now,
                who=who,
                runs=current.runs + 1,
                totals=totals,
                findings=[],
                ran_by=who,
                drafted_by=None,
            )

    def record_validation(
        self, cycle_id: str, findings: Sequence[Finding], *, now: datetime, who: str
    ) -> Cycle:
        """Log what validation found: the cycle is blocked when a finding blocks that nobody waived.

        Raises `StateError` unless the cycle is rated.
        """
        with self._database.writing() as connection:
            waived = {one.rule for one in _waivers(connection, cycle_id)}
            blocked = bool(standing(findings, waived))
            return step(
                connection,
                get(connection, cycle_id),
                CycleState.BLOCKED if blocked else CycleState.VALIDATED,
                now=now,
                who=who,
                findings=findings,
            )

    def waive(self, cycle_id: str, rule: str, reason: str, *, now: datetime, who: str) -> Cycle:
        """Let a blocked cycle pass a rule, by a named person with a reason.

        The cycle stays blocked until it runs again. Raises `StateError` when the cycle is not
        blocked, when the rule does not block it or may not be waived, and `ValueError` for a
        blank reason.
        """
        if not reason.strip():
            raise ValueError("a waiver needs a reason")
        with self._database.writing() as connection:
            current = get(connection, cycle_id)
            found = [one for one in current.findings if one.rule == rule and one.blocks]
            if current.state is not CycleState.BLOCKED or not found:
                blocking = ", ".join(sorted({one.rule for one in current.findings if one.blocks}))
                raise StateError(
                    f"cycle {cycle_id} is {current.state} and {rule} does not block it",
                    hint=f"what blocks it: {blocking or 'nothing'}",
                )
            if not all(one.waivable for one in found):
                raise StateError(
                    f"{rule} cannot be waived: {found[0].message}", hint="its cause must be mended"
                )
            facts = {
                "cycle": cycle_id,
                "rule": rule,
                "reason": reason,
                "finding": "; ".join(one.message for one in found),
            }
            before = [one for one in _waivers(connection, cycle_id) if one.rule == rule]
            connection.execute(
                delete(waiver).where(waiver.c.cycle == cycle_id, waiver.c.rule == rule)
            )
            connection.execute(insert(waiver).values(**facts, who=who, at=now))
            audit.append(
                connection,
                "cycle.waive",
                f"cycle:{cycle_id}",
                now=now,
                who=who,
                before=before or None,
                after=facts,
            )
            return current

    def waivers(self, cycle_id: str) -> "list[Waiver]":
        """What was waived in a cycle, by rule."""
        with self._database.reading() as connection:
            return _waivers(connection, cycle_id)

    def approve(self, cycle_id: str, run: int, *, now: datetime, who: str) -> Cycle:
        """Approve the drafts of a run, named so that nobody approves what they have not seen.

        Raises `StateError` when the cycle is not in draft, is on hold or has been run again
        since, and when `who` ran or drafted it: approving takes a second person.
        """
        with self._database.writing() as connection:
            current = get(connection, cycle_id)
            require(current, CycleState.APPROVED)
            require_not_held(current)
            if current.runs != run:
                raise StateError(
                    f"cycle {cycle_id} is at run {current.runs}, not {run}",
                    hint="look at the drafts of the newest run and approve that",
                )
            if _same_person(who, current.ran_by) or _same_person(who, current.drafted_by):
                raise StateError(
                    f"{who} ran cycle {cycle_id} and cannot approve it",
                    hint="another person has to",
                )
            return step(connection, current, CycleState.APPROVED, now=now, who=who, approved_by=who)

    def withdraw_approval(self, cycle_id: str, reason: str, *, now: datetime, who: str) -> Cycle:
        """Take an approval back before anything is issued: the cycle is in draft again.

        Raises `StateError` unless the cycle is approved.
        """
        with self._database.writing() as connection:
            current = get(connection, cycle_id)
            if current.state is not CycleState.APPROVED:
                raise StateError(f"cycle {cycle_id} is {current.state}, there is no approval")
            return step(
                connection,
                current,
                CycleState.DRAFT,
                now=now,
                who=who,
                reason=reason,
                approved_by=None,
            )

    def mark_delivered(self, cycle_id: str, *, now: datetime, who: str) -> Cycle:
        """Log that every document reached the partner.

        Raises `StateError` unless the cycle is final.
        """
        with self._database.writing() as connection:
            current = get(connection, cycle_id)
            return step(connection, current, CycleState.DELIVERED, now=now, who=who)

    def mark_settled(self, cycle_id: str, *, now: datetime, who: str) -> Cycle:
        """Log that nothing is left to pay.

        Raises `StateError` unless the cycle is delivered.
        """
        with self._database.writing() as connection:
            current = get(connection, cycle_id)
            return step(connection, current, CycleState.SETTLED, now=now, who=who)

    def hold(self, cycle_id: str, reason: str, *, now: datetime, who: str) -> Cycle:
        """Keep a cycle from being approved and finalised; it can still be run and drafted.

        Raises `StateError` once the cycle is final, and `ValueError` for a blank reason.
        """
        if not reason.strip():
            raise ValueError("a hold needs a reason")
        with self._database.writing() as connection:
            current = get(connection, cycle_id)
            if current.state in FINALISED:
                raise StateError(f"cycle {cycle_id} is {current.state}, too late to hold it")
            return _change(connection, current, "cycle.hold", now=now, who=who, held_reason=reason)

    def release(self, cycle_id: str, *, now: datetime, who: str) -> Cycle:
        """End a hold; without one nothing changes."""
        with self._database.writing() as connection:
            current = get(connection, cycle_id)
            if not current.held:
                return current
            return _change(connection, current, "cycle.release", now=now, who=who, held_reason=None)

    def get(self, cycle_id: str) -> Cycle:
        """Return a cycle; raises `NotFound`."""
        with self._database.reading() as connection:
            return get(connection, cycle_id)

    def list(
        self,
        month: str | None = None,
        partner: str | None = None,
        *,
        corrections: bool = False,
    ) -> list[Cycle]:
        """Return the cycles that end in a month, of a partner, or all, by month and name.

        Those that correct final documents are left out unless `corrections` are asked for.
        """
        query = select(cycle).order_by(cycle.c.month, cycle.c.id)
        if not corrections:
            query = query.where(cycle.c.cadence != CORRECTION)
        if month is not None:
            query = query.where(cycle.c.month == month)
        if partner is not None:
            query = query.where(cycle.c.partner == partner)
        with self._database.reading() as connection:
            return [_cycle(row) for row in connection.execute(query).mappings()]


def standing(findings: Sequence[Finding], waived: Collection[str]) -> list[Finding]:
    """The blocking findings that no waiver lets pass."""
    return [one for one in findings if one.blocks and not (one.waivable and one.rule in waived)]


def _waivers(connection: Connection, cycle_id: str) -> list[Waiver]:
    rows = connection.execute(
        select(waiver).where(waiver.c.cycle == cycle_id).order_by(waiver.c.rule)
    )
    return [Waiver(**row) for row in rows.mappings()]


def find(connection: Connection, cycle_id: str) -> Cycle | None:
    """Return a cycle inside the caller's transaction, None when there is none."""
    row = connection.execute(select(cycle).where(cycle.c.id == cycle_id)).mappings().one_or_none()
    return _cycle(row) if row else None


def get(connection: Connection, cycle_id: str) -> Cycle:
    """Return a cycle inside the caller's transaction; raises `NotFound`."""
    known = find(connection, cycle_id)
    if known is None:
        raise NotFound(f"there is no cycle {cycle_id}")
    return known


def of_partner(connection: Connection, partner: str) -> Sequence[Cycle]:
    """Return all cycles of a partner inside the caller's transaction."""
    rows = connection.execute(select(cycle).where(cycle.c.partner == partner)).mappings()
    return [_cycle(row) for row in rows]


def require(current: Cycle, to: CycleState) -> None:
    """Raise `StateError` when a cycle cannot go from where it is to `to`."""
    allowed = NEXT_STATES[current.state]
    if to not in allowed:
        ways = " or ".join(allowed) if allowed else "nothing else"
        raise StateError(
            f"cycle {current.id} is {current.state} and cannot become {to}",
            hint=f"from {current.state} it can become {ways}",
        )


def require_not_held(current: Cycle) -> None:
    """Raise `StateError` when a cycle is on hold."""
    if current.held:
        raise StateError(
            f"cycle {current.id} is on hold: {current.held_reason}", hint="release it first"
        )


def step(
    connection: Connection,
    current: Cycle,
    to: CycleState,
    *,
    now: datetime,
    who: str,
    reason: str = "",
    **values: object,
) -> Cycle:
    """Move a cycle to another state inside the caller's transaction, with what goes with it.

    Raises `StateError` when the step is not one of `NEXT_STATES`.
    """
    require(current, to)
    return _change(
        connection, current, f"cycle.{to}", now=now, who=who, reason=reason, state=to, **values
    )


def _change(
    connection: Connection,
    current: Cycle,
    action: str,
    *,
    now: datetime,
    who: str,
    reason: str = "",
    **values: object,
) -> Cycle:
    connection.execute(
        update(cycle)
        .where(cycle.c.id == current.id)
        .values(**values, updated_at=now, updated_by=who)
    )
    audit.append(
        connection,
        action,
        f"cycle:{current.id}",
        now=now,
        who=who,
        before={name: getattr(current, name) for name in values},
        after={**values, "reason": reason} if reason else values,
    )
    return get(connection, current.id)


def _same_person(one: str, other: str | None) -> bool:
    return other is not None and one.strip().casefold() == other.strip().casefold()


def _cycle(row: RowMapping) -> Cycle:
    facts = dict(row)
    period = Period(facts.pop("start_day"), facts.pop("end_day"), facts.pop("zone"))
    findings = tuple(Finding(**finding) for finding in facts.pop("findings"))
    return Cycle(period=period, findings=findings, **facts)
