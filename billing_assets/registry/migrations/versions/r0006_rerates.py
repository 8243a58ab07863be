"""Requests to rate again, and what each did to each day."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make both tables."""
    utc_time = sa.DateTime(timezone=True)
    json = sa.JSON().with_variant(JSONB(), "postgresql")
    op.create_table(
        "rerate_request",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("scope", json, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("state", sa.String(20), nullable=False, index=True),
        sa.Column("made_at", utc_time, nullable=False),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("decided_at", utc_time),
        sa.Column("decided_by", sa.Text),
        sa.Column("ended_at", utc_time),
    )
    op.create_table(
        "rerate_day",
        sa.Column("request", sa.Integer, sa.ForeignKey("rerate_request.number"), primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("run", sa.Integer, primary_key=True),
        sa.Column("reference_hash", sa.String(64), nullable=False),
        sa.Column("plan", sa.String(64), nullable=False),
        sa.Column("version_before", sa.Integer),
        sa.Column("version_after", sa.Integer),
        sa.Column("candidates", sa.Integer, nullable=False),
        sa.Column("changed", sa.Integer, nullable=False),
        sa.Column("changes", json, nullable=False),
        sa.Column("rated_at", utc_time, nullable=False),
    )
