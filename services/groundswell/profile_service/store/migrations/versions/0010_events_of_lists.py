"""Find the events that came of a list by the list's id, so that outcomes are read list by list."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_ATTRIBUTED = sa.text("attribution_token <> ''")


def upgrade() -> None:
    """Make the index."""
    op.create_index(
        "ix_events_of_list",
        "events",
        [sa.text("substr(attribution_token, 1, 32)")],
        postgresql_where=_ATTRIBUTED,
        sqlite_where=_ATTRIBUTED,
    )
