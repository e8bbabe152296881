"""Use cases of anonymous sessions: link one to a user, and delete those that have expired."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from groundswell.profile_service.store import visitors as statements
from groundswell.profile_service.store.appends import mark_written
from groundswell.profile_service.store.database import Database, DatabaseConnection, now_us
from groundswell.profile_service.store.signals import Signals
from groundswell.profile_service.store.tables import stale_users, users
from groundswell.profile_service.store.users import (
    NEVER_ERASED,
    KnownUser,
    UserKeys,
    lock_users,
    make_users,
)
from groundswell.profile_service.store.work import WorkList
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.subjects import subject_id
from groundswell.serving.telemetry import count

_BATCH = 100
"""The most sessions that one transaction deletes."""
PART_EVENTS = 5_000
"""The most events of a session that one transaction moves: others wait for it."""
_ALL = 2**62
"""Above every sequence."""


class _Part(NamedTuple):
    """What one transaction moved of a session."""

    num_moved: int
    is_last: bool


class _Both(NamedTuple):
    """A session and a user, by the last of their keys, and the numbers of those just made."""

    by_key: dict[bytes, KnownUser]
    made: set[int]


class Visitors:
    """Links anonymous sessions to users, and deletes each `keep_s` after its last event.

    `reads_histories` says whether an encoder reads the users' new events.
    """

    def __init__(
        self,
        database: Database,
        pseudonyms: Pseudonymizer,
        signals: Signals,
        *,
        keep_s: float,
        reads_histories: Callable[[], bool] = lambda: True,
    ) -> None:
        self._database = database
        self._pseudonyms = pseudonyms
        self._signals = signals
        self._keep_us = int(keep_s * 1e6)
        self._reads_histories = reads_histories
        self._stale = WorkList(stale_users)

    async def link(self, session_id: str, user_id: str) -> int:
        """Move the events of a session to a user; return how many were moved.

        Each transaction moves some. Raises FailedPrecondition (SESSION_LINKED, EVENT_ID_CONFLICT,
        SECRET_OUTDATED), Unavailable and ResourceExhausted: of a session with more events than one
        transaction moves, the first ones may have been moved then.
        """
        subjects = subject_id("", session_id), user_id
        session, user = (self._pseudonyms.user_keys(subject) for subject in subjects)
        num_moved, is_first = 0, True
        while True:
            part = await self._database.write(
                partial(self._link_part, session=session, user=user, is_first=is_first)
            )
            if part is None:
                continue
            num_moved, is_first = num_moved + part.num_moved, False
            if part.is_last:
                self._signals.work.notify()
                return num_moved

    def _link_part(
        self, connection: DatabaseConnection, *, session: UserKeys, user: UserKeys, is_first: bool
    ) -> _Part | None:
        """Move a session's first events to a user; None: others changed what to lock."""
        both = _lock_or_make(connection, {session, user})
        if both is None:
            return None
        session_no, _, session_erased_us, _ = both.by_key[session[-1]]
        user_no, last_sequence, erased_us, _ = both.by_key[user[-1]]
        mark_written(connection, [session_no], now_us())
        statements.link(connection, session_no, user_no, erased_us)
        last = statements.last_of_part(connection, session_no, PART_EVENTS)
        # The first transaction looks at all, so that a conflict is found before anything is moved.
        statements.check_same(connection, session_no, user_no, _ALL if is_first else last)
        num_moved = statements.move_events(
            connection, session_no, user_no, last, last_sequence, erased_us
        )
        if num_moved and self._reads_histories():
            self._stale.mark(connection, {user_no: last_sequence + num_moved})
        is_last = not statements.last_of_part(connection, session_no, 1)
        comes_late = session_no in both.made and session_erased_us != NEVER_ERASED
        if is_last and (comes_late or erased_us != NEVER_ERASED):
            statements.drop_erased(connection, session_no, user_no, comes_late=comes_late)
        return _Part(num_moved, is_last)

    async def expire(self) -> int:
        """Delete the sessions that are over their time; return how many."""
        before_us, num_expired = now_us() - self._keep_us, 0
        while True:
            deleted = await self._database.write(lambda c: statements.expire(c, before_us, _BATCH))
            num_expired += deleted
            count("visitors_expired", deleted)
            if deleted < _BATCH:
                return num_expired


def _lock_or_make(connection: DatabaseConnection, keys: set[UserKeys]) -> _Both | None:
    """Lock a session and a user, making who is not stored; None: others change one of them."""
    (found, identity), left_out = lock_users(connection, keys)
    if left_out:
        return None
    new = {each for each in keys if each[-1] not in found}
    made = make_users(connection, new, identity) if new else {}
    numbers = {one.user_no for one in made.values()}
    if len(made) < len(new):
        statements.forget(connection, numbers, [users])
        return None
    return _Both(found | made, numbers)
