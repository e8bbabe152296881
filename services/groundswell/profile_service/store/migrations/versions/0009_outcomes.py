"""Add the tables of shown lists and of popularity, and find events by their attribution.

Processes of the release before know none of it; the events that they store count only where they
are read from the log.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_ATTRIBUTED = sa.text("attribution_token <> ''")


def upgrade() -> None:
    """Make the tables and the index."""
    op.create_table(
        "shown_lists",
        sa.Column(
            "recommendation_id",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("user_no", sa.BigInteger, nullable=True),
        sa.Column("bundle_id", sa.Text, nullable=False),
        sa.Column("variant", sa.Text, nullable=False),
        sa.Column("fusion_weight", sa.Double, nullable=True),
        sa.Column("draw", sa.SmallInteger, nullable=False),
        sa.Column("propensity", sa.Double, nullable=False),
        sa.Column("item_nos", sa.LargeBinary, nullable=False),
        sa.Column("confirmed", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("recommendation_id", name=op.f("pk_shown_lists")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_shown_lists_user_no_recommendation_id"),
        "shown_lists",
        ["user_no", "recommendation_id"],
    )
    op.create_table(
        "item_popularity",
        sa.Column("item_no", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("value", sa.Double, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("item_no", name=op.f("pk_item_popularity")),
    )
    op.create_index(
        op.f("ix_item_popularity_revision_item_no"), "item_popularity", ["revision", "item_no"]
    )
    op.create_index(
        "ix_events_attributed",
        "events",
        ["stored_us"],
        postgresql_where=_ATTRIBUTED,
        sqlite_where=_ATTRIBUTED,
    )
