"""Statements of a write of events: one looks up what it needs, one stores it."""

from collections.abc import Collection, Iterable
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    Connection,
    Select,
    Text,
    Update,
    and_,
    bindparam,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from groundswell.profile_service.store.changes import USER, changes_made
from groundswell.profile_service.store.events import KnownEvent, known_event
from groundswell.profile_service.store.marks import MARKED, given_marks, mark_statement
from groundswell.profile_service.store.statements import (
    given_parameters,
    given_table,
    insert,
    insert_rows,
)
from groundswell.profile_service.store.tables import events, items, stale_users, users, visitors
from groundswell.profile_service.store.together import BoundStatement, run_together
from groundswell.profile_service.store.users import (
    LockedUsers,
    UserKeys,
    lock_query,
    lock_users,
    locked_users,
)
from groundswell.profile_service.store.work import WorkList

_NUMBER, _TEXT = BigInteger(), Text()
_ASKED: dict[str, TypeEngine[Any]] = {"user_no": _NUMBER, "event_id": _TEXT, "item_id": _TEXT}
_ASKED_BY_KEY: dict[str, TypeEngine[Any]] = dict.fromkeys(
    ("user_key", "event_id", "item_id"), _TEXT
)
_SESSIONS: dict[str, TypeEngine[Any]] = {"session_no": _NUMBER}
_ROWS: dict[str, TypeEngine[Any]] = {column.name: column.type for column in events.columns}
_STALE = WorkList(stale_users)
_NEW, _WRITTEN = "new_events", "sessions"


class Stored(NamedTuple):
    """What is stored already of the events of a write."""

    item_numbers: dict[str, tuple[int, bool]]
    """(item_no, deleted) of the items that were ever written, by id."""
    events: dict[tuple[int, str], tuple[int, KnownEvent]]
    """By (user_no, event_id): whose event it is now, and the event."""


def lock_and_look_up(
    connection: Connection, asked: Collection[tuple[UserKeys, str, str]], *, wait: bool
) -> tuple[LockedUsers, Stored]:
    """Lock users (see `lock_users`), and look up some (keys of the user, event_id, item_id).

    An event of an anonymous session may have moved to the user that the session is linked to.
    """
    keys = {user for user, _, _ in asked}
    dialect = connection.dialect.name
    statement = _look_up(dialect)
    if dialect == "sqlite":
        locked = lock_users(connection, keys)
        numbers = locked.users.by_key
        given = [
            (numbers[user[-1]].user_no if user[-1] in numbers else 0, *rest)
            for user, *rest in asked
        ]
        return locked, _stored(connection.execute(statement, given_parameters(given)).all())
    given_keys = [(key.hex(), *rest) for user, *rest in asked for key in user]
    # The second statement sees what was committed before the locks were given.
    locking, found = run_together(
        connection,
        lock_query(keys, wait=wait),
        BoundStatement(statement, given_parameters(given_keys) | {"num": len(given_keys)}),
    )
    return locked_users(locking, keys), _stored(found)


def _stored(rows: Iterable[Any]) -> Stored:
    stored = Stored({}, {})
    for row in rows:
        if row.asked_item_no is not None:
            stored.item_numbers[row.asked_item_id] = row.asked_item_no, row.deleted
        if row.sequence is not None:
            key = row.asker_no, row.event_id
            # The session's own event comes first.
            if row.user_no == row.asker_no or key not in stored.events:
                stored.events[key] = row.user_no, known_event(row)
    return stored


def _asked(dialect: str) -> CTE:
    """Return the table of (user_no, event_id, item_id) that are asked for.

    PostgreSQL finds the users by key, so that the statement need not wait for their numbers. The
    limit, the number of all rows, is for its plan: without it the server expects a hundred rows,
    and reads all items of a small catalogue to find one.
    """
    if dialect == "sqlite":
        return given_table(dialect, _ASKED)
    given = given_table(dialect, _ASKED_BY_KEY)
    of_user = users.c.user_key == func.decode(given.c.user_key, "hex")
    columns = users.c.user_no, given.c.event_id, given.c.item_id
    rows = select(*columns).select_from(given.outerjoin(users, of_user))
    return rows.limit(bindparam("num", type_=_NUMBER)).cte("sent")


