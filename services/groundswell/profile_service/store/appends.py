"""Statements of a write of events: one looks up what it needs, one stores it."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, Select, Text, Update, and_, bindparam, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from groundswell.profile_service.store.changes import USER, changes_made
from groundswell.profile_service.store.events import KnownEvent, known_event
from groundswell.profile_service.store.marks import MARKED, given_marks, mark_statement
from groundswell.profile_service.store.statements import given_parameters, given_table, insert
from groundswell.profile_service.store.tables import events, items, stale_users, users, visitors
from groundswell.profile_service.store.work import WorkList

_NUMBER, _TEXT = BigInteger(), Text()
_ASKED: dict[str, TypeEngine[Any]] = {"user_no": _NUMBER, "event_id": _TEXT, "item_id": _TEXT}
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


def look_up(connection: Connection, asked: Collection[tuple[int, str, str]]) -> Stored:
    """Look up some (user_no, event_id, item_id); the transaction holds the locks of the users.

    An event of an anonymous session may have moved to the user that the session is linked to.
    """
    statement = _look_up(connection.dialect.name)
    stored = Stored({}, {})
    for row in connection.execute(statement, given_parameters(asked)):
        if row.asked_item_no is not None:
            stored.item_numbers[row.asked_item_id] = row.asked_item_no, row.deleted
        if row.sequence is not None:
            key = row.asker_no, row.event_id
            # The session's own event comes first.
            if row.user_no == row.asker_no or key not in stored.events:
                stored.events[key] = row.user_no, known_event(row)
    return stored


@cache
def _look_up(dialect: str) -> Select[Any]:
    asked = given_table(dialect, _ASKED)
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
    rows: Sequence[Mapping[str, Any]],
    *,
    sessions: Collection[int],
    stored_us: int,
    marks: bool,
) -> None:
    """Store events, and move each user's counter to the highest sequence among them.

    Also note that `sessions`, those of the users that are anonymous sessions, got events, and with
    `marks` make all of the users stale. The transaction holds the locks of the users.
    """
    if not rows:
        return
    ordered = sorted(rows, key=itemgetter("user_no", "sequence"))
    highest = {row["user_no"]: row["sequence"] for row in ordered}
    changes_made(connection).update((USER, number) for number in highest)
    counts = given_parameters(highest.items(), MARKED)
    dialect = connection.dialect.name
    if dialect == "sqlite":
        # Through JSON a number with a fraction would not come unchanged.
        connection.execute(insert(dialect, events), ordered)
        connection.execute(_count_up(dialect), counts)
        if marks:
            _STALE.mark(connection, highest)
        mark_written(connection, sessions, stored_us)
        return
    values = [tuple(row[name] for name in _ROWS) for row in ordered]
    connection.execute(
        _store(marks, bool(sessions)),
        given_parameters(values, _NEW) | counts | _written_parameters(sessions, stored_us),
    )


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
