"""Use cases of the event log: append events idempotently, list them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

from groundswell.profile_service.store import events as statements
from groundswell.profile_service.store.database import Database, DatabaseConnection, now_us
from groundswell.profile_service.store.engines import Work
from groundswell.profile_service.store.events import EventContent, KnownEvent, OrderKey
from groundswell.profile_service.store.identity import Witness
from groundswell.profile_service.store.signals import Signals
from groundswell.profile_service.store.tables import stale_users
from groundswell.profile_service.store.users import UserKeys, find_users, lock_users
from groundswell.profile_service.store.visitors import mark_written
from groundswell.profile_service.store.work import WorkList
from groundswell.serving.joining import JoinedCalls
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.subjects import is_session


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that a client wants stored; its form has been checked."""

    user_id: str
    """The subject id: of a user, or of an anonymous session."""
    event_id: str
    content: EventContent


class Status(Enum):
    """The outcome of writing an event."""

    ACCEPTED = 1
    DUPLICATE = 2
    REJECTED = 3


@dataclass(frozen=True, slots=True)
class AppendOutcome:
    """The outcome of writing one event, with its sequence and its item's number."""

    status: Status
    sequence: int = 0
    item_no: int = 0
    reason: str = ""
    detail: str = ""
    lineage: str = ""
    """The lineage of the database that sequence and number belong to; empty when they are 0."""


class _Sent(NamedTuple):
    """An event, and the keys of its user."""

    keys: UserKeys
    event: NewEvent


_Stored = tuple[str, Witness]
"""A lineage, and one event that is stored in it."""
_Written = tuple[list[list[AppendOutcome] | None], _Stored | None]
"""The outcomes of each call, and one event that was stored; None for a call whose users others have
locked."""

_MAX_ROWS = 1_000
_MAX_TRANSACTIONS = 2
"""While one transaction waits for the disk, another one is worked out."""

_NO_ITEM = AppendOutcome(
    Status.REJECTED,
    reason="ITEM_NOT_FOUND",
    detail="item_id names no item of the catalogue",
)
_FUTURE = AppendOutcome(
    Status.REJECTED,
    reason="TIME_IN_FUTURE",
    detail="time lies too far in the future; check the clock of the device",
)
_CONFLICT = AppendOutcome(
    Status.REJECTED,
    reason="EVENT_ID_CONFLICT",
    detail="event_id is that of another event of this user, which stays",
)


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a user's events, newest first, and how many there are in all."""

    events: list[KnownEvent]
    last_sequence: int
    lineage: str
    """The lineage of the database that they were read from."""


class EventStore:
    """The durable log of all users' events.

    An event that lies more than `max_future_s` in the future is rejected: it would stay the user's
    newest event until then. After each commit, `on_stored` gets the lineage and one stored event.
    `reads_histories` says whether an encoder reads the users' new events.
    """

    def __init__(
        self,
        database: Database,
        pseudonyms: Pseudonymizer,
        signals: Signals,
        *,
        max_future_s: float,
        on_stored: Callable[[str, Witness], None] | None = None,
        reads_histories: Callable[[], bool] = lambda: True,
    ) -> None:
        self._max_future_us = int(max_future_s * 1e6)
        self._database = database
        self._pseudonyms = pseudonyms
        self._signals = signals
        self._on_stored = on_stored
        self._reads_histories = reads_histories
        self._stale = WorkList(stale_users)
        self._calls = JoinedCalls(self._write, max_rows=_MAX_ROWS, max_runs=_MAX_TRANSACTIONS)

    async def append(self, new: Sequence[NewEvent]) -> list[AppendOutcome]:
        """Store events in one transaction, and return the outcome of each, in their order.

        Calls that wait at the same time share a transaction. Every user who got an event is marked
        stale in it, if an encoder reads histories. Raises Unavailable, ResourceExhausted and
        FailedPrecondition (SECRET_OUTDATED).
        """
        if not new:
            return []
        user_keys = self._pseudonyms.user_keys
        return await self._calls.submit([_Sent(user_keys(event.user_id), event) for event in new])

    async def _write(
        self, begin: Callable[[], list[Sequence[_Sent]]], *, again: bool
    ) -> Sequence[list[AppendOutcome] | None]:
        """Write the events of some calls in one transaction, once a transaction can begin."""

        def work() -> Work[_Written]:
            calls = begin()
            return lambda connection: self._append(connection, calls, wait=again)

        outcomes, stored = await self._database.write_when_free(work)
        if stored is not None:
            self._signals.work.notify()
            if self._on_stored is not None:
                self._on_stored(*stored)
        return outcomes

    def _append(
        self, connection: DatabaseConnection, calls: Sequence[Sequence[_Sent]], *, wait: bool
    ) -> _Written:
        """Write the events of some calls; without `wait`, of those whose users are not locked."""
        sent = [one for call in calls for one in call]
        numbers = statements.item_numbers(connection, {s.event.content.item_id for s in sent})
        batch = _Batch(numbers, now_us(), self._max_future_us)
        batch.load(connection, sent, wait=wait)
        outcomes = [
            [batch.take(one) for one in call] if batch.has_users_of(call) else None
            for call in calls
        ]
        statements.insert_events(connection, batch.rows)
        mark_written(connection, batch.sessions(), batch.stored_us)
        if self._reads_histories():
            self._stale.mark(connection, batch.marks())
        return outcomes, batch.witness()

    async def list(
        self, user_id: str, before: OrderKey | None, limit: int, *, omit_future: bool = False
    ) -> Page:
        """Return a user's events, newest first; an empty page for an unknown user.

        `omit_future` leaves out events that would be rejected now as too far in the future.
        """
        keys = self._pseudonyms.user_keys(user_id)
        if omit_future:
            end = (now_us() + self._max_future_us + 1, -1, "")
            before = end if before is None else min(before, end)
        return await self._database.read(lambda c: _page(c, keys, before, limit))


