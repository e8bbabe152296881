"""Add the table of staged items, and find the anonymous sessions that were linked to a user."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the table and the index."""
    op.create_table(
        "staged_items",
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column(
            "item_id",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("categories", sa.JSON, nullable=False),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.Column("available", sa.Boolean, nullable=False),
        sa.Column("available_from_us", sa.BigInteger, nullable=True),
        sa.Column("available_until_us", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("stage", "item_id", name=op.f("pk_staged_items")),
    )
    op.create_index(op.f("ix_visitors_linked_to"), "visitors", ["linked_to"])
