"""Statements about how popular items are."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import BigInteger, Connection, Double, delete, select, tuple_
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from groundswell.features.actions import DISLIKE
from groundswell.features.popularity_values import event_values, item_values
from groundswell.profile_service.store.identity import lineage
from groundswell.profile_service.store.statements import (
    among,
    given_parameters,
    given_table,
    insert,
)
from groundswell.profile_service.store.tables import counters, events, item_popularity

_REVISION = "popularity_revision"
_HALF_LIFE = "popularity_half_life_us"
_COUNTED_FROM = "popularity_counted_from_us"
_FILLED_TO = "popularity_filled_to"
_COUNTERS = (_REVISION, _HALF_LIFE, _COUNTED_FROM, _FILLED_TO)
_ROWS: Mapping[str, TypeEngine[Any]] = {
    "item_no": BigInteger(),
    "value": Double(),
    "revision": BigInteger(),
}
NO_EVENTS = -1e9
"""Stored for an item all of whose events were deleted; SQLite cannot take the infinity as text."""
_LEAST_LEFT = 1e-9
"""The rest of an item's events counts as nothing below this share: it is rounding."""
FILLED = 2**62
"""Above the number of every item."""


class PopularityState(NamedTuple):
    """The events and settings that the stored values are made of."""

    revision: int = 0
    half_life_us: int = 0
    """0: nothing was counted yet."""
    counted_from_us: int = 0
    """Events that were stored earlier are added once, item by item."""
    filled_to: int = 0
    """The last item for which that is done; FILLED: all."""


class PopularityPage(NamedTuple):
    """Items whose values changed, by revision and number."""

    rows: Sequence[Any]
    """Of (item_no, value, revision)."""
    state: PopularityState
    lineage: str


def read_state(connection: Connection) -> PopularityState:
    """Return what the values are made of."""
    statement = select(counters).where(counters.c.name.in_(_COUNTERS))
    held = {row.name: row.value for row in connection.execute(statement)}
    return PopularityState(*(held.get(name, 0) for name in _COUNTERS))


def lock_state(connection: Connection) -> PopularityState:
    """Return what the values are made of; nobody else writes them until the transaction ends."""
    first = insert(connection.dialect.name, counters).values(name=_REVISION, value=0)
    # An update that changes nothing locks the row.
    locking = first.on_conflict_do_update(
        index_elements=[counters.c.name], set_={"value": counters.c.value}
    )
    connection.execute(locking)
    return read_state(connection)


def write_state(connection: Connection, state: PopularityState) -> None:
    """Store what the values are made of; the transaction has locked it."""
    statement = insert(connection.dialect.name, counters)
    statement = statement.on_conflict_do_update(
        index_elements=[counters.c.name], set_={"value": statement.excluded.value}
    )
    rows = [{"name": name, "value": value} for name, value in zip(_COUNTERS, state, strict=True)]
    connection.execute(statement, rows)


def drop_values(connection: Connection) -> None:
    """Delete all values; the transaction has locked the state."""
    connection.execute(delete(item_popularity))


def read_values(connection: Connection, item_nos: Sequence[int]) -> dict[int, float]:
    """Return the values of those of some items that have one."""
    c = item_popularity.c
    statement = select(c.item_no, c.value).where(
        among(connection.dialect.name, c.item_no, "numbers")
    )
    rows = connection.execute(statement, {"numbers": list(item_nos)})
    return dict(map(tuple, rows))


def store_values(connection: Connection, values: Mapping[int, float], revision: int) -> None:
    """Store values of items; the transaction has locked the state."""
    rows = [(item_no, repr(value), revision) for item_no, value in values.items()]
    connection.execute(_store(connection.dialect.name), given_parameters(rows))


@cache
def _store(dialect: str) -> postgresql.Insert:
    given = given_table(dialect, _ROWS)
    # SQLite takes an INSERT of a SELECT with ON CONFLICT only if the SELECT has a condition.
    rows = select(given).where(given.c.item_no.is_not(None)).order_by(given.c.item_no)
    statement = insert(dialect, item_popularity).from_select(list(_ROWS), rows)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=[item_popularity.c.item_no],
        set_={"value": new.value, "revision": new.revision},
    )


def subtract_events(connection: Connection, gone: Sequence[Any]) -> None:
    """Take deleted events out of the values, those that were counted.

    Rows of (item_no, action, time_us, stored_us).
    """
    state = lock_state(connection)
    counted = [
        (row.item_no, min(row.time_us, row.stored_us))
        for row in gone
        if row.action != DISLIKE
        and (row.stored_us >= state.counted_from_us or row.item_no <= state.filled_to)
    ]
    if not state.half_life_us or not counted:
        return
    columns = np.array(counted, np.int64)
    items, values = item_values(
        columns[:, 0], event_values(columns[:, 1], state.half_life_us / 1e6)
    )
    held = read_values(connection, items.tolist())
    left = {}
    for item_no, value in zip(items.tolist(), values.tolist(), strict=True):
        if item_no in held:
            share = 1.0 - 2.0 ** min(value - held[item_no], 0.0)
            is_left = share > _LEAST_LEFT
            left[item_no] = held[item_no] + float(np.log2(share)) if is_left else NO_EVENTS
    store_values(connection, left, state.revision + 1)
    write_state(connection, state._replace(revision=state.revision + 1))


def changed_values(connection: Connection, after: tuple[int, int], limit: int) -> PopularityPage:
    """Return the values that changed after a (revision, item_no), by these two."""
    c = item_popularity.c
    statement = select(c.item_no, c.value, c.revision)
    statement = statement.where(tuple_(c.revision, c.item_no) > tuple_(*after))
    rows = connection.execute(statement.order_by(c.revision, c.item_no).limit(limit)).all()
    state = read_state(connection)
    return PopularityPage(rows, state, connection.execute(select(lineage())).scalar_one())


def page_of_events(connection: Connection, after: tuple[int, int], limit: int) -> Sequence[Any]:
    """Return the events that follow a (user_no, sequence).

    Rows of (user_no, sequence, item_no, action, time_us, stored_us).
    """
    c = events.c
    key = (c.user_no, c.sequence)
    page = select(*key, c.item_no, c.action, c.time_us, c.stored_us)
    page = page.where(tuple_(*key) > tuple_(*after)).order_by(*key).limit(limit)
    return connection.execute(page).all()
