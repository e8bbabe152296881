"""Statements about the events of users."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Select,
    Text,
    Update,
    and_,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy.types import TypeEngine

from groundswell.profile_service.store.changes import USER, told_changes
from groundswell.profile_service.store.statements import (
    among,
    given_parameters,
    given_rows,
    given_table,
    insert_rows,
)
from groundswell.profile_service.store.tables import events, items, users

_NUMBER, _TEXT = BigInteger(), Text()

OrderKey = tuple[int, int, str]
"""The key that a user's events are ordered by: (time, ordinal, event id)."""


@dataclass(frozen=True, slots=True)
class EventContent:
    """The fields of an event that a client sets, without its user and its id."""

    item_id: str
    action: int
    value: float | None
    time_us: int
    ordinal: int
    session_id: str
    attribution_token: str


@dataclass(frozen=True, slots=True)
class KnownEvent:
    """An event as it is stored."""

    event_id: str
    content: EventContent
    item_no: int
    sequence: int
    stored_us: int


def item_numbers(connection: Connection, item_ids: Collection[str]) -> dict[str, tuple[int, bool]]:
    """Return (item_no, deleted) of the items that were ever written, by id."""
    statement = _items(connection.dialect.name)
    rows = connection.execute(statement, {"item_ids": list(item_ids)})
    return {row.item_id: (row.item_no, row.deleted) for row in rows}


@cache
def _items(dialect: str) -> Select[Any]:
    columns = select(items.c.item_id, items.c.item_no, items.c.deleted)
    return columns.where(among(dialect, items.c.item_id, "item_ids"))


def known_events(
    connection: Connection, keys: Collection[tuple[int, str]]
) -> dict[tuple[int, str], KnownEvent]:
    """Return the stored events among these (user_no, event_id)."""
    if not keys:
        return {}
    statement = _same_events(connection.dialect.name)
    rows = connection.execute(statement, given_parameters(connection, _EVENT_KEY, keys))
    return {(row.user_no, row.event_id): _known(row) for row in rows}


_EVENT_KEY: dict[str, TypeEngine[Any]] = {"user_no": _NUMBER, "event_id": _TEXT}


@cache
def _same_events(dialect: str) -> Select[Any]:
    c = given_table(dialect, _EVENT_KEY).c
    same = and_(events.c.user_no == c.user_no, events.c.event_id == c.event_id)
    statement: Select[Any] = _stored().join_from(events, c.user_no.table, same)
    return statement


def insert_events(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store events, and move each user's counter to the highest sequence among them."""
    if not rows:
        return
    ordered = sorted(rows, key=itemgetter("user_no", "sequence"))
    insert_rows(connection, events, ordered)
    highest = {row["user_no"]: row["sequence"] for row in ordered}
    told_changes(connection).update((USER, number) for number in highest)
    statement = _count_up(connection.dialect.name)
    connection.execute(statement, given_parameters(connection, _COUNTER, highest.items()))


_COUNTER = {"number": _NUMBER, "highest": _NUMBER}


@cache
def _count_up(dialect: str) -> Update:
    given = given_table(dialect, _COUNTER).c
    statement = update(users).where(users.c.user_no == given.number)
    return statement.values(last_sequence=given.highest)


def list_events(
    connection: Connection, user_no: int, before: OrderKey | None, limit: int
) -> list[KnownEvent]:
    """Return a user's events that come before an order key, newest first."""
    order = (events.c.time_us, events.c.ordinal, events.c.event_id)
    statement = _stored().where(events.c.user_no == user_no)
    if before is not None:
        statement = statement.where(tuple_(*order) < tuple_(*before))
    statement = statement.order_by(*(column.desc() for column in order)).limit(limit)
    return [_known(row) for row in connection.execute(statement)]


def newer_events(
    connection: Connection, sequences: Mapping[int, int]
) -> dict[int, tuple[int, int]]:
    """Return (earliest time, highest sequence) of each user's events after the given sequence."""
    after = given_rows(connection, {"user_no": _NUMBER, "sequence": _NUMBER}, sequences.items())
    statement = (
        select(events.c.user_no, func.min(events.c.time_us), func.max(events.c.sequence))
        .join(
            after,
            and_(events.c.user_no == after.c.user_no, events.c.sequence > after.c.sequence),
        )
        .group_by(events.c.user_no)
    )
    return {row[0]: (row[1], row[2]) for row in connection.execute(statement)}


def events_from(connection: Connection, places: Mapping[int, OrderKey]) -> Sequence[Any]:
    """Return each user's events from an order key on, ordered by user and by that key.

    Rows of (user_no, item_no, action, session_id, time_us, ordinal, event_id, title).
    """
    order = (events.c.time_us, events.c.ordinal, events.c.event_id)
    given = given_rows(
        connection,
        {"user_no": _NUMBER, "time_us": _NUMBER, "ordinal": _NUMBER, "event_id": _TEXT},
        [(user_no, *place) for user_no, place in places.items()],
    )
    c = given.c
    columns = (events.c.user_no, events.c.item_no, events.c.action, events.c.session_id)
    statement = (
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
    return (connection.execute(statement)).all()


def place_before(connection: Connection, user_no: int, num_newest: int) -> OrderKey:
    """Return the order key of the event just before a user's newest ones; there is one."""
    order = (events.c.time_us, events.c.ordinal, events.c.event_id)
    statement = select(*order).where(events.c.user_no == user_no)
    statement = statement.order_by(*(column.desc() for column in order))
    row = connection.execute(statement.offset(num_newest).limit(1)).one()
    return row.time_us, row.ordinal, row.event_id


def _stored() -> Any:
    return select(events, items.c.item_id).join(items, items.c.item_no == events.c.item_no)


def _known(row: Any) -> KnownEvent:
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
