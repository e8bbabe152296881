"""The first tables: events, items and their texts, profiles, work lists."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table of the first release."""
    counters = op.create_table(
        "counters",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(counters, [{"name": "catalogue_revision", "value": 0}])
    op.create_table(
        "users",
        sa.Column("user_no", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("user_key", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("last_sequence", sa.BigInteger, nullable=False),
    )
    _create_catalogue()
    _create_events()
    _create_profiles()
    _create_work("stale_users", "user_no", "users.user_no")
    _create_work("stale_items", "item_no", "items.item_no")


def _create_catalogue() -> None:
    op.create_table(
        "items",
        sa.Column("item_no", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("item_id", _ID, nullable=False, unique=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("categories", sa.JSON, nullable=False),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.Column("available", sa.Boolean, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False, unique=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "attribute_kinds",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
    )
    op.create_table(
        "item_texts",
        sa.Column("item_no", sa.BigInteger, sa.ForeignKey("items.item_no"), primary_key=True),
        sa.Column("fingerprint", sa.Text, primary_key=True),
        sa.Column("content_hash", sa.LargeBinary, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
    )


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("user_no", sa.BigInteger, sa.ForeignKey("users.user_no"), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("event_id", _ID, nullable=False),
        sa.Column("item_no", sa.BigInteger, sa.ForeignKey("items.item_no"), nullable=False),
        sa.Column("action", sa.SmallInteger, nullable=False),
        sa.Column("value", sa.Double, nullable=True),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("ordinal", sa.BigInteger, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("attribution_token", sa.Text, nullable=False),
        sa.Column("stored_us", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("user_no", "event_id", name="uq_events_user_no_event_id"),
    )
    columns = ["user_no", "time_us", "ordinal", "event_id"]
    op.create_index("ix_events_user_no_time_us_ordinal_event_id", "events", columns)


def _create_profiles() -> None:
    key = (
        ("fingerprint", sa.Text),
        ("chunk_length", sa.Integer),
    )
    op.create_table(
        "profiles",
        sa.Column("user_no", sa.BigInteger, sa.ForeignKey("users.user_no"), primary_key=True),
        *(sa.Column(name, kind, primary_key=True) for name, kind in key),
        sa.Column("covered_sequence", sa.BigInteger, nullable=False),
        sa.Column("covered_us", sa.BigInteger, nullable=False),
        sa.Column("last_event_us", sa.BigInteger, nullable=False),
        sa.Column("num_chunks", sa.Integer, nullable=False),
        sa.Column("tail_length", sa.Integer, nullable=False),
        sa.Column("tail_vector", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "profile_chunks",
        sa.Column("user_no", sa.BigInteger, sa.ForeignKey("users.user_no"), primary_key=True),
        *(sa.Column(name, kind, primary_key=True) for name, kind in key),
        sa.Column("chunk_no", sa.Integer, primary_key=True),
        sa.Column("content_hash", sa.LargeBinary, nullable=False),
        sa.Column("last_time_us", sa.BigInteger, nullable=False),
        sa.Column("last_ordinal", sa.BigInteger, nullable=False),
        sa.Column("last_event_id", _ID, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
    )


def _create_work(name: str, subject: str, target: str) -> None:
    op.create_table(
        name,
        sa.Column(subject, sa.BigInteger, sa.ForeignKey(target), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("marked_us", sa.BigInteger, nullable=False),
        sa.Column("due_us", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
    )
    op.create_index(f"ix_{name}_due_us", name, ["due_us"])