def _page(
    connection: DatabaseConnection, keys: UserKeys, before: OrderKey | None, limit: int
) -> Page:
    found, identity = find_users(connection, [keys])
    if not found:
        return Page([], 0, identity.lineage)
    ((user_no, last_sequence),) = found.values()
    events = statements.list_events(connection, user_no, before, limit)
    return Page(events, last_sequence, identity.lineage)


class _Batch:
    """One transaction: decides the outcome of each event, and collects the rows to write."""

    def __init__(
        self, item_numbers: dict[str, tuple[int, bool]], stored_us: int, max_future_us: int
    ) -> None:
        self._item_numbers = item_numbers
        self._users: dict[bytes, tuple[int, int]] = {}
        self._left_out: set[UserKeys] = set()
        self.rows: list[dict[str, Any]] = []
        self._sessions: set[int] = set()
        self._known: dict[tuple[int, str], tuple[EventContent, int, int]] = {}
        self.stored_us = stored_us
        self._latest_us = stored_us + max_future_us
        self.lineage = ""

    def load(self, connection: DatabaseConnection, sent: Sequence[_Sent], *, wait: bool) -> None:
        """Lock the users, and look up which of the events are stored already.

        Without `wait`, users that another transaction has locked are left out.
        """
        items = [(one.keys, self._item_numbers.get(one.event.content.item_id)) for one in sent]
        there = {keys for keys, item in items if item and not item[1]}
        # An event of a deleted item may be stored already, but cannot make a user.
        deleted = {keys for keys, item in items if item} - there
        for some, load in ((there, partial(lock_users, wait=wait)), (deleted, find_users)):
            if some:
                found, identity = load(connection, some)
                self._users |= found
                self.lineage = identity.lineage
        self._left_out = {keys for keys in there if keys[-1] not in self._users}
        wanted = {
            (self._users[keys[-1]][0], event.event_id)
            for keys, event in sent
            if keys[-1] in self._users
        }
        known = statements.known_events(connection, wanted)
        self._sessions = {
            self._users[keys[-1]][0]
            for keys, event in sent
            if is_session(event.user_id) and keys[-1] in self._users
        }
        self._known = {k: (e.content, e.sequence, e.item_no) for k, e in known.items()}

    def has_users_of(self, call: Sequence[_Sent]) -> bool:
        """Whether no user of a call is locked by another transaction."""
        return self._left_out.isdisjoint(one.keys for one in call)

    def take(self, sent: _Sent) -> AppendOutcome:
        """Decide the outcome of one event; an accepted one gets its user's next sequence."""
        event, key = sent.event, sent.keys[-1]
        content = event.content
        user_no, last_sequence = self._users.get(key, (0, 0))
        known = self._known.get((user_no, event.event_id))
        if known is not None:
            if known[0] != content:
                return _CONFLICT
            return AppendOutcome(Status.DUPLICATE, *known[1:], lineage=self.lineage)
        item_no, is_deleted = self._item_numbers.get(content.item_id, (0, True))
        if is_deleted:
            return _NO_ITEM
        if content.time_us > self._latest_us:
            return _FUTURE
        sequence = last_sequence + 1
        self._users[key] = (user_no, sequence)
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
                "stored_us": self.stored_us,
            }
        )
        return AppendOutcome(Status.ACCEPTED, sequence, item_no, lineage=self.lineage)

    def sessions(self) -> set[int]:
        """Return the numbers of the anonymous sessions that got an event."""
        return {row["user_no"] for row in self.rows} & self._sessions

    def witness(self) -> _Stored | None:
        """Return one of the events that are stored, with the lineage; None without any.

        Events of sessions do not stay where they are, so they are no evidence.
        """
        lasting = [row for row in self.rows if row["user_no"] not in self._sessions]
        if not lasting:
            return None
        row = lasting[-1]
        return self.lineage, Witness(row["user_no"], row["sequence"], row["stored_us"])

    def marks(self) -> dict[int, int]:
        """Return the newest sequence of every user who got an event."""
        changed = {row["user_no"] for row in self.rows}
        return {number: last for number, last in self._users.values() if number in changed}
