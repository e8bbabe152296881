"""Statements about anonymous sessions: who is one, to whom it was linked, and when it expires.

A session is a row of `users`, so its events are stored, listed and encoded as those of a user.
"""

from collections.abc import Collection

from sqlalchemy import Connection, bindparam, delete, select, update

from groundswell.profile_service.store.changes import USER, told_changes
from groundswell.profile_service.store.events import known_events
from groundswell.profile_service.store.statements import insert
from groundswell.profile_service.store.tables import (
    events,
    profile_chunks,
    profiles,
    stale_users,
    users,
    visitors,
)
from groundswell.serving.errors import FailedPrecondition

_ENCODED = (stale_users, profile_chunks, profiles)
"""What the worker makes of a history, in the order in which all transactions lock the tables."""


def mark_written(connection: Connection, user_nos: Collection[int], written_us: int) -> None:
    """Note that sessions got events now. The transaction holds the locks of their users."""
    if not user_nos:
        return
    statement = insert(connection.dialect.name, visitors).on_conflict_do_update(
        index_elements=[visitors.c.user_no], set_={"written_us": written_us}
    )
    rows = [{"user_no": user_no, "written_us": written_us} for user_no in sorted(user_nos)]
    connection.execute(statement, rows)


def link(connection: Connection, session_no: int, user_no: int) -> None:
    """Link a session to a user, until the session expires. The transaction holds the locks of both.

    Raises FailedPrecondition (SESSION_LINKED) when it is linked to another one.
    """
    chosen = visitors.c.user_no == session_no
    linked_to = connection.execute(select(visitors.c.linked_to).where(chosen)).scalar_one()
    if linked_to not in (None, user_no):
        raise FailedPrecondition("SESSION_LINKED", "the session is linked to another user")
    connection.execute(update(visitors).where(chosen).values(linked_to=user_no))


def move_events(connection: Connection, session_no: int, user_no: int, last_sequence: int) -> int:
    """Move a session's events behind the `last_sequence` of a user; return how many were moved.

    The transaction holds the locks of both. An event that the user has too is dropped. Raises
    FailedPrecondition (EVENT_ID_CONFLICT) when the two differ.
    """
    mine = select(events.c.sequence, events.c.event_id).where(events.c.user_no == session_no)
    rows = connection.execute(mine.order_by(events.c.sequence)).all()
    both = [(number, row.event_id) for row in rows for number in (session_no, user_no)]
    known = known_events(connection, both)
    moved: list[dict[str, int]] = []
    for row in rows:
        there = known.get((user_no, row.event_id))
        if there is None:
            moved.append({"old": row.sequence, "new": last_sequence + len(moved) + 1})
        elif there.content != known[session_no, row.event_id].content:
            raise FailedPrecondition(
                "EVENT_ID_CONFLICT", "the user has another event with the id of one of the session"
            )
    if moved:
        chosen = (events.c.user_no == session_no, events.c.sequence == bindparam("old"))
        move = update(events).where(*chosen).values(user_no=user_no, sequence=bindparam("new"))
        connection.execute(move, moved)
        highest = last_sequence + len(moved)
        found = users.c.user_no == user_no
        connection.execute(update(users).where(found).values(last_sequence=highest))
        told_changes(connection).update([(USER, session_no), (USER, user_no)])
        # So that caches learn that the session changed, too.
        same = {"last_sequence": users.c.last_sequence}
        connection.execute(update(users).where(users.c.user_no == session_no).values(same))
    forget(connection, [session_no])
    return len(moved)


def forget(connection: Connection, user_nos: Collection[int]) -> None:
    """Delete the events of users, and what was made of them. The transaction holds their locks."""
    for table in (*_ENCODED, events):
        connection.execute(delete(table).where(table.c.user_no.in_(user_nos)))


def expire(connection: Connection, before_us: int, limit: int) -> int:
    """Delete some sessions that got no event since a time; return how many."""
    due = select(users.c.user_no).join(visitors, visitors.c.user_no == users.c.user_no)
    due = due.where(visitors.c.written_us < before_us).order_by(users.c.user_no).limit(limit)
    # The weaker lock: rows of the worker that refer to a user must not wait for this.
    due = due.with_for_update(of=users, key_share=True, skip_locked=True)
    locked = connection.execute(due).scalars().all()
    # Asked again, now that they are locked: a write may have ended since the statement began.
    still = select(visitors.c.user_no).where(visitors.c.user_no.in_(locked))
    user_nos = connection.execute(still.where(visitors.c.written_us < before_us)).scalars().all()
    if user_nos:
        forget(connection, user_nos)
        for table in (visitors, users):
            connection.execute(delete(table).where(table.c.user_no.in_(user_nos)))
    return len(user_nos)
