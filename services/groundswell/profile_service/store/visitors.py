"""Statements about anonymous sessions: who is one, to whom it was linked, and when it expires.

A session is a row of `users`, so its events are stored, listed and encoded as those of a user.
"""

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, Table, and_, case, delete, exists, func, or_, select, update

from groundswell.profile_service.store.changes import USER, changes_made
from groundswell.profile_service.store.lists import drop_unknown, give_lists, lock_lists
from groundswell.profile_service.store.statements import one_of
from groundswell.profile_service.store.tables import (
    events,
    profile_chunks,
    profiles,
    shown_lists,
    stale_users,
    users,
    visitors,
)
from groundswell.profile_service.store.users import NEVER_ERASED
from groundswell.profile_service.store.work import WorkList
from groundswell.serving.errors import FailedPrecondition

_ENCODED = (stale_users, profile_chunks, profiles)
"""The tables of what the worker makes of a history, in the order in which all lock them."""
_STALE = WorkList(stale_users)
_CONTENT = ("item_no", "action", "value", "time_us", "ordinal", "session_id", "attribution_token")
"""The columns of an event that a client sets, besides its id."""


def link(connection: Connection, session_no: int, user_no: int, erased_us: int) -> None:
    """Link a session to a user, who gets its shown lists, until the session expires.

    The transaction holds the locks of both. Lists up to an erasure of the user are deleted.

    Raises FailedPrecondition (SESSION_LINKED) when it is linked to another one.
    """
    chosen = visitors.c.user_no == session_no
    linked_to = connection.execute(select(visitors.c.linked_to).where(chosen)).scalar_one()
    if linked_to not in (None, user_no):
        raise FailedPrecondition("SESSION_LINKED", "the session is linked to another user")
    connection.execute(update(visitors).where(chosen).values(linked_to=user_no))
    give_lists(connection, session_no, user_no, erased_us)


def check_same(connection: Connection, session_no: int, user_no: int, last: int) -> None:
    """Check the events of a session up to a sequence whose ids the user has, too.

    The transaction holds the locks of both. Raises FailedPrecondition (EVENT_ID_CONFLICT) when the
    two differ.
    """
    own, other = events.alias(), events.alias()
    both = and_(other.c.user_no == user_no, other.c.event_id == own.c.event_id)
    differ = or_(*(own.c[name].is_distinct_from(other.c[name]) for name in _CONTENT))
    mine = own.c.user_no == session_no, own.c.sequence <= last
    statement = select(own.c.sequence).join(other, both).where(*mine, differ).limit(1)
    if connection.execute(statement).first() is not None:
        raise FailedPrecondition(
            "EVENT_ID_CONFLICT", "the user has another event with the id of one of the session"
        )


def last_of_part(connection: Connection, session_no: int, limit: int) -> int:
    """Return the last sequence of a session's first events, at most `limit`; 0 without any."""
    mine = select(events.c.sequence).where(events.c.user_no == session_no)
    part = mine.order_by(events.c.sequence).limit(limit).subquery()
    return connection.execute(select(func.max(part.c.sequence))).scalar_one() or 0


def move_events(
    connection: Connection,
    session_no: int,
    user_no: int,
    last: int,
    last_sequence: int,
    erased_us: int = NEVER_ERASED,
) -> int:
    """Move a session's events up to `last` behind the `last_sequence` of a user; return how many.

    The transaction holds the locks of both. An event that the user has too is dropped, and so is
    one of a time up to an erasure of the user.
    """
    _STALE.lock(connection, [session_no, user_no])
    own, other = events.alias(), events.alias()
    both = and_(other.c.user_no == user_no, other.c.event_id == own.c.event_id)
    place = last_sequence + func.row_number().over(order_by=own.c.sequence)
    mine_now = (own.c.user_no == session_no, own.c.sequence <= last)
    moving = (*mine_now, own.c.time_us > erased_us, ~exists().where(both))
    new = select(own.c.sequence, place.label("place")).where(*moving).subquery("new")
    mine = events.c.user_no == session_no
    move = update(events).where(mine, events.c.sequence == new.c.sequence)
    num_moved = connection.execute(move.values(user_no=user_no, sequence=new.c.place)).rowcount
    connection.execute(delete(events).where(mine, events.c.sequence <= last))
    forget(connection, [session_no], _ENCODED)
    changes_made(connection).update([(USER, session_no), (USER, user_no)])
    # Both, so that every cache learns of it.
    added = case((users.c.user_no == user_no, num_moved), else_=0)
    changed = update(users).where(users.c.user_no.in_([session_no, user_no]))
    connection.execute(changed.values(last_sequence=users.c.last_sequence + added))
    return num_moved


def drop_erased(connection: Connection, session_no: int, user_no: int, *, comes_late: bool) -> None:
    """Delete what a link left of a session and a user, so that no pseudonym of before comes back.

    One of them was erased, and the transaction holds the locks of both and has moved all events.
    The session goes when its link `comes_late`, after its erasure; and with the user when nothing
    is held of that.
    """
    other = visitors.c.linked_to == user_no, visitors.c.user_no != session_no
    empty = (
        users.c.user_no == user_no,
        users.c.last_sequence == 0,
        ~exists().where(shown_lists.c.user_no == user_no),
        ~exists().where(*other),
    )
    is_empty = connection.execute(select(users.c.user_no).where(*empty)).first() is not None
    if comes_late or is_empty:
        forget(connection, [session_no], (visitors, users))
        drop_unknown(connection, {user_no})


def num_gone(connection: Connection, user_nos: Collection[int]) -> dict[int, int]:
    """Return how many events left users: by retention, and of linked sessions by their links."""
    stored = select(func.count()).where(events.c.user_no == users.c.user_no).scalar_subquery()
    is_linked = exists().where(
        visitors.c.user_no == users.c.user_no, visitors.c.linked_to.is_not(None)
    )
    statement = select(users.c.user_no, users.c.last_sequence - stored)
    lost_some = or_(users.c.pruned_sequence.is_not(None), is_linked)
    rows = connection.execute(statement.where(users.c.user_no.in_(user_nos), lost_some))
    return dict(map(tuple, rows))


def forget(connection: Connection, user_nos: Collection[int], tables: Iterable[Table]) -> None:
    """Delete the rows of users in some tables. The transaction holds the users' locks."""
    for table in tables:
        connection.execute(
            delete(table).where(one_of(connection.dialect.name, table.c.user_no, user_nos))
        )


def expire(connection: Connection, before_us: int, limit: int) -> int:
    """Delete some sessions that got no event since a time; return how many.

    A user of whom no more than the link was known leaves with its last session.
    """
    due = select(users.c.user_no).join(visitors, visitors.c.user_no == users.c.user_no)
    due = due.where(visitors.c.written_us < before_us).order_by(users.c.user_no).limit(limit)
    # The weaker lock: rows of the worker that refer to a user must not wait for this.
    due = due.with_for_update(of=users, key_share=True, skip_locked=True)
    locked = connection.execute(due).scalars().all()
    # Asked again, now that they are locked: a write may have ended since the statement began.
    still = select(visitors.c.user_no, visitors.c.linked_to).where(visitors.c.user_no.in_(locked))
    rows = connection.execute(still.where(visitors.c.written_us < before_us)).all()
    if rows:
        user_nos = [row.user_no for row in rows]
        _STALE.lock(connection, user_nos)
        lock_lists(connection, user_nos)
        forget(connection, user_nos, (*_ENCODED, events, shown_lists, visitors, users))
        drop_unknown(connection, {row.linked_to for row in rows if row.linked_to is not None})
    return len(rows)
