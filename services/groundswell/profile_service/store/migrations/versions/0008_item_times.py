"""Note when items were written first, and from when until when they may be recommended.

Releases before write null: an item that is always available, and of unknown age.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_COLUMNS = ("available_from_us", "available_until_us", "created_us")


def upgrade() -> None:
    """Add the columns."""
    for name in _COLUMNS:
        op.add_column("items", sa.Column(name, sa.BigInteger, nullable=True))
