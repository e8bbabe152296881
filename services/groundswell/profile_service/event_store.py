"""Use cases of the event log: append events idempotently, list them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from groundswell.profile_service.event_batch import (
    AppendOutcome,
    EventBatch,
    Evidence,
    KeyedEvent,
    NewEvent,
)
from groundswell.profile_service.store import events as statements
from groundswell.profile_service.store.database import Database, DatabaseConnection, now_us
from groundswell.profile_service.store.engines import Work
from groundswell.profile_service.store.events import EventRow, KnownEvent, OrderKey
from groundswell.profile_service.store.identity import Witness
from groundswell.profile_service.store.signals import Signals
from groundswell.profile_service.store.users import UserKeys, Users
from groundswell.serving.joining import JoinedCalls
from groundswell.serving.pseudonym import Pseudonymizer


class _WrittenEvents(NamedTuple):
    """What a transaction did."""

    outcomes: list[list[AppendOutcome] | None]
    """Of each call; None for a call whose users others have locked."""
    evidence: Evidence | None
    new: list[KnownEvent]


_MAX_ROWS = 1_000
_MAX_TRANSACTIONS = 2
"""While one transaction waits for the disk, another one is worked out."""


E = TypeVar("E", KnownEvent, EventRow)


@dataclass(frozen=True, slots=True)
class Page(Generic[E]):
    """Some of a user's events, newest first, and how many there are in all."""

    events: list[E]
    last_sequence: int
    lineage: str
    """The lineage of the database that they were read from."""
    history: int = 0
    """Sequences of two histories cannot be compared; 0 for an unknown user."""


class EventStore:
    """The durable log of all users' events.

    An event that lies more than `max_future_s` in the future is rejected: it would stay the user's
    newest event until then. After each commit, `on_stored` gets the lineage and one stored event,
    `on_new` all that were stored. `reads_histories` says whether an encoder reads the users' new
    events.
    """

    def __init__(
        self,
        database: Database,
        pseudonyms: Pseudonymizer,
        signals: Signals,
        *,
        max_future_s: float,
        on_stored: Callable[[str, Witness], None] | None = None,
        on_new: Callable[[Sequence[KnownEvent]], None] | None = None,
        reads_histories: Callable[[], bool] = lambda: True,
    ) -> None:
        self._max_future_us = int(max_future_s * 1e6)
        self._database = database
        self._pseudonyms = pseudonyms
        self._signals = signals
        self._on_stored = on_stored
        self._on_new = on_new
        self._reads_histories = reads_histories
        self._calls = JoinedCalls(self._write, max_rows=_MAX_ROWS, max_runs=_MAX_TRANSACTIONS)

    async def append(self, new: Sequence[NewEvent]) -> list[AppendOutcome]:
        """Store events in one transaction, and return the outcome of each, in their order.

        Calls that wait at the same time share a transaction. Every user who got an event is marked
        stale in it, if an encoder reads histories. Raises Unavailable, ResourceExhausted and
        FailedPrecondition (SECRET_OUTDATED).
        """
        if not new:
            return []
        keys = self._pseudonyms.user_keys
        return await self._calls.submit([KeyedEvent(keys(event.user_id), event) for event in new])

    async def _write(
        self, begin: Callable[[], list[Sequence[KeyedEvent]]], *, again: bool
    ) -> Sequence[list[AppendOutcome] | None]:
        """Write the events of some calls in one transaction, once a transaction can begin."""

        def work() -> Work[_WrittenEvents]:
            calls = begin()
            return lambda connection: self._append(connection, calls, wait=again)

        outcomes, stored, new = await self._database.write_when_free(work)
        if new and self._on_new is not None:
            self._on_new(new)
        if stored is not None:
            if self._reads_histories():
                self._signals.work.notify()
            if self._on_stored is not None:
                self._on_stored(*stored)
        return outcomes

    def _append(
        self, connection: DatabaseConnection, calls: Sequence[Sequence[KeyedEvent]], *, wait: bool
    ) -> _WrittenEvents:
        """Write the events of some calls; without `wait`, of those whose users are not locked."""
        batch = EventBatch(now_us(), self._max_future_us)
        batch.load(connection, [one for call in calls for one in call], wait=wait)
        outcomes = [
            [batch.take(one) for one in call] if batch.has_users_of(call) else None
            for call in calls
        ]
        batch.store(connection, marks=self._reads_histories())
        return _WrittenEvents(outcomes, batch.evidence(), batch.new_events())

    async def list(
        self, user_id: str, before: OrderKey | None, limit: int, *, omit_future: bool = False
    ) -> Page[KnownEvent]:
        """Return a user's events, newest first; an empty page for an unknown user.

        `omit_future` leaves out events that would be rejected now as too far in the future.
        """
        return await self._list(statements.list_events, user_id, before, limit, omit_future)

    async def list_rows(
        self, user_id: str, before: OrderKey | None, limit: int, *, omit_future: bool = False
    ) -> Page[EventRow]:
        """Do as `list`, with what a window needs of the events."""
        return await self._list(statements.list_rows, user_id, before, limit, omit_future)

    async def _list(
        self,
        read: Callable[
            [DatabaseConnection, UserKeys, OrderKey | None, int], tuple[Users, Sequence[E]]
        ],
        user_id: str,
        before: OrderKey | None,
        limit: int,
        omit_future: bool,
    ) -> Page[E]:
        keys = self._pseudonyms.user_keys(user_id)
        if omit_future:
            end = (now_us() + self._max_future_us + 1, -1, "")
            before = end if before is None else min(before, end)
        found, events = await self._database.read_once(lambda c: read(c, keys, before, limit))
        user_no, last_sequence, *_ = found.by_key.get(keys[-1], (0, 0))
        return Page(list(events), last_sequence, found.identity.lineage, user_no)
