"""A delivery of a file is one copy of it, so that the same name may come again."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table of deliveries anew, with the copy in its key."""
    op.rename_table("file_delivery", "file_delivery_before")
    op.create_table(
        "file_delivery",
        sa.Column("file_key", sa.BigInteger, sa.ForeignKey("file.file_key"), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("copy", sa.BigInteger, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        # PostgreSQL keeps the former table's constraint names until it is dropped
        sa.PrimaryKeyConstraint("file_key", "source", "name", "copy", name="pk_file_delivery_copy"),
    )
    op.execute(
        "INSERT INTO file_delivery (file_key, source, name, copy, received_at, state) "
        "SELECT file_key, source, name, 0, received_at, state FROM file_delivery_before"
    )
    op.drop_table("file_delivery_before")
