"""Decides what becomes of each event of a write, and collects what is stored."""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from groundswell.profile_service.store.appends import lock_and_look_up, store_events
from groundswell.profile_service.store.database import DatabaseConnection
from groundswell.profile_service.store.events import EventContent, KnownEvent
from groundswell.profile_service.store.identity import Witness
from groundswell.profile_service.store.tables import users
from groundswell.profile_service.store.users import NEVER_ERASED, KnownUser, UserKeys, make_users
from groundswell.profile_service.store.visitors import forget
from groundswell.serving.subjects import is_session


class NewEvent(NamedTuple):
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


class AppendOutcome(NamedTuple):
    """The outcome of writing one event, with its sequence and its item's number."""

    status: Status
    sequence: int = 0
    item_no: int = 0
    history: int = 0
    """Sequences of two histories cannot be compared; 0 without a sequence."""
    reason: str = ""
    detail: str = ""
    lineage: str = ""
    """The lineage of the database that sequence and number belong to; empty when they are 0."""


class KeyedEvent(NamedTuple):
    """An event, and the keys of its user."""

    keys: UserKeys
    event: NewEvent


Evidence = tuple[str, Witness]
"""A lineage, and one event that is stored in it."""

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
_ERASED = AppendOutcome(
    Status.REJECTED,
    reason="EVENT_ERASED",
    detail="the user was erased after the time of this event",
)
_CONFLICT = AppendOutcome(
    Status.REJECTED,
    reason="EVENT_ID_CONFLICT",
    detail="event_id is that of another event of this user, which stays",
)


_NOBODY = KnownUser(0, 0, NEVER_ERASED)


class EventBatch:
    """One transaction: decides the outcome of each event, and collects the rows to write."""

    def __init__(self, stored_us: int, max_future_us: int) -> None:
        self._item_numbers: dict[str, tuple[int, bool]] = {}
        self._users: dict[bytes, KnownUser] = {}
        self._left_out: set[bytes] = set()
        self._made: set[int] = set()
        self._new: list[tuple[int, KnownEvent]] = []
        self._sessions: set[int] = set()
        self._known: dict[tuple[int, str], tuple[int, KnownEvent]] = {}
        self._stored_us = stored_us
        self._latest_us = stored_us + max_future_us
        self._lineage = ""

    def load(
        self, connection: DatabaseConnection, sent: Sequence[KeyedEvent], *, wait: bool
    ) -> None:
        """Lock the users, making new ones, and look up which of the events are stored already.

        Without `wait`, users that another transaction has locked are left out. So are those that
        others make at the same time.
        """
        asked = [(keys, event.event_id, event.content.item_id) for keys, event in sent]
        locked, stored = lock_and_look_up(connection, asked, wait=wait)
        (self._users, identity), self._left_out = locked
        self._item_numbers, self._known = stored
        self._lineage = identity.lineage
        # An event that is refused makes no user.
        new = {keys for keys, event in sent if self._is_new(keys) and self._may_store(event)}
        if new:
            made = make_users(connection, new, identity)
            self._made = {one.user_no for one in made.values()}
            self._users |= made
            self._left_out |= {keys[-1] for keys in new} - made.keys()
        numbers = {self._user_no(keys) for keys, event in sent if is_session(event.user_id)}
        self._sessions = numbers - {0}

    def _user_no(self, keys: UserKeys) -> int:
        return self._users.get(keys[-1], _NOBODY).user_no

    def _is_new(self, keys: UserKeys) -> bool:
        return keys[-1] not in self._users and keys[-1] not in self._left_out

    def _item_no(self, event: NewEvent) -> int:
        """Return the number of an event's item; 0 for one that is unknown or deleted."""
        item_no, is_deleted = self._item_numbers.get(event.content.item_id, (0, True))
        return 0 if is_deleted else item_no

    def _may_store(self, event: NewEvent) -> bool:
        return self._item_no(event) > 0 and event.content.time_us <= self._latest_us

    def has_users_of(self, call: Sequence[KeyedEvent]) -> bool:
        """Whether no user of a call was left out."""
        return self._left_out.isdisjoint(keys[-1] for keys, _ in call)

    def take(self, sent: KeyedEvent) -> AppendOutcome:
        """Decide the outcome of one event; an accepted one gets its user's next sequence."""
        keys, event = sent
        user = self._users.get(keys[-1], _NOBODY)
        user_no = user.user_no
        known = self._known.get((user_no, event.event_id))
        if known is not None:
            return self._again(event, user_no, *known)
        content, item_no = event.content, self._item_no(event)
        if content.time_us <= user.erased_us:
            return _ERASED
        if not item_no:
            return _NO_ITEM
        if content.time_us > self._latest_us:
            return _FUTURE
        sequence = user.last_sequence + 1
        stored = KnownEvent(event.event_id, content, item_no, sequence, self._stored_us)
        self._users[keys[-1]] = user._replace(last_sequence=sequence)
        self._known[user_no, event.event_id] = user_no, stored
        self._new.append((user_no, stored))
        return self._outcome(Status.ACCEPTED, user_no, stored)

    def _again(
        self, event: NewEvent, user_no: int, owner_no: int, known: KnownEvent
    ) -> AppendOutcome:
        """Decide the outcome of an event whose id is known."""
        if known.content != event.content:
            return _CONFLICT
        if owner_no != user_no:  # LinkSession has moved it: its sequence is another user's
            return AppendOutcome(Status.DUPLICATE, item_no=known.item_no, lineage=self._lineage)
        return self._outcome(Status.DUPLICATE, user_no, known)

    def _outcome(self, status: Status, user_no: int, known: KnownEvent) -> AppendOutcome:
        return AppendOutcome(
            status, known.sequence, known.item_no, history=user_no, lineage=self._lineage
        )

    def store(self, connection: DatabaseConnection, *, marks: bool) -> None:
        """Write the events that were accepted; with `marks` their users become stale.

        Nothing may follow it in the transaction.
        """
        changed = {user_no for user_no, _ in self._new}
        # Those of calls that are left out, because another of their users is.
        if unused := self._made - changed:
            forget(connection, unused, [users])
        store_events(
            connection,
            self._new,
            sessions=changed & self._sessions,
            stored_us=self._stored_us,
            marks=marks,
        )

    def new_events(self) -> list[KnownEvent]:
        """Return the events that were accepted."""
        return [event for _, event in self._new]

    def evidence(self) -> Evidence | None:
        """Return one of the events that are stored, with the lineage; None without any.

        Events of sessions do not stay where they are, so they are no evidence.
        """
        lasting = [one for one in self._new if one[0] not in self._sessions]
        if not lasting:
            return None
        user_no, event = lasting[-1]
        return self._lineage, Witness(user_no, event.sequence, event.stored_us)
