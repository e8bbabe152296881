"""Use cases of the log: append events idempotently, list them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from groundswell.profile_service.signals import Signal
from groundswell.profile_service.store import events as statements
from groundswell.profile_service.store.database import Database, now_us
from groundswell.profile_service.store.events import EventContent, KnownEvent, OrderKey
from groundswell.profile_service.store.work import WorkList
from groundswell.profile_service.tables import stale_users
from groundswell.serving.pseudonym import Pseudonymizer


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that a client wants stored; its form has been checked."""

    user_id: str
    event_id: str
    content: EventContent


class Status(Enum):
    """What became of an event."""

    ACCEPTED = 1
    DUPLICATE = 2
    REJECTED = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event."""

    status: Status
    sequence: int = 0
    item_no: int = 0
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a user's events, newest first, and how many there are in all."""

    events: list[KnownEvent]
    last_sequence: int


class EventLog:
    """The durable log of all users' events."""

    def __init__(self, database: Database, pseudonyms: Pseudonymizer, changed: Signal) -> None:
        self._database = database
        self._pseudonyms = pseudonyms
        self._changed = changed
        self._stale = WorkList(stale_users)

    async def append(self, new: Sequence[NewEvent]) -> list[Outcome]:
        """Store events in one transaction and say what became of each, in their order.

        Every user who got one is marked stale in the same transaction. Raises Unavailable.
        """
        if not new:
            return []
        keys = [self._pseudonyms.user_key(event.user_id) for event in new]
        async with self._database.write() as connection:
            numbers = await statements.item_numbers(connection, {e.content.item_id for e in new})
            storable = {
                key for key, e in zip(keys, new, strict=True) if e.content.item_id in numbers
            }
            batch = _Batch(numbers, {})
            if storable:
                batch.users = await statements.lock_users(connection, storable)
                await batch.load_known(connection, keys, new)
            outcomes = [batch.take(key, event) for key, event in zip(keys, new, strict=True)]
            await statements.insert_events(connection, batch.rows)
            await self._stale.mark(connection, batch.marks())
        if batch.rows:
            self._changed.notify()
        return outcomes

    async def list(self, user_id: str, before: OrderKey | None, limit: int) -> Page:
        """Return a user's events, newest first; none of a user who is not known."""
        key = self._pseudonyms.user_key(user_id)
        async with self._database.read() as connection:
            found = await statements.find_users(connection, [key])
            if key not in found:
                return Page([], 0)
            user_no, last_sequence = found[key]
            events = await statements.list_events(connection, user_no, before, limit)
        return Page(events, last_sequence)


class _Batch:
    """One append: decides about each event and gathers the rows to write."""

    def __init__(self, item_numbers: dict[str, int], users: dict[bytes, tuple[int, int]]) -> None:
        self.item_numbers = item_numbers
        self.users = users
        self.rows: list[dict[str, Any]] = []
        self._known: dict[tuple[int, str], tuple[EventContent, int, int]] = {}
        self._stored_us = now_us()

    async def load_known(
        self, connection: AsyncConnection, keys: Sequence[bytes], new: Sequence[NewEvent]
    ) -> None:
        """Look up which of the events are stored already."""
        wanted = {
            (self.users[key][0], event.event_id)
            for key, event in zip(keys, new, strict=True)
            if key in self.users
        }
        known = await statements.known_events(connection, wanted)
        self._known = {k: (e.content, e.sequence, e.item_no) for k, e in known.items()}

    def take(self, key: bytes, event: NewEvent) -> Outcome:
        """Decide about one event; an accepted one gets its user's next sequence."""
        content = event.content
        item_no = self.item_numbers.get(content.item_id)
        if item_no is None:
            return Outcome(
                Status.REJECTED,
                reason="ITEM_NOT_FOUND",
                detail="item_id names no item of the catalogue",
            )
        user_no, last_sequence = self.users[key]
        known = self._known.get((user_no, event.event_id))
        if known is not None:
            if known[0] != content:
                return Outcome(
                    Status.REJECTED,
                    reason="EVENT_ID_CONFLICT",
                    detail="event_id is that of another event of this user, which stays",
                )
            return Outcome(Status.DUPLICATE, known[1], known[2])
        sequence = last_sequence + 1
        self.users[key] = (user_no, sequence)
        self._known[user_no, event.event_id] = (content, sequence, item_no)
        self.rows.append(
            {
                "user_no": user_no,
                "sequence": sequence,
                "event_id": event.event_id,
                "item_no": item_no,
                "action": content.action,
                "value": content.value,
                "time_us": content.time_us,
                "ordinal": content.ordinal,
                "session_id": content.session_id,
                "attribution_token": content.attribution_token,
                "stored_us": self._stored_us,
            }
        )
        return Outcome(Status.ACCEPTED, sequence, item_no)

    def marks(self) -> dict[int, int]:
        """Return the newest sequence of every user who got an event."""
        changed = {row["user_no"] for row in self.rows}
        return {number: last for number, last in self.users.values() if number in changed}
