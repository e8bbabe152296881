"""Tells how much of the work that waits for the encoder is left, until none is."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import NamedTuple

from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.profile_service.store.polling import SharedPoll
from groundswell.profile_service.store.signals import Signal
from groundswell.profile_service.store.statements import clock_us
from groundswell.profile_service.store.tables import stale_items, stale_users
from groundswell.profile_service.store.users import UserKeys, find_users
from groundswell.profile_service.store.work import WorkList

_POLL_S = 0.1
_WORK = (WorkList(stale_users), WorkList(stale_items))


class RefreshProgress(NamedTuple):
    """The numbers of users and items that still wait for the encoder."""

    num_users_left: int
    num_items_left: int


class WaitingWork:
    """The work lists of users and items, which all who wait look at together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._progress = Signal()
        self._poll = SharedPoll(lambda: database.read(_state_of_work), self._progress, _POLL_S)

    async def left(
        self, keys: Sequence[UserKeys], reads_histories: Callable[[], bool]
    ) -> AsyncGenerator[RefreshProgress, None]:
        """Yield how much is left of the work that waits at the start, until nothing is left.

        With `keys`, only these users count; otherwise all users and items. No user waits while no
        bundle in use `reads_histories`.
        """
        users, items = _WORK

        def begin(connection: DatabaseConnection) -> tuple[list[int] | None, int]:
            known, _ = find_users(connection, keys)
            # A clock that was wrong for a while may have marked some work later than now.
            marks = [work.newest_mark(connection) for work in _WORK]
            until_us = max(clock_us(connection), *marks)
            return [user.user_no for user in known.values()] if keys else None, until_us

        def look(connection: DatabaseConnection) -> RefreshProgress:
            return RefreshProgress(
                users.count(connection, until_us, numbers) if reads_histories() else 0,
                0 if keys else items.count(connection, until_us),
            )

        numbers, until_us = await self._database.read(begin)
        last: RefreshProgress | None = None
        with self._poll.waiting():
            while last is None or any(last):
                mark = self._progress.mark
                left = await self._database.read(look)
                if not any(left):
                    # Whoever waited asks for profiles next.
                    await self._database.changes_published()
                if left != last:
                    yield left
                last = left
                if any(left):
                    await mark.wait()


def _state_of_work(connection: DatabaseConnection) -> list[tuple[int, ...]]:
    return [work.state(connection) for work in _WORK]
