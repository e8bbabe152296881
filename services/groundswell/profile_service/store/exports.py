"""Statements that read everything that is stored of a user."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Table, select, tuple_

from groundswell.profile_service.store.events import KnownEvent, known_event
from groundswell.profile_service.store.statements import among
from groundswell.profile_service.store.tables import (
    events,
    items,
    profile_chunks,
    profiles,
    shown_lists,
    stale_users,
    users,
    visitors,
)

Key = tuple[Any, ...]
"""Where a page ends: the primary key of its last row, without the user's number."""


def read_user(connection: Connection, user_no: int) -> Any:
    """Return a user's row, with that of the session (`written_us`) and of the waiting work
    (`waits`); None for one who left meanwhile."""
    columns = (*users.c, visitors.c.written_us, visitors.c.linked_to)
    joined = users.outerjoin(visitors, visitors.c.user_no == users.c.user_no)
    joined = joined.outerjoin(stale_users, stale_users.c.user_no == users.c.user_no)
    statement = select(*columns, stale_users.c.version.label("waits")).select_from(joined)
    return connection.execute(statement.where(users.c.user_no == user_no)).one_or_none()


def events_after(connection: Connection, user_no: int, last: int, limit: int) -> list[KnownEvent]:
    """Return a user's events after a sequence, by sequence."""
    statement = select(events, items.c.item_id).join(items, items.c.item_no == events.c.item_no)
    statement = statement.where(events.c.user_no == user_no, events.c.sequence > last)
    return [
        known_event(row)
        for row in connection.execute(statement.order_by(events.c.sequence).limit(limit))
    ]


def profiles_of(connection: Connection, user_no: int) -> Sequence[Any]:
    """Return a user's rows of profiles."""
    return connection.execute(select(profiles).where(profiles.c.user_no == user_no)).all()


def chunks_after(
    connection: Connection, user_no: int, last: Key | None, limit: int
) -> Sequence[Any]:
    """Return a user's chunks after a (fingerprint, chunk_length, chunk_no), in that order."""
    return _page(connection, profile_chunks, user_no, last, limit)


def lists_after(
    connection: Connection, user_no: int, last: Key | None, limit: int
) -> Sequence[Any]:
    """Return a user's shown lists after a (recommendation_id,), in that order."""
    return _page(connection, shown_lists, user_no, last, limit)


def item_ids(connection: Connection, item_nos: Collection[int]) -> dict[int, str]:
    """Return the ids of items by their numbers."""
    chosen = among(connection.dialect.name, items.c.item_no, "numbers")
    rows = connection.execute(
        select(items.c.item_no, items.c.item_id).where(chosen), {"numbers": list(item_nos)}
    )
    return {row.item_no: row.item_id for row in rows}


def _page(
    connection: Connection, table: Table, user_no: int, last: Key | None, limit: int
) -> Sequence[Any]:
    key = list(_key_columns(table))
    statement = select(table).where(table.c.user_no == user_no)
    if last is not None:
        statement = statement.where(tuple_(*key) > tuple_(*last))
    return connection.execute(statement.order_by(*key).limit(limit)).all()


def _key_columns(table: Table) -> Iterator[Any]:
    return (column for column in table.primary_key.columns if column.name != "user_no")
