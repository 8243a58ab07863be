"""Waivers: who let a cycle pass a rule that blocked it, and why."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "waiver",
        sa.Column("cycle", sa.Text, sa.ForeignKey("cycle.id"), primary_key=True),
        sa.Column("rule", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("finding", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
