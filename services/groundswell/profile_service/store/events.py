"""Statements about the events of users."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import BigInteger, Connection, Text, and_, bindparam, func, select, tuple_, update

from groundswell.profile_service.store.changes import USER, told_changes
from groundswell.profile_service.store.statements import given_rows
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
    statement = select(items.c.item_id, items.c.item_no, items.c.deleted)
    rows = connection.execute(statement.where(items.c.item_id.in_(item_ids)))
    return {row.item_id: (row.item_no, row.deleted) for row in rows}


def known_events(
    connection: Connection, keys: Collection[tuple[int, str]]
) -> dict[tuple[int, str], KnownEvent]:
    """Return the stored events among these (user_no, event_id)."""
    if not keys:
        return {}
    c = given_rows(connection, {"user_no": _NUMBER, "event_id": _TEXT}, keys).c
    same = and_(events.c.user_no == c.user_no, events.c.event_id == c.event_id)
    statement = _stored().join_from(events, c.user_no.table, same)
    rows = connection.execute(statement)
    return {(row.user_no, row.event_id): _known(row) for row in rows}


def insert_events(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store events, and move each user's counter to the highest sequence among them."""
    if not rows:
        return
    connection.execute(events.insert(), sorted(rows, key=itemgetter("user_no", "sequence")))
    highest: dict[int, int] = {}
    for row in rows:
        highest[row["user_no"]] = max(row["sequence"], highest.get(row["user_no"], 0))
    told_changes(connection).update((USER, number) for number in highest)
    statement = update(users).where(users.c.user_no == bindparam("number"))
    connection.execute(
        statement.values(last_sequence=bindparam("highest")),
        [{"number": number, "highest": sequence} for number, sequence in sorted(highest.items())],
    )


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
