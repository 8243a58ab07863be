"""Every load of reference data, with who approved it and since when it is in force."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table; versions of before came into force when they were loaded."""
    utc_time = sa.DateTime(timezone=True)
    op.create_table(
        "reference_load",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column(
            "hash",
            sa.String(64),
            sa.ForeignKey("reference_version.hash"),
            nullable=False,
            index=True,
        ),
        sa.Column("loaded_at", utc_time, nullable=False),
        sa.Column("loaded_by", sa.Text, nullable=False),
        sa.Column("approved_at", utc_time),
        sa.Column("approved_by", sa.Text),
        sa.Column("in_force_from", utc_time),
    )
    columns = "SELECT {} , hash, loaded_at, who, NULL, NULL, loaded_at FROM reference_version"
    op.execute(f"INSERT INTO reference_load {columns.format('number')}")
    # the version in force was loaded last, even when an older one was gone back to
    highest = "(SELECT MAX(number) + 1 FROM reference_version)"
    newest = "(SELECT MAX(loaded_at) FROM reference_version)"
    op.execute(
        f"INSERT INTO reference_load SELECT {highest}, hash, {newest}, who, NULL, NULL, {newest} "
        "FROM reference_version WHERE current "
        "AND number < (SELECT MAX(number) FROM reference_version)"
    )