@cache
def _look_up(dialect: str) -> Select[Any]:
    asked = _asked(dialect)
    mine = select(asked, asked.c.user_no.label("owner_no"))
    of_session = visitors.c.user_no == asked.c.user_no, visitors.c.linked_to.is_not(None)
    moved = select(asked, visitors.c.linked_to).join(visitors, and_(*of_session))
    every = mine.union_all(moved).cte("asked")
    c = every.c
    item = items.alias()
    same = and_(events.c.user_no == c.owner_no, events.c.event_id == c.event_id)
    joined = (
        every.outerjoin(item, item.c.item_id == c.item_id)
        .outerjoin(events, same)
        .outerjoin(items, items.c.item_no == events.c.item_no)
    )
    return select(
        c.user_no.label("asker_no"),
        c.item_id.label("asked_item_id"),
        item.c.item_no.label("asked_item_no"),
        item.c.deleted,
        events,
        items.c.item_id,
    ).select_from(joined)


def store_events(
    connection: Connection,
    new: Collection[tuple[int, KnownEvent]],
    *,
    sessions: Collection[int],
    stored_us: int,
    marks: bool,
) -> None:
    """Store (user_no, event), and move each user's counter to the highest sequence among them.

    Also note that `sessions`, those of the users that are anonymous sessions, got events, and with
    `marks` make all of the users stale. The transaction holds the locks of the users. Over
    PostgreSQL it is committed too.
    """
    if not new:
        return
    rows = sorted(_row(user_no, event) for user_no, event in new)
    highest = {row[0]: row[1] for row in rows}
    changes_made(connection).update((USER, number) for number in highest)
    counts = given_parameters(highest.items(), MARKED)
    dialect = connection.dialect.name
    if dialect == "sqlite":
        # Through JSON a number with a fraction would not come unchanged.
        insert_rows(connection, events, list(_ROWS), rows)
        connection.execute(_count_up(dialect), counts)
        if marks:
            _STALE.mark(connection, highest)
        mark_written(connection, sessions, stored_us)
        return
    given = given_parameters(rows, _NEW) | counts | _written_parameters(sessions, stored_us)
    run_together(connection, BoundStatement(_store(marks, bool(sessions)), given), commit=True)


def _row(user_no: int, event: KnownEvent) -> tuple[Any, ...]:
    """Return the columns of `events`, in their order."""
    _, *content = event.content
    return user_no, event.sequence, event.event_id, event.item_no, *content, event.stored_us


@cache
def _store(marks: bool, sessions: bool) -> postgresql.Insert:
    """All that PostgreSQL does for a write, as one statement."""
    dialect = "postgresql"
    new = given_table(dialect, _ROWS, _NEW)
    statement = insert(dialect, events).from_select(list(_ROWS), select(new))
    statement = statement.add_cte(_count_up(dialect).cte("counted"))
    if marks:
        statement = statement.add_cte(
            mark_statement(dialect, stale_users, again=False, behind=False).cte("stale")
        )
    if sessions:
        statement = statement.add_cte(_mark_written(dialect).cte("noted"))
    return statement


@cache
def _count_up(dialect: str) -> Update:
    given = given_marks(dialect).c
    statement = update(users).where(users.c.user_no == given.subject)
    return statement.values(last_sequence=given.version)


def mark_written(connection: Connection, sessions: Collection[int], written_us: int) -> None:
    """Note that sessions got events now. The transaction holds the locks of their users."""
    if sessions:
        parameters = _written_parameters(sessions, written_us)
        connection.execute(_mark_written(connection.dialect.name), parameters)


def _written_parameters(sessions: Collection[int], written_us: int) -> dict[str, Any]:
    given = given_parameters([(number,) for number in sorted(sessions)], _WRITTEN)
    return {**given, "written_us": written_us}


@cache
def _mark_written(dialect: str) -> postgresql.Insert:
    given = given_table(dialect, _SESSIONS, _WRITTEN).c.session_no
    rows = select(given, bindparam("written_us", type_=BigInteger)).order_by(given)
    statement = insert(dialect, visitors).from_select(["user_no", "written_us"], rows)
    return statement.on_conflict_do_update(
        index_elements=[visitors.c.user_no], set_={"written_us": statement.excluded.written_us}
    )
