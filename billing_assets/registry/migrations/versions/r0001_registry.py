"""The first tables: audit log, files, versions, cycles, drafts, numbers and documents."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

UTC_TIME = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
HASH = sa.String(64)
WORD = sa.String(20)
MONEY = sa.String(40)

APPEND_ONLY = ("audit", "document")


def upgrade() -> None:
    """Make the tables, then forbid changing what was written to the append-only ones."""
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False, index=True),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.Column("previous_hash", HASH, nullable=False),
        sa.Column("hash", HASH, nullable=False),
    )
    _create_files()
    _create_versions()
    _create_cycles_and_documents()
    for table in APPEND_ONLY:
        _forbid_changes(table)


def _create_files() -> None:
    op.create_table(
        "file_key",
        sa.Column("file_key", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("sha256", HASH, nullable=False, unique=True),
    )
    op.create_table(
        "file",
        sa.Column(
            "file_key",
            sa.BigInteger,
            sa.ForeignKey("file_key.file_key"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("sha256", HASH, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False, index=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("preset", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("received_at", UTC_TIME, nullable=False),
        sa.Column("state", WORD, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("archive_path", sa.Text, nullable=False),
        sa.Column("totals", JSON, nullable=False),
    )
    op.create_table(
        "file_delivery",
        sa.Column("file_key", sa.BigInteger, sa.ForeignKey("file.file_key"), primary_key=True),
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("received_at", UTC_TIME, nullable=False),
        sa.Column("state", WORD, nullable=False),
    )
    op.create_table(
        "file_count",
        sa.Column("file_key", sa.BigInteger, sa.ForeignKey("file.file_key"), primary_key=True),
        sa.Column("day", sa.Date, primary_key=True, index=True),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("landed", sa.BigInteger, nullable=False),
        sa.Column("rejected", sa.BigInteger, nullable=False),
        sa.Column("filtered", sa.BigInteger, nullable=False),
        sa.CheckConstraint(
            "received >= 0 AND landed >= 0 AND rejected >= 0 AND filtered >= 0",
            name="not_negative",
        ),
    )


def _create_versions() -> None:
    op.create_table(
        "reference_version",
        sa.Column("hash", HASH, primary_key=True),
        sa.Column("number", sa.Integer, nullable=False, unique=True),
        sa.Column("loaded_at", UTC_TIME, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("current", sa.Boolean, nullable=False),
        sa.Column("manifest", JSON, nullable=False),
        sa.Column("problems", JSON, nullable=False),
    )
    op.create_table(
        "rating_plan",
        sa.Column("hash", HASH, primary_key=True),
        sa.Column("day", sa.Date, primary_key=True, index=True),
        sa.Column(
            "reference_hash", HASH, sa.ForeignKey("reference_version.hash"), primary_key=True
        ),
        sa.Column("compiled_at", UTC_TIME, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("summary", JSON, nullable=False),
    )


def _create_cycles_and_documents() -> None:
    op.create_table(
        "cycle",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("partner", sa.Text, nullable=False, index=True),
        sa.Column("month", sa.String(7), nullable=False, index=True),
        sa.Column("start_day", sa.Date, nullable=False),
        sa.Column("end_day", sa.Date, nullable=False),
        sa.Column("zone", sa.Text, nullable=False),
        sa.Column("cadence", sa.Text, nullable=False),
        sa.Column("state", WORD, nullable=False),
        sa.Column("runs", sa.Integer, nullable=False),
        sa.Column("held_reason", sa.Text),
        sa.Column("ran_by", sa.Text),
        sa.Column("drafted_by", sa.Text),
        sa.Column("approved_by", sa.Text),
        sa.Column("findings", JSON, nullable=False),
        sa.Column("totals", JSON, nullable=False),
        sa.Column("updated_at", UTC_TIME, nullable=False),
        sa.Column("updated_by", sa.Text, nullable=False),
    )
    op.create_table(
        "draft",
        sa.Column("cycle", sa.Text, sa.ForeignKey("cycle.id"), primary_key=True),
        sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        *_document_columns(),
    )
    op.create_table(
        "number_series",
        sa.Column("entity", sa.Text, primary_key=True),
        sa.Column("series", sa.Text, primary_key=True),
        sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("last_number", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "document",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("cycle", sa.Text, sa.ForeignKey("cycle.id"), nullable=False, index=True),
        sa.Column("year", sa.Integer, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("number_text", sa.Text, nullable=False),
        *_document_columns(),
        sa.Column("finalised_at", UTC_TIME, nullable=False),
        sa.Column("finalised_by", sa.Text, nullable=False),
        sa.UniqueConstraint("entity", "series", "year", "number"),
        sa.UniqueConstraint("entity", "number_text"),
        sa.ForeignKeyConstraint(
            ["entity", "series", "year"],
            ["number_series.entity", "number_series.series", "number_series.year"],
        ),
    )


def _document_columns() -> list[sa.Column]:
    return [
        sa.Column("kind", WORD, nullable=False),
        sa.Column("partner", sa.Text, nullable=False),
        sa.Column("entity", sa.Text, nullable=False),
        sa.Column("series", sa.Text, nullable=False),
        sa.Column("number_format", sa.Text, nullable=False),
        sa.Column("issue_date", sa.Date, nullable=False),
        sa.Column("due_date", sa.Date, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("net", MONEY, nullable=False),
        sa.Column("tax", MONEY, nullable=False),
        sa.Column("gross", MONEY, nullable=False),
        sa.Column("canonical_sha256", HASH, nullable=False),
        sa.Column("pins", JSON, nullable=False),
        sa.Column("reference_hash", HASH, sa.ForeignKey("reference_version.hash"), nullable=False),
        sa.Column("template_hash", HASH, nullable=False),
        sa.Column("engines", JSON, nullable=False),
        sa.Column("files", JSON, nullable=False),
    ]


def _forbid_changes(table: str) -> None:
    """Let rows of a table be added, and refuse every other change of it."""
    if op.get_bind().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    op.execute(
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
