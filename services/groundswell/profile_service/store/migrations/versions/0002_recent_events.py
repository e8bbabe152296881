"""Profiles store the newest events of each history, in place of their mean text vector.

Older rows have none: the worker finds them when it starts, and covers them again from stored rows,
without encoding a chunk.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column that earlier releases do not write, and drop what is not read any more."""
    op.add_column("profiles", sa.Column("recent", sa.LargeBinary, nullable=True))
    op.drop_column("profiles", "tail_length")
    op.drop_column("profiles", "tail_vector")
