"""Statements about the events of users."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Connection,
    Select,
    Text,
    and_,
    bindparam,
    func,
    select,
    true,
    tuple_,
)
from sqlalchemy.types import TypeEngine

from groundswell.profile_service.store.identity import identity_columns
from groundswell.profile_service.store.statements import (
    as_json,
    given_parameters,
    given_table,
    read_json,
)
from groundswell.profile_service.store.tables import events, items
from groundswell.profile_service.store.users import (
    UserKeys,
    Users,
    given_users,
    select_users,
)

_NUMBER = BigInteger()
_PLACE: Mapping[str, TypeEngine[Any]] = {
    "user_no": _NUMBER,
    "time_us": _NUMBER,
    "ordinal": _NUMBER,
    "event_id": Text(),
}

OrderKey = tuple[int, int, str]
"""The key that a user's events are ordered by: (time, ordinal, event id)."""
_AFTER_ALL: OrderKey = (2**63 - 1, 0, "")


class EventContent(NamedTuple):
    """The fields of an event that a client sets, without its user and its id."""

    item_id: str
    action: int
    value: float | None
    time_us: int
    ordinal: int
    session_id: str
    attribution_token: str


class EventRow(NamedTuple):
    """What a window needs of an event."""

    item_no: int
    sequence: int
    time_us: int
    action: int
    session_id: str


class KnownEvent(NamedTuple):
    """An event as it is stored."""

    event_id: str
    content: EventContent
    item_no: int
    sequence: int
    stored_us: int


def list_events(
    connection: Connection, keys: UserKeys, before: OrderKey | None, limit: int
) -> tuple[Users, list[KnownEvent]]:
    """Find a user, and their events that come before an order key, newest first, in one statement.

    Raises FailedPrecondition (SECRET_OUTDATED).
    """
    statement = _list_events(connection.dialect.name)
    found, rows = select_users(connection, [keys], statement, _place(before, limit))
    return found, [known_event(row) for row in rows if row.event_id is not None]


def list_rows(
    connection: Connection, keys: UserKeys, before: OrderKey | None, limit: int
) -> tuple[Users, list[EventRow]]:
    """Do as `list_events`, without what a window does not need: it takes a part of the time."""
    statement = _list_rows(connection.dialect.name)
    found, rows = select_users(connection, [keys], statement, _place(before, limit))
    # One row: no user is stored twice.
    return found, [EventRow(*event) for row in rows for event in read_json(row.newest)]


def _place(before: OrderKey | None, limit: int) -> dict[str, Any]:
    time_us, ordinal, event_id = before or _AFTER_ALL
    return {"time_us": time_us, "ordinal": ordinal, "event_id": event_id, "limit": limit}


@cache
def _list_events(dialect: str) -> Select[Any]:
    """Select a row for each event; one row without an event where there is none."""
    found = given_users(dialect).cte("found")
    number = select(found.c.user_no).scalar_subquery()
    newest = _newest(_stored(), number).subquery()
    identity = select(*identity_columns()).subquery()
    rows = identity.outerjoin(found, true()).outerjoin(newest, newest.c.user_no == found.c.user_no)
    columns = (column for column in newest.c if column.name != "user_no")
    ends = (newest.c.time_us.desc(), newest.c.ordinal.desc(), newest.c.event_id.desc())
    return select(found, *columns, identity).select_from(rows).order_by(*ends)


@cache
def _list_rows(dialect: str) -> Select[Any]:
    """Select one row, with the events as JSON."""
    found, identity = given_users(dialect).subquery(), select(*identity_columns()).subquery()
    wanted = select(*(events.c[name] for name in EventRow._fields))
    newest = _newest(wanted, found.c.user_no).correlate(found).subquery()
    newest_json = as_json(dialect, *newest.c).label("newest")
    rows = identity.outerjoin(found, true())
    return select(found, newest_json, identity).select_from(rows)


def _newest(wanted: Any, user_no: Any) -> Any:
    """Select the newest events of a user before a place."""
    order = (events.c.time_us, events.c.ordinal, events.c.event_id)
    place = tuple_(*(bindparam(name, type_=_PLACE[name]) for name in _PLACE if name != "user_no"))
    page = wanted.where(events.c.user_no == user_no, tuple_(*order) < place)
    return page.order_by(*(c.desc() for c in order)).limit(bindparam("limit"))


def newer_events(
    connection: Connection, sequences: Mapping[int, int]
) -> dict[int, tuple[int, int]]:
    """Return (earliest time, highest sequence) of each user's events after the given sequence."""
    columns = {"user_no": _NUMBER, "sequence": _NUMBER}
    after = given_table(connection.dialect.name, columns)
    statement = (
        select(events.c.user_no, func.min(events.c.time_us), func.max(events.c.sequence))
        .join(
            after,
            and_(events.c.user_no == after.c.user_no, events.c.sequence > after.c.sequence),
        )
        .group_by(events.c.user_no)
    )
    rows = connection.execute(statement, given_parameters(sequences.items()))
    return {row[0]: (row[1], row[2]) for row in rows}


def events_from(connection: Connection, places: Mapping[int, OrderKey]) -> Sequence[Any]:
    """Return each user's events from an order key on, ordered by user and by that key.

    Rows of (user_no, item_no, action, session_id, time_us, ordinal, event_id, title).
    """
    rows = [(user_no, *key) for user_no, key in places.items()]
    statement = _events_from(connection.dialect.name)
    return connection.execute(statement, given_parameters(rows)).all()


@cache
def _events_from(dialect: str) -> Select[Any]:
    order = (events.c.time_us, events.c.ordinal, events.c.event_id)
    given = given_table(dialect, _PLACE)
    c = given.c
    columns = (events.c.user_no, events.c.item_no, events.c.action, events.c.session_id)
    return (
        select(*columns, *order, items.c.title)
        .join(
            given,
            and_(
                events.c.user_no == c.user_no,
                tuple_(*order) >= tuple_(c.time_us, c.ordinal, c.event_id),
            ),
        )
        .join(items, items.c.item_no == events.c.item_no)
        .order_by(events.c.user_no, *order)
    )


def place_before(connection: Connection, user_no: int, num_newest: int) -> OrderKey | None:
    """Return the order key of the event just before a user's newest ones; None without one."""
    order = (events.c.time_us, events.c.ordinal, events.c.event_id)
    statement = select(*order).where(events.c.user_no == user_no)
    statement = statement.order_by(*(column.desc() for column in order))
    row = connection.execute(statement.offset(num_newest).limit(1)).one_or_none()
    return None if row is None else (row.time_us, row.ordinal, row.event_id)


def _stored() -> Any:
    return select(events, items.c.item_id).join(items, items.c.item_no == events.c.item_no)


def known_event(row: Any) -> KnownEvent:
    """Read an event from a row of `events` with the id of its item."""
    content = EventContent(
        row.item_id,
        row.action,
        row.value,
        row.time_us,
        row.ordinal,
        row.session_id,
        row.attribution_token,
    )
    return KnownEvent(row.event_id, content, row.item_no, row.sequence, row.stored_us)
