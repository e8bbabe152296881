"""The tables of the profile service."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Ids are compared byte by byte, as everywhere else in the suite; PostgreSQL would use a language.
_Id = Text().with_variant(Text(collation="C"), "postgresql")
# SQLite gives out numbers by itself only for a column that is called INTEGER.
_Number = BigInteger().with_variant(Integer(), "sqlite")

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""The catalogue's revision, which is given out in commit order: the row is locked by the writing
transaction. Also the last user up to whom an unfinished rebuild is done."""

identity = Table(
    "identity",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
"""The identity of this database.

`lineage`: 32 hexadecimal digits, new after every restore from a backup. `secret_checks`: what tells
each secret that users were ever stored under, oldest first, separated by spaces; their number is
the version of the keys of new users.
"""

users = Table(
    "users",
    metadata,
    Column("user_no", _Number, primary_key=True, autoincrement=True),
    Column("user_key", LargeBinary, nullable=False, unique=True),
    Column("last_sequence", BigInteger, nullable=False),
    Column("key_version", Integer, nullable=False, server_default=text("1")),
    Column("erased_us", BigInteger, nullable=True),
    Column("pruned_sequence", BigInteger, nullable=True),
    sqlite_autoincrement=True,
)
"""Users by pseudonym; `last_sequence` is the counter of a user's events, `key_version` the number
of secrets that the key was made with. No number is given twice: it names the user's history.

`erased_us`: an erasure before this history; events up to it are refused. `pruned_sequence`: the
counter when the oldest events were last deleted.
"""

visitors = Table(
    "visitors",
    metadata,
    Column(
        "user_no", BigInteger, ForeignKey("users.user_no"), primary_key=True, autoincrement=False
    ),
    Column("written_us", BigInteger, nullable=False),
    Column("linked_to", BigInteger, nullable=True),
    Index(None, "written_us"),
    Index(None, "linked_to"),
)
"""The users that are anonymous sessions: when they last got an event, and the `user_no` of the user
that they were linked to."""

items = Table(
    "items",
    metadata,
    Column("item_no", _Number, primary_key=True, autoincrement=True),
    Column("item_id", _Id, nullable=False, unique=True),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("categories", JSON, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("available", Boolean, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("available_from_us", BigInteger, nullable=True),
    Column("available_until_us", BigInteger, nullable=True),
    Column("created_us", BigInteger, nullable=True),
    Index(None, "revision"),
    sqlite_autoincrement=True,
)
"""All items; a deleted item keeps its row, and so its number.

`revision` is unique, but not declared so: an update of a column that a foreign key could name takes
a lock that conflicts with every check of a foreign key, here that of `events`.
"""

staged_items = Table(
    "staged_items",
    metadata,
    Column("stage", Text, primary_key=True),
    Column("item_id", _Id, primary_key=True),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("categories", JSON, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("available", Boolean, nullable=False),
    Column("available_from_us", BigInteger, nullable=True),
    Column("available_until_us", BigInteger, nullable=True),
)
"""Items as their stage will make them. New ones are in `items` too, as deleted ones,
so that they have numbers and the encoder reads them."""

stages = Table(
    "stages",
    metadata,
    Column("stage", Text, primary_key=True),
    Column("kinds", JSON, nullable=False),
    Column("changed_us", BigInteger, nullable=False, index=True),
)
"""Each stage with the kinds of its attributes that `attribute_kinds` lacked, and when items were
last put into it."""

attribute_kinds = Table(
    "attribute_kinds",
    metadata,
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),
)
"""The kind that each attribute was first written with."""

item_texts = Table(
    "item_texts",
    metadata,
    Column("item_no", BigInteger, ForeignKey("items.item_no"), primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("content_hash", LargeBinary, nullable=False),
    Column("vector", LargeBinary, nullable=False),
)
"""The text encoder's vector of each item, float32, per encoder."""

events = Table(
    "events",
    metadata,
    Column("user_no", BigInteger, ForeignKey("users.user_no"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("event_id", _Id, nullable=False),
    Column("item_no", BigInteger, ForeignKey("items.item_no"), nullable=False),
    Column("action", SmallInteger, nullable=False),
    Column("value", Double, nullable=True),
    Column("time_us", BigInteger, nullable=False),
    Column("ordinal", BigInteger, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("attribution_token", Text, nullable=False),
    Column("stored_us", BigInteger, nullable=False),
    UniqueConstraint("user_no", "event_id"),
    Index(None, "user_no", "time_us", "ordinal", "event_id"),
    Index(
        "ix_events_attributed",
        "stored_us",
        postgresql_where=text("attribution_token <> ''"),
        sqlite_where=text("attribution_token <> ''"),
    ),
    Index(
        "ix_events_of_list",
        text("substr(attribution_token, 1, 32)"),
        postgresql_where=text("attribution_token <> ''"),
        sqlite_where=text("attribution_token <> ''"),
    ),
)
"""The log of events. Those with an attribution token are found by the id of the list in it.

The release before finds them by when they were stored; the next one drops that index.
"""

profiles = Table(
    "profiles",
    metadata,
    Column("user_no", BigInteger, ForeignKey("users.user_no"), primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("chunk_length", Integer, primary_key=True),
    Column("covered_sequence", BigInteger, nullable=False),
    Column("covered_us", BigInteger, nullable=False),
    Column("last_event_us", BigInteger, nullable=False),
    Column("num_chunks", Integer, nullable=False),
    Column("recent", LargeBinary, nullable=True),
    Column("tail_length", Integer, nullable=True),
    Column("tail_vector", LargeBinary, nullable=True),
)
"""The input of the profile head for each user, besides the chunks.

`recent` are the newest events, laid out as in the module `recent`; null where a release wrote the
row that knew none: the worker covers such a row again. That release writes `tail_length` and
`tail_vector`, and leaves `recent` as it is; this one writes null there. A later one drops the two.
"""

profile_chunks = Table(
    "profile_chunks",
    metadata,
    Column("user_no", BigInteger, ForeignKey("users.user_no"), primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("chunk_length", Integer, primary_key=True),
    Column("chunk_no", Integer, primary_key=True),
    Column("content_hash", LargeBinary, nullable=False),
    Column("last_time_us", BigInteger, nullable=False),
    Column("last_ordinal", BigInteger, nullable=False),
    Column("last_event_id", _Id, nullable=False),
    Column("vector", LargeBinary, nullable=False),
)
"""The full chunks of each history, float16, and where each ends: each is encoded once."""


def _work(name: str, subject: str, target: str) -> Table:
    return Table(
        name,
        metadata,
        Column(subject, BigInteger, ForeignKey(target), primary_key=True),
        Column("version", BigInteger, nullable=False),
        Column("marked_us", BigInteger, nullable=False),
        Column("due_us", BigInteger, nullable=False),
        Column("owner", Text, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("lost_claims", Integer, nullable=False, server_default="0"),
        Index(None, "due_us"),
    )


stale_users = _work("stale_users", "user_no", "users.user_no")
"""Users with events that their profile does not cover; `version` is their newest sequence.

A row is claimed by moving `due_us` to the end of the lease and writing the worker into `owner`.
`attempt` counts claims since the last success; `lost_claims` those whose worker ended without
releasing them.
"""

stale_items = _work("stale_items", "item_no", "items.item_no")
"""Items whose text has no vector yet; `version` is the revision that made them stale."""

shown_lists = Table(
    "shown_lists",
    metadata,
    Column("recommendation_id", _Id, primary_key=True),
    Column("user_no", BigInteger, nullable=True),
    Column("bundle_id", Text, nullable=False),
    Column("variant", Text, nullable=False),
    Column("fusion_weight", Double, nullable=True),
    Column("draw", SmallInteger, nullable=False),
    Column("propensity", Double, nullable=False),
    Column("item_nos", LargeBinary, nullable=False),
    Column("confirmed", Boolean, nullable=False),
    Index(None, "user_no", "recommendation_id"),
    sqlite_with_rowid=False,
)
"""The lists that Recommend answered with, in the order of time, since their ids begin with it.

`user_no` is null for a list that belongs to nobody. It is no foreign key: a check of it would wait
for whoever has locked the user. `item_nos` are int64, best first; `confirmed` says that a backend
named them as shown. `draw` and `propensity` are those of `serving.attribution`.
"""

item_popularity = Table(
    "item_popularity",
    metadata,
    Column("item_no", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Double, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Index(None, "revision", "item_no"),
)
"""The popularity of each item (see `features.popularity_values`).

The counter `popularity_revision` is locked by the transaction that writes; other counters say what
the values are made of.
"""
