"""Makes histories from the rows of a log, for users whose events in the database are the same."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from groundswell.profile_service.store import rebuilds as statements
from groundswell.profile_service.store.database import DatabaseConnection
from groundswell.profile_service.store.events import OrderKey
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.store.rebuilds import KnownTitle
from groundswell.profile_service.worker.histories import Start, key_of, pass_over, whole

LogRow = Mapping[str, Any]
"""event_id, item_id, action, session_id, time_us, ordinal."""


class _Event(NamedTuple):
    """An event as `store.events.events_from` gives it."""

    user_no: int
    item_no: int
    action: int
    session_id: str
    time_us: int
    ordinal: int
    event_id: str
    title: str


def histories_of_log(
    connection: DatabaseConnection,
    logs: Mapping[int, Sequence[LogRow]],
    newest: Mapping[int, int],
    spec: Spec,
    max_chunks: int,
) -> tuple[dict[int, Start], list[_Event]]:
    """Return where to cut each history and its events from there.

    `newest` is the newest sequence of each user. A user is left out whose stored events are not
    those of the log, by their ids.
    """
    item_ids = {row["item_id"] for log in logs.values() for row in log}
    known = statements.titles(connection, item_ids)
    ids = statements.event_ids(connection, logs.keys() & newest.keys())
    starts: dict[int, Start] = {}
    events: list[_Event] = []
    for user_no in sorted(ids):
        own = _events(user_no, logs[user_no], known)
        is_same = {event.event_id for event in own} == ids[user_no]
        if is_same and len(own) == len(ids[user_no]) == newest[user_no]:
            start = pass_over(whole(len(own)), spec, max_chunks, partial(_before, own))
            starts[user_no] = start
            events += [event for event in own if key_of(event) >= start.place]
    return starts, events


def _events(user_no: int, log: Sequence[LogRow], known: Mapping[str, KnownTitle]) -> list[_Event]:
    events = [
        _Event(
            user_no,
            known[row["item_id"]].item_no,
            row["action"],
            row["session_id"],
            row["time_us"],
            row["ordinal"],
            row["event_id"],
            known[row["item_id"]].title,
        )
        for row in log
        if row["item_id"] in known
    ]
    return sorted(events, key=key_of)


def _before(events: Sequence[_Event], num_newest: int) -> OrderKey | None:
    return key_of(events[-num_newest - 1]) if num_newest < len(events) else None
