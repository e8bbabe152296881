"""Lets the worker read all stored items and users with a new text encoder, a few at a time."""

import asyncio
from functools import partial
from typing import NamedTuple

import structlog

from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.store.signals import Signals
from groundswell.profile_service.store.statements import Subjects
from groundswell.profile_service.store.work import WorkList
from groundswell.profile_service.worker.every_encoder import OUTAGES
from groundswell.profile_service.worker.loop import MAX_ATTEMPTS
from groundswell.profile_service.worker.uncovered import PAGE, page_of_uncovered, uncovered_work
from groundswell.serving.telemetry import gauge

_log = structlog.get_logger(__name__)

_POLL_S = 0.05
_AFTER_OUTAGE_S = 1.0
_WITHOUT_PROGRESS_S = 1.0
_ALL_TIMES = 2**62
_LOG_EVERY_S = 30.0


class _PassResult(NamedTuple):
    """The result of one pass over all items and users."""

    num_marked: int
    """Uncovered subjects that this pass put on the lists."""
    num_waiting: int
    """Uncovered subjects that were on the lists before."""


class Backfill:
    """Puts what an encoder has not read on the work lists, and waits until it has been read.

    It waits behind new events and items, and some pages of it at most are on the lists. Each pass
    looks into the database for what is uncovered, so a process that starts again goes on where it
    was.
    """

    def __init__(self, database: Database, spec: Spec, signals: Signals) -> None:
        self._database = database
        self._spec = spec
        self._signals = signals
        self._lists = uncovered_work(spec)
        self._num_subjects = 0
        self._logged_at = 0.0

    async def run(self) -> None:
        """Return when each subject is covered or has failed too often. An outage only delays it."""
        before: _PassResult | None = None
        while True:
            try:
                found = await self._pass()
            except OUTAGES:
                await asyncio.sleep(_AFTER_OUTAGE_S)
                continue
            if found.num_marked == 0:
                # A worker that does not read with this encoder may have taken them off the lists.
                if found.num_waiting == 0 or (before is not None and before.num_marked == 0):
                    return
            elif before is not None and found.num_marked >= before.num_marked:
                # No worker reads with this encoder yet.
                await asyncio.sleep(_WITHOUT_PROGRESS_S)
            before = found

    async def _pass(self) -> _PassResult:
        """Go through all subjects once, mark the uncovered ones, and wait until they are read."""
        num_marked = num_waiting = 0
        for work, uncovered in self._lists:
            after: int | None = 0
            while after is not None:
                look = partial(self._look, work=work, uncovered=uncovered, after=after)
                after, unmarked, num = await self._database.read(look)
                num_waiting += num
                if unmarked:
                    mark = partial(work.mark, versions=unmarked, behind=True)
                    await self._database.write(mark)
                    self._signals.work.notify()
                    self._note(len(unmarked))
                    await self._until_few(work, PAGE)
                num_marked += len(unmarked)
        for work, _ in self._lists:
            await self._until_few(work, 0, await self._database.read(work.newest_mark))
        return _PassResult(num_marked, num_waiting)

    def _look(
        self, connection: DatabaseConnection, *, work: WorkList, uncovered: Subjects, after: int
    ) -> tuple[int | None, dict[int, int], int]:
        """Return the last subject of a page, the uncovered ones to be marked, and how many are not.

        An uncovered subject that is on the list already is not marked again: it will be read, or it
        has failed too often.
        """
        last, found = page_of_uncovered(connection, uncovered, after)
        waiting = work.waiting(connection, found)
        unmarked = {s: version for s, version in found.items() if s not in waiting}
        return last, unmarked, len(waiting)

    def _note(self, num: int) -> None:
        self._num_subjects += num
        gauge("backfilled_subjects", self._num_subjects)
        now = asyncio.get_running_loop().time()
        if now >= self._logged_at + _LOG_EVERY_S:
            self._logged_at = now
            _log.info("backfilling", fingerprint=self._spec.fingerprint, read=self._num_subjects)

    async def _until_few(self, work: WorkList, few: int, until_us: int = _ALL_TIMES) -> None:
        """Wait until at most `few` subjects are left of those that were marked up to `until_us`.

        Subjects that failed too often do not count.
        """
        while True:
            count = partial(work.count, marked_until_us=until_us, max_attempts=MAX_ATTEMPTS)
            if await self._database.read(count) <= few:
                return
            await asyncio.sleep(_POLL_S)
