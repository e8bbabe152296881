"""Statements of a rebuild of all profiles: its users, its progress, and what may be stored."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, and_, func, select

from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.store.statements import among, insert
from groundswell.profile_service.store.tables import counters, events, items, stale_users, users


class UserPage(NamedTuple):
    """Some users in the order of their numbers."""

    user_nos: list[int]
    keys: list[bytes]


class KnownTitle(NamedTuple):
    """What a history reads of an item."""

    item_no: int
    title: str


_WITH_NEWEST = users.join(
    events, and_(events.c.user_no == users.c.user_no, events.c.sequence == users.c.last_sequence)
)
"""Users with events. A session whose events were all moved to a user keeps only its counter."""


def page_of_users(connection: Connection, after: int, limit: int) -> UserPage:
    """Return the users with events that follow a number."""
    found = select(users.c.user_no, users.c.user_key).select_from(_WITH_NEWEST)
    found = found.where(users.c.user_no > after).order_by(users.c.user_no).limit(limit)
    rows = connection.execute(found).all()
    return UserPage([row.user_no for row in rows], [row.user_key for row in rows])


def count_users(connection: Connection, after: int) -> tuple[int, int]:
    """Count the users with events: all of them, and those that follow a number."""
    following = func.count().filter(users.c.user_no > after)
    counted = select(func.count(), following).select_from(_WITH_NEWEST)
    row = connection.execute(counted).one()
    return row[0], row[1]


def newest_sequences(connection: Connection, user_nos: Collection[int]) -> dict[int, int]:
    """Return the newest sequence of each user; users without events have none."""
    found = among(connection.dialect.name, users.c.user_no, "numbers")
    statement = select(events.c.user_no, events.c.sequence)
    statement = statement.select_from(_WITH_NEWEST).where(found)
    rows = connection.execute(statement, {"numbers": list(user_nos)})
    return {row.user_no: row.sequence for row in rows}


def event_ids(connection: Connection, user_nos: Collection[int]) -> dict[int, set[str]]:
    """Return the ids of all events of each user."""
    found = among(connection.dialect.name, events.c.user_no, "numbers")
    statement = select(events.c.user_no, events.c.event_id).where(found)
    ids: dict[int, set[str]] = {user_no: set() for user_no in user_nos}
    for row in connection.execute(statement, {"numbers": list(user_nos)}):
        ids[row.user_no].add(row.event_id)
    return ids


def lock_unchanged(connection: Connection, read: Mapping[int, int]) -> set[int]:
    """Return the users whose newest sequence is still the given one, locked until the end.

    Until then nobody appends to them, and no worker stores what it made of them.
    """
    for column in (users.c.user_no, stale_users.c.user_no):
        chosen = among(connection.dialect.name, column, "numbers")
        # The weaker lock: rows that refer to a user must not wait for this.
        locked = select(column).where(chosen).order_by(column).with_for_update(key_share=True)
        connection.execute(locked, {"numbers": list(read)})
    # A statement of its own: it must see what was committed before the locks were given.
    newest = newest_sequences(connection, read)
    return {n for n, sequence in read.items() if newest.get(n) == sequence}


def titles(connection: Connection, item_ids: Collection[str]) -> dict[str, KnownTitle]:
    """Return the number and the title of the items that were ever written, by id."""
    found: Select[Any] = select(items.c.item_id, items.c.item_no, items.c.title)
    chosen = among(connection.dialect.name, items.c.item_id, "ids")
    rows = connection.execute(found.where(chosen), {"ids": list(item_ids)})
    return {row.item_id: KnownTitle(row.item_no, row.title) for row in rows}


def progress(connection: Connection, spec: Spec) -> int:
    """Return the last user of an unfinished rebuild up to whom all are done; 0 without one."""
    found = select(counters.c.value).where(counters.c.name == _name(spec))
    return connection.execute(found).scalar_one_or_none() or 0


def keep_progress(connection: Connection, spec: Spec, last: int) -> None:
    """Keep up to which user all are done."""
    statement = insert(connection.dialect.name, counters).values(name=_name(spec), value=last)
    statement = statement.on_conflict_do_update(
        index_elements=[counters.c.name], set_={"value": statement.excluded.value}
    )
    connection.execute(statement)


def forget_progress(connection: Connection, spec: Spec) -> None:
    """Note that the rebuild is complete."""
    connection.execute(counters.delete().where(counters.c.name == _name(spec)))


def _name(spec: Spec) -> str:
    return f"rebuild {spec.chunk_length} {spec.fingerprint}"
