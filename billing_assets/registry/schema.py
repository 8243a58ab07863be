"""The registry's tables as they are now; how they came to be is in `migrations/`.

Money is decimal text, so that every backend keeps it exactly and keeps its places. Times are
UTC. Words of a fixed set are enums, stored as their text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator
from typing_extensions import override

from billing_assets.core.ids import canonical_json


class FileState(StrEnum):
    """What became of a delivered file; `redelivered` is a state of deliveries only.

    The records of a `withdrawn` file count as filtered: it was taken back after it had landed.
    """

    LANDED = "landed"
    QUARANTINED = "quarantined"
    WITHDRAWN = "withdrawn"
    REDELIVERED = "redelivered"


class CycleState(StrEnum):
    """How far a billing cycle has come."""

    OPEN = "open"
    RATED = "rated"
    VALIDATED = "validated"
    BLOCKED = "blocked"
    DRAFT = "draft"
    APPROVED = "approved"
    FINAL = "final"
    DELIVERED = "delivered"
    SETTLED = "settled"


class DocumentKind(StrEnum):
    """Kinds of fiscal documents."""

    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"
    DEBIT_NOTE = "debit_note"
    SELF_BILLED = "self_billed"


class RerateState(StrEnum):
    """How far a request to rate again has come."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    REFUSED = "refused"
    RUNNING = "running"
    DONE = "done"


class DeliveryState(StrEnum):
    """How far one document has come on one channel.

    `sending` may be tried again, as nothing has left the house for good; `handed_over` may not:
    the last word of the receiver is awaited, or was lost.
    """

    PLANNED = "planned"
    SENDING = "sending"
    HANDED_OVER = "handed_over"
    DELIVERED = "delivered"
    FAILED = "failed"
    UNKNOWN = "unknown"


def plain(value: object) -> object:
    """Turn decimals, dates, enums and dataclasses into what JSON knows.

    Raises `TypeError` for a binary float and for anything unknown.
    """
    match value:
        case float():
            raise TypeError(f"{value!r} is a binary float; write exact numbers as text")
        case StrEnum():
            return value.value
        case None | str() | int():
            return value
        case Decimal():
            return format(value, "f")
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="microseconds")
        case date():
            return value.isoformat()
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case Sequence():
            return [plain(item) for item in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return plain(asdict(value))
        case _:
            raise TypeError(f"{type(value).__name__} has no exact JSON form")


def to_json(value: object) -> str:
    """Canonical JSON text of exact values; `plain` says what is taken and what is raised."""
    return canonical_json(plain(value)).decode()


class ExactDecimal(TypeDecorator[Decimal]):
    """A decimal kept as its plain text: 10.50 stays 10.50 on every backend."""

    impl = String(40)
    cache_ok = True

    @override
    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        """Write a finite decimal; raises `TypeError` for any other type."""
        if value is None:
            return None
        if not isinstance(value, Decimal) or not value.is_finite():
            raise TypeError(f"{value!r} is not a finite Decimal")
        return format(value, "f")

    @override
    def process_result_value(self, value: str | None, dialect: Dialect) -> Decimal | None:
        """Read the text back."""
        return None if value is None else Decimal(value)


class UtcTime(TypeDecorator[datetime]):
    """A UTC instant, aware on both sides; SQLite itself keeps no offset."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Write a UTC instant; raises `ValueError` for a naive or local one."""
        if value is not None and value.utcoffset() != timedelta(0):
            raise ValueError(f"{value} is not a UTC time")
        return value

    @override
    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Read it back in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _words(enum: type[StrEnum]) -> Enum:
    """Return the column type of an enum: its text, so that a new word needs no migration."""
    return Enum(
        enum,
        native_enum=False,
        length=20,
        values_callable=lambda words: [word.value for word in words],
    )


_JSON = JSON().with_variant(JSONB(), "postgresql")
_HASH = String(64)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

audit = Table(
    "audit",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False, index=True),
    Column("before", Text),
    Column("after", Text),
    Column("previous_hash", _HASH, nullable=False),
    Column("hash", _HASH, nullable=False),
)

file_key = Table(
    "file_key",
    metadata,
    Column("file_key", BigInteger, primary_key=True, autoincrement=False),
    Column("sha256", _HASH, nullable=False, unique=True),
)

