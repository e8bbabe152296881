"""Add the tables of erasures, and what a user's row says of an earlier erasure.

Processes of the release before know no tombstone: while they still run, an event of before an
erasure that they get starts a user without one. So erase only when all processes are of this one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Make the tables and the columns."""
    op.create_table(
        "erasures",
        sa.Column("erasure_id", sa.Text, nullable=False),
        sa.Column("erased_us", sa.BigInteger, nullable=False),
        sa.Column("finished_us", sa.BigInteger, nullable=True),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("erasure_id", name=op.f("pk_erasures")),
    )
    op.create_table(
        "tombstones",
        sa.Column("mark", sa.LargeBinary, nullable=False),
        sa.Column("erasure_id", sa.Text, nullable=False),
        sa.Column("erased_us", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("mark", name=op.f("pk_tombstones")),
    )
    op.create_index(op.f("ix_tombstones_revision"), "tombstones", ["revision"])
    op.create_table(
        "erased_users",
        sa.Column("user_no", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("erasure_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("user_no", name=op.f("pk_erased_users")),
    )
    op.create_index(op.f("ix_erased_users_erasure_id"), "erased_users", ["erasure_id"])
    op.add_column("users", sa.Column("erased_us", sa.BigInteger, nullable=True))
    op.add_column("users", sa.Column("pruned_sequence", sa.BigInteger, nullable=True))
