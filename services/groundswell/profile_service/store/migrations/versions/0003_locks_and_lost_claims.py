"""Let updates of an item run beside events of it, and count lost claims.

A unique revision made every update of an item take the lock that a foreign key's check waits for,
so that writers of events and of the catalogue could wait for each other in a circle.

It also brings back, empty, the columns of `profiles` that revision 0002 dropped while the release
before still wrote them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Replace one unique constraint by an index, and add columns with defaults."""
    with op.batch_alter_table("items", table_kwargs={"sqlite_autoincrement": True}) as items:
        items.drop_constraint("uq_items_revision", type_="unique")
    op.create_index("ix_items_revision", "items", ["revision"])
    op.add_column("profiles", sa.Column("tail_length", sa.Integer, nullable=True))
    op.add_column("profiles", sa.Column("tail_vector", sa.LargeBinary, nullable=True))
    for name in ("stale_users", "stale_items"):
        lost = sa.Column("lost_claims", sa.Integer, nullable=False, server_default="0")
        op.add_column(name, lost)
