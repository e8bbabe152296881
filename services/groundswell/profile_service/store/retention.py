"""Statements that delete events which are too old, user by user."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Connection, and_, delete, exists, func, or_, select, tuple_, update

from groundswell.profile_service.store.changes import USER, changes_made
from groundswell.profile_service.store.erasures import delete_events, with_sessions
from groundswell.profile_service.store.lists import lock_lists
from groundswell.profile_service.store.statements import insert, one_of
from groundswell.profile_service.store.tables import (
    counters,
    events,
    profile_chunks,
    profiles,
    shown_lists,
    stale_users,
    users,
    visitors,
)
from groundswell.profile_service.store.visitors import forget
from groundswell.profile_service.store.work import WorkList

_LEASE, _PLACE = "retention_lease_us", "retention_user"
_STALE = WorkList(stale_users)
_OF_USERS = (stale_users, profile_chunks, profiles, shown_lists, visitors, users)


class OldUsers(NamedTuple):
    """Users with events that are too old, and the last user of the page that was looked at."""

    user_nos: list[int]
    last: int
    """0: there are no more users."""


def take_turn(connection: Connection, now_us: int, until_us: int) -> int | None:
    """Take the lease of the job, and return the last user that is done; None: it is not free."""
    lease = insert(connection.dialect.name, counters).values(name=_LEASE, value=until_us)
    taken = connection.execute(
        lease.on_conflict_do_update(
            index_elements=["name"], set_={"value": until_us}, where=counters.c.value <= now_us
        )
    )
    if not taken.rowcount:
        return None
    place = select(counters.c.value).where(counters.c.name == _PLACE)
    return connection.execute(place).scalar() or 0


def keep_place(connection: Connection, last: int, until_us: int) -> None:
    """Note the last user that is done, and until when the lease is taken."""
    statement = insert(connection.dialect.name, counters)
    statement = statement.on_conflict_do_update(
        index_elements=["name"], set_={"value": statement.excluded.value}
    )
    rows = [{"name": _PLACE, "value": last}, {"name": _LEASE, "value": until_us}]
    connection.execute(statement, rows)


def old_users(connection: Connection, after: int, before_us: int, limit: int) -> OldUsers:
    """Look at the users that follow a number; find those with events of before a time.

    And users who have lost all their events, and stayed for a linked session.
    """
    mine = events.c.user_no == users.c.user_no
    is_visitor = exists().where(visitors.c.user_no == users.c.user_no)
    is_left = and_(users.c.last_sequence > 0, ~exists().where(mine), ~is_visitor)
    old = or_(exists().where(mine, events.c.time_us < before_us), is_left)
    page = select(users.c.user_no, old.label("is_old")).where(users.c.user_no > after)
    rows = connection.execute(page.order_by(users.c.user_no).limit(limit)).all()
    last = rows[-1].user_no if rows else 0
    return OldUsers([row.user_no for row in rows if row.is_old], last)


def prune(
    connection: Connection, user_nos: Collection[int], before_us: int, limit: int, *, marks: bool
) -> int:
    """Delete up to `limit` events of before a time, of some users; return how many.

    What was made of these users' histories goes too, and with `marks` the encoder reads them
    again. A user without events leaves, with all rows and with linked sessions that have none.
    """
    every = [one.user_no for one in with_sessions(connection, user_nos)]
    own = one_of(connection.dialect.name, users.c.user_no, every)
    locked = select(users.c.user_no).where(own).order_by(users.c.user_no)
    connection.execute(locked.with_for_update(key_share=True))
    _STALE.lock(connection, every)
    key = events.c.user_no, events.c.sequence
    old = select(*key).where(events.c.user_no.in_(user_nos), events.c.time_us < before_us)
    first = old.order_by(*key).limit(limit)
    touched = set(connection.execute(select(first.subquery().c.user_no)).scalars())
    num_deleted = delete_events(connection, delete(events).where(tuple_(*key).in_(first)))
    forget(connection, touched, (profile_chunks, profiles))
    newest = select(events.c.user_no, func.max(events.c.sequence))
    newest = newest.where(events.c.user_no.in_(user_nos)).group_by(events.c.user_no)
    staying = dict(map(tuple, connection.execute(newest)))
    changed = {number: staying[number] for number in touched & staying.keys()}
    _renumber(connection, changed)
    if marks:
        read = select(users.c.user_no, users.c.last_sequence).where(users.c.user_no.in_(changed))
        _STALE.mark(connection, dict(map(tuple, connection.execute(read))))
    gone = _leave(connection, set(user_nos) - staying.keys(), every)
    changes_made(connection).update((USER, user_no) for user_no in {*touched, *gone})
    return num_deleted


def _renumber(connection: Connection, newest: dict[int, int]) -> None:
    """Give each user's newest event the next sequence, so that every version of before is known to
    be one; a user's counter stays the sequence of an event."""
    for user_no, sequence in newest.items():
        own = users.c.user_no == user_no
        last = users.c.last_sequence
        counted = update(users).where(own).values(last_sequence=last + 1, pruned_sequence=last)
        connection.execute(counted)
        counter = select(users.c.last_sequence).where(own).scalar_subquery()
        event = update(events).where(events.c.user_no == user_no, events.c.sequence == sequence)
        connection.execute(event.values(sequence=counter))


def _leave(
    connection: Connection, user_nos: Collection[int], locked: Collection[int]
) -> Collection[int]:
    """Delete users without events, and the sessions that are linked to them; return both.

    Those stay who have a session with events, or one that was linked since the users were locked.
    """
    number, linked = visitors.c.user_no, visitors.c.linked_to
    has_events = exists().where(events.c.user_no == number)
    lively = exists().where(
        linked == users.c.user_no, or_(has_events, ~one_of(connection.dialect.name, number, locked))
    )
    free = select(users.c.user_no).where(users.c.user_no.in_(user_nos), ~lively)
    gone = [one.user_no for one in with_sessions(connection, connection.scalars(free).all())]
    if gone:
        lock_lists(connection, gone)
        forget(connection, gone, _OF_USERS)
    return gone
