"""Give the database a lineage and check values of its secrets, and each user's key a version.

Processes of the earlier release may go on writing users: their keys get version 1, the right one.
"""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_LINEAGE_BYTES = 16


def upgrade() -> None:
    """Begin a lineage. The next start of the service stores the check value of its secret."""
    identity = op.create_table(
        "identity",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    rows = {"lineage": secrets.token_hex(_LINEAGE_BYTES), "secret_checks": ""}
    op.bulk_insert(identity, [{"name": name, "value": value} for name, value in rows.items()])
    version = sa.Column("key_version", sa.Integer, nullable=False, server_default=sa.text("1"))
    op.add_column("users", version)
