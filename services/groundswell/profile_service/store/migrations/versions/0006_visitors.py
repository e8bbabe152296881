"""Add the table of anonymous sessions.

Processes of the release before do not know the table. While they still run, they reject events
without a user (USER_ID_INVALID), so they write nothing that belongs into it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "visitors",
        sa.Column("user_no", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("written_us", sa.BigInteger, nullable=False),
        sa.Column("linked_to", sa.BigInteger, nullable=True),
        sa.ForeignKeyConstraint(
            ["user_no"], ["users.user_no"], name=op.f("fk_visitors_user_no_users")
        ),
        sa.PrimaryKeyConstraint("user_no", name=op.f("pk_visitors")),
    )
    op.create_index(op.f("ix_visitors_written_us"), "visitors", ["written_us"])
