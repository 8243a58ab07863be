"""Deliveries: which document goes to whom by which channel, each attempt, and the receipt.

A document is delivered once a channel: what is delivered is never begun again, and what was
handed over without an answer waits for a person. How a channel speaks is the invoicing room's
concern; here is only what must survive a crash.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, insert, select, update

from billing_assets.core.errors import NotFound, StateError
from billing_assets.registry import audit
from billing_assets.registry.cycles import Finding
from billing_assets.registry.database import Database
from billing_assets.registry.schema import DeliveryState, delivery, delivery_attempt

OPEN = (DeliveryState.PLANNED, DeliveryState.SENDING, DeliveryState.FAILED)
"""States from which an attempt may begin: nothing has reached the receiver for good."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A document that is to go by a channel; `files` are SHA-256 by the names they travel under."""

    document: str
    channel: str
    partner: str
    cycle: str
    via: str
    address: str
    files: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Delivery(Plan):
    """A planned delivery and what became of it; `receipt` is what the receiver answered."""

    state: DeliveryState
    attempts: int
    message: str
    receipt: Mapping[str, str]
    updated_at: datetime

    @property
    def id(self) -> str:
        """'P14/2026-03/invoice-EUR/portal': the document and the channel."""
        return f"{self.document}/{self.channel}"


@dataclass(frozen=True)
class Attempt:
    """One try of a delivery; `ended_at` is None when the process died in it."""

    document: str
    channel: str
    attempt: int
    started_at: datetime
    ended_at: datetime | None
    state: DeliveryState
    message: str


class Deliveries:
    """Plans deliveries and records what happens to them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def plan(self, plans: Sequence[Plan], *, now: datetime, who: str) -> None:
        """Store what is to be delivered; what is known keeps its state.

        What has not reached the receiver yet takes the channel's address and files of now.
        """
        with self._database.writing() as connection:
            for plan in plans:
                known = _find(connection, plan.document, plan.channel)
                if known is None:
                    values = {
                        **vars(plan),
                        "state": DeliveryState.PLANNED,
                        "attempts": 0,
                        "message": "",
                        "receipt": {},
                    }
                    connection.execute(insert(delivery).values(**values, updated_at=now))
                    _log(connection, "plan", plan, now=now, who=who, after=values)
                elif known.state in OPEN:
                    changed = {"via": plan.via, "address": plan.address, "files": plan.files}
                    if any(getattr(known, name) != value for name, value in changed.items()):
                        _change(connection, known, "replan", now=now, who=who, **changed)

    def begin(self, document: str, channel: str, *, now: datetime, who: str) -> Delivery:
        """Log that an attempt begins; raises `StateError` when none may.

        A delivery that a dead process handed over becomes `unknown`.
        """
        with self._database.writing() as connection:
            known = _get(connection, document, channel)
            if known.state is DeliveryState.HANDED_OVER:
                return _change(
                    connection,
                    known,
                    "unknown",
                    now=now,
                    who=who,
                    state=DeliveryState.UNKNOWN,
                    message="the process ended before the receiver's answer was known",
                )
            if known.state not in OPEN:
                raise StateError(f"delivery {known.id} is {known.state}")
            attempt = known.attempts + 1
            connection.execute(
                insert(delivery_attempt).values(
                    document=document,
                    channel=channel,
                    attempt=attempt,
                    started_at=now,
                    state=DeliveryState.SENDING,
                    message="",
                )
            )
            _set(connection, known, now, state=DeliveryState.SENDING, attempts=attempt)
            return _get(connection, document, channel)

    def hand_over(self, document: str, channel: str, *, now: datetime) -> None:
        """Log that the next step cannot be taken back nor asked about: it is taken once."""
        with self._database.writing() as connection:
            known = _get(connection, document, channel)
            _set(connection, known, now, state=DeliveryState.HANDED_OVER)
            _end(connection, known, None, DeliveryState.HANDED_OVER, "")

    def end(
        self,
        document: str,
        channel: str,
        state: DeliveryState,
        *,
        now: datetime,
        who: str,
        message: str = "",
        receipt: Mapping[str, str] | None = None,
    ) -> Delivery:
        """Log how an attempt ended: delivered with a receipt, failed, or unknown."""
        with self._database.writing() as connection:
            known = _get(connection, document, channel)
            _end(connection, known, now, state, message)
            return _change(
                connection,
                known,
                state.value,
                now=now,
                who=who,
                state=state,
                message=message,
                receipt=receipt or {},
            )

    def resolve(
        self,
        document: str,
        channel: str,
        *,
        arrived: bool,
        reason: str,
        now: datetime,
        who: str,
    ) -> Delivery:
        """Say of an unknown delivery whether it arrived; if not, it may be tried again.

        Raises `StateError` unless it is unknown or failed, `ValueError` for a blank reason.
        """
        if not reason.strip():
            raise ValueError("a resolution needs a reason")
        with self._database.writing() as connection:
            known = _get(connection, document, channel)
            if known.state not in (DeliveryState.UNKNOWN, DeliveryState.FAILED):
                raise StateError(f"delivery {known.id} is {known.state}: nothing to resolve")
            state = DeliveryState.DELIVERED if arrived else DeliveryState.PLANNED
            return _change(
                connection, known, "resolve", now=now, who=who, state=state, message=reason
            )

    def attempts(self, document: str, channel: str) -> list[Attempt]:
        """Return every attempt of a delivery, oldest first."""
        query = (
            select(delivery_attempt)
            .where(delivery_attempt.c.document == document, delivery_attempt.c.channel == channel)
            .order_by(delivery_attempt.c.attempt)
        )
        with self._database.reading() as connection:
            return [Attempt(**row) for row in connection.execute(query).mappings()]

    def findings(self, cycle: str) -> tuple[Finding, ...]:
        """Return what keeps a final cycle's documents from their receivers, as exceptions."""
        return tuple(
            Finding("delivery", one.message, blocks=False, severity="warning", owner="billing")
            for one in self.list(cycle=cycle)
            if one.state in (DeliveryState.FAILED, DeliveryState.UNKNOWN)
        )

    @contextmanager
    def lock(self, partner: str) -> Iterator[bool]:
        """Hold a partner's deliveries for this process alone; gives False when another has them.

        The lock goes with the process, however it ends.
        """
        with self._database.exclusive(f"delivery:{partner}") as held:
            yield held

    def list(
        self,
        *,
        cycle: str | None = None,
        document: str | None = None,
        partner: str | None = None,
    ) -> list[Delivery]:
        """Return deliveries, narrowed as asked, by document and channel."""
        asked = {"cycle": cycle, "document": document, "partner": partner}
        conditions = [delivery.c[name] == value for name, value in asked.items() if value]
        query = select(delivery).where(*conditions)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(delivery.c.document, delivery.c.channel))
            return [Delivery(**row) for row in rows.mappings()]