file = Table(
    "file",
    metadata,
    Column(
        "file_key",
        BigInteger,
        ForeignKey("file_key.file_key"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("sha256", _HASH, nullable=False, unique=True),
    Column("name", Text, nullable=False, index=True),
    Column("source", Text, nullable=False),
    Column("preset", Text, nullable=False),
    Column("sequence", BigInteger),
    Column("size", BigInteger, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("state", _words(FileState), nullable=False),
    Column("message", Text, nullable=False),
    Column("archive_path", Text, nullable=False),
    Column("totals", _JSON, nullable=False),
)

file_delivery = Table(
    "file_delivery",
    metadata,
    Column("file_key", BigInteger, ForeignKey("file.file_key"), primary_key=True),
    Column("source", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("copy", BigInteger, primary_key=True, autoincrement=False),
    Column("received_at", UtcTime, nullable=False),
    Column("state", _words(FileState), nullable=False),
)

file_count = Table(
    "file_count",
    metadata,
    Column("file_key", BigInteger, ForeignKey("file.file_key"), primary_key=True),
    Column("day", Date, primary_key=True, index=True),
    Column("received", BigInteger, nullable=False),
    Column("landed", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("filtered", BigInteger, nullable=False),
    CheckConstraint(
        "received >= 0 AND landed >= 0 AND rejected >= 0 AND filtered >= 0", name="not_negative"
    ),
)

reference_version = Table(
    "reference_version",
    metadata,
    Column("hash", _HASH, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("loaded_at", UtcTime, nullable=False),
    Column("who", Text, nullable=False),
    Column("current", Boolean, nullable=False),
    Column("manifest", _JSON, nullable=False),
    Column("problems", _JSON, nullable=False),
)

reference_load = Table(
    "reference_load",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("hash", _HASH, ForeignKey("reference_version.hash"), nullable=False, index=True),
    Column("loaded_at", UtcTime, nullable=False),
    Column("loaded_by", Text, nullable=False),
    Column("approved_at", UtcTime),
    Column("approved_by", Text),
    Column("in_force_from", UtcTime),
)

rating_plan = Table(
    "rating_plan",
    metadata,
    Column("hash", _HASH, primary_key=True),
    Column("day", Date, primary_key=True, index=True),
    Column("reference_hash", _HASH, ForeignKey("reference_version.hash"), primary_key=True),
    Column("compiled_at", UtcTime, nullable=False),
    Column("who", Text, nullable=False),
    Column("summary", _JSON, nullable=False),
)

rerate_request = Table(
    "rerate_request",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("scope", _JSON, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", _words(RerateState), nullable=False, index=True),
    Column("made_at", UtcTime, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("decided_at", UtcTime),
    Column("decided_by", Text),
    Column("ended_at", UtcTime),
)

rerate_day = Table(
    "rerate_day",
    metadata,
    Column("request", Integer, ForeignKey("rerate_request.number"), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("run", Integer, primary_key=True),
    Column("reference_hash", _HASH, nullable=False),
    Column("plan", _HASH, nullable=False),
    Column("version_before", Integer),
    Column("version_after", Integer),
    Column("candidates", Integer, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("changes", _JSON, nullable=False),
    Column("rated_at", UtcTime, nullable=False),
)

cycle = Table(
    "cycle",
    metadata,
    Column("id", Text, primary_key=True),
    Column("partner", Text, nullable=False, index=True),
    Column("month", String(7), nullable=False, index=True),
    Column("start_day", Date, nullable=False),
    Column("end_day", Date, nullable=False),
    Column("zone", Text, nullable=False),
    Column("cadence", Text, nullable=False),
    Column("state", _words(CycleState), nullable=False),
    Column("runs", Integer, nullable=False),
    Column("held_reason", Text),
    Column("ran_by", Text),
    Column("drafted_by", Text),
    Column("approved_by", Text),
    Column("findings", _JSON, nullable=False),
    Column("totals", _JSON, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("updated_by", Text, nullable=False),
)


waiver = Table(
    "waiver",
    metadata,
    Column("cycle", Text, ForeignKey("cycle.id"), primary_key=True),
    Column("rule", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("finding", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
)


def _document_columns() -> list[Column]:
    """Columns that a draft and a final document share."""
    return [
        Column("kind", _words(DocumentKind), nullable=False),
        Column("partner", Text, nullable=False),
        Column("entity", Text, nullable=False),
        Column("series", Text, nullable=False),
        Column("number_format", Text, nullable=False),
        Column("issue_date", Date, nullable=False),
        Column("due_date", Date, nullable=False),
        Column("currency", String(3), nullable=False),
        Column("net", ExactDecimal, nullable=False),
        Column("tax", ExactDecimal, nullable=False),
        Column("gross", ExactDecimal, nullable=False),
        Column("canonical_sha256", _HASH, nullable=False),
        Column("pins", _JSON, nullable=False),
        Column("reference_hash", _HASH, ForeignKey("reference_version.hash"), nullable=False),
        Column("template_hash", _HASH, nullable=False),
        Column("engines", _JSON, nullable=False),
        Column("files", _JSON, nullable=False),
    ]


draft = Table(
    "draft",
    metadata,
    Column("cycle", Text, ForeignKey("cycle.id"), primary_key=True),
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("id", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    *_document_columns(),
)

number_series = Table(
    "number_series",
    metadata,
    Column("entity", Text, primary_key=True),
    Column("series", Text, primary_key=True),
    Column("year", Integer, primary_key=True, autoincrement=False),
    Column("last_number", BigInteger, nullable=False),
)

document = Table(
    "document",
    metadata,
    Column("id", Text, primary_key=True),
    Column("cycle", Text, ForeignKey("cycle.id"), nullable=False, index=True),
    Column("year", Integer, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("number_text", Text, nullable=False),
    *_document_columns(),
    Column("finalised_at", UtcTime, nullable=False),
    Column("finalised_by", Text, nullable=False),
    UniqueConstraint("entity", "series", "year", "number"),
    UniqueConstraint("entity", "number_text"),
    ForeignKeyConstraint(
        ["entity", "series", "year"],
        ["number_series.entity", "number_series.series", "number_series.year"],
    ),
)

delivery = Table(
    "delivery",
    metadata,
    Column("document", Text, ForeignKey("document.id"), primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("partner", Text, nullable=False, index=True),
    Column("cycle", Text, ForeignKey("cycle.id"), nullable=False, index=True),
    Column("via", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("files", _JSON, nullable=False),
    Column("state", _words(DeliveryState), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("message", Text, nullable=False),
    Column("receipt", _JSON, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)

delivery_attempt = Table(
    "delivery_attempt",
    metadata,
    Column("document", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("state", _words(DeliveryState), nullable=False),
    Column("message", Text, nullable=False),
    ForeignKeyConstraint(["document", "channel"], ["delivery.document", "delivery.channel"]),
)
