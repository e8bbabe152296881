"""Deletes events that are older than the retention, one replica at a time."""

from collections.abc import Callable
from functools import partial

from groundswell.profile_service.store import retention as statements
from groundswell.profile_service.store.database import Database, now_us
from groundswell.profile_service.store.signals import Signals
from groundswell.serving.telemetry import count

_USERS_AT_ONCE = 500
_PART_USERS = 50
_PART_EVENTS = 2_000
"""The most events that one transaction deletes: other writes wait for it."""
_LEASE_US = 120 * 1_000_000
"""A page takes less; after a crash another replica goes on then."""
_DAY_US = 86_400 * 1_000_000
_ROUNDS = 100
"""All users are looked at so often within the retention, and at least once a day."""


class Retention:
    """Goes over all users from time to time, and deletes what happened `keep_s` ago or earlier.

    Every replica asks for its turn; the one that has it keeps its place in the database.
    `reads_histories` says whether an encoder reads the users' events.
    """

    def __init__(
        self,
        database: Database,
        signals: Signals,
        *,
        keep_s: float | None,
        reads_histories: Callable[[], bool],
    ) -> None:
        self._database = database
        self._signals = signals
        self._keep_us = None if keep_s is None else int(keep_s * 1e6)
        self._reads_histories = reads_histories

    async def expire(self) -> int:
        """Delete the events that are over their time, if it is this replica's turn; return how
        many."""
        if self._keep_us is None:
            return 0
        before_us, num_deleted = now_us() - self._keep_us, 0
        place = await self._database.write(
            lambda c: statements.take_turn(c, now_us(), now_us() + _LEASE_US)
        )
        while place is not None:
            look = partial(statements.old_users, after=place, before_us=before_us)
            old = await self._database.read(partial(look, limit=_USERS_AT_ONCE))
            for start in range(0, len(old.user_nos), _PART_USERS):
                num_deleted += await self._prune(
                    old.user_nos[start : start + _PART_USERS], before_us
                )
            pause_us = min(self._keep_us // _ROUNDS, _DAY_US)
            until_us = now_us() + (_LEASE_US if old.last else pause_us)
            keep = partial(statements.keep_place, last=old.last, until_us=until_us)
            await self._database.write(keep)
            place = old.last or None
        count("events_expired", num_deleted)
        return num_deleted

    async def _prune(self, user_nos: list[int], before_us: int) -> int:
        num_deleted, marks = 0, self._reads_histories()
        prune = partial(statements.prune, user_nos=user_nos, before_us=before_us)
        while True:
            deleted = await self._database.write(partial(prune, limit=_PART_EVENTS, marks=marks))
            num_deleted += deleted
            self._signals.work.notify()
            if deleted < _PART_EVENTS:
                return num_deleted