def _find(connection: Connection, document: str, channel: str) -> Delivery | None:
    query = select(delivery).where(_is(document, channel))
    row = connection.execute(query).mappings().one_or_none()
    return Delivery(**row) if row else None


def _get(connection: Connection, document: str, channel: str) -> Delivery:
    known = _find(connection, document, channel)
    if known is None:
        raise NotFound(f"there is no delivery {document}/{channel}", hint="`icb delivery list`")
    return known


def _is(document: str, channel: str):
    return and_(delivery.c.document == document, delivery.c.channel == channel)


def _set(connection: Connection, known: Delivery, now: datetime, **values: object) -> None:
    connection.execute(
        update(delivery).where(_is(known.document, known.channel)).values(**values, updated_at=now)
    )


def _end(
    connection: Connection,
    known: Delivery,
    now: datetime | None,
    state: DeliveryState,
    message: str,
) -> None:
    connection.execute(
        update(delivery_attempt)
        .where(
            delivery_attempt.c.document == known.document,
            delivery_attempt.c.channel == known.channel,
            delivery_attempt.c.attempt == known.attempts,
        )
        .values(ended_at=now, state=state, message=message)
    )


def _change(
    connection: Connection,
    known: Delivery,
    action: str,
    *,
    now: datetime,
    who: str,
    **values: object,
) -> Delivery:
    _set(connection, known, now, **values)
    before = {name: getattr(known, name) for name in values}
    _log(connection, action, known, now=now, who=who, before=before, after=values)
    return _get(connection, known.document, known.channel)


def _log(
    connection: Connection,
    action: str,
    plan: Plan,
    *,
    now: datetime,
    who: str,
    before: object = None,
    after: object = None,
) -> None:
    audit.append(
        connection,
        f"delivery.{action}",
        f"document:{plan.document}",
        now=now,
        who=who,
        before=before,
        after={"channel": plan.channel, **dict(after)} if isinstance(after, dict) else after,
    )
