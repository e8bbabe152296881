"""Lets the worker read what is stored with a new text encoder, a little at a time."""

import asyncio
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import NamedTuple

import structlog

from groundswell.profile_service.joint_work import OUTAGES
from groundswell.profile_service.signals import Signals
from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.profile_service.store.items import items_without_text
from groundswell.profile_service.store.profiles import Spec, uncovered_users
from groundswell.profile_service.store.statements import Subjects
from groundswell.profile_service.store.work import WorkList
from groundswell.profile_service.tables import stale_items, stale_users
from groundswell.profile_service.uncovered import PAGE
from groundswell.profile_service.worker import HOPELESS
from groundswell.serving.telemetry import gauge

_log = structlog.get_logger(__name__)

_POLL_S = 0.05
_AFTER_OUTAGE_S = 1.0
_WITHOUT_PROGRESS_S = 1.0
_ALL_TIMES = 2**62
_LOG_EVERY_S = 30.0


class _Found(NamedTuple):
    """What a look at everything found."""

    num_lacking: int
    """Subjects that were put on the lists."""
    num_waiting: int
    """Subjects that were on them, and not covered."""


class Backfill:
    """Puts what an encoder lacks on the work lists, and waits until it has been read.

    Only a few wait at once, `users` and `items` at most, so that what changes meanwhile does not
    wait for all of them. What is lacking is looked up, not remembered: whoever is interrupted goes
    on at the same place.
    """

    def __init__(
        self, database: Database, spec: Spec, signals: Signals, *, users: int, items: int
    ) -> None:
        self._database = database
        self._spec = spec
        self._signals = signals
        self._lists = (
            (WorkList(stale_items), items_without_text(spec.fingerprint), items),
            (WorkList(stale_users), uncovered_users(spec), users),
        )
        self._num_subjects = 0
        self._logged_at = 0.0

    async def run(self) -> None:
        """Return when everything is covered, or was tried too often; outages are waited out."""
        before: _Found | None = None
        while True:
            try:
                found = await self._pass()
            except OUTAGES:
                await asyncio.sleep(_AFTER_OUTAGE_S)
                continue
            if found.num_lacking == 0:
                # What waited was read; a worker that lacks this encoder may have done so.
                if found.num_waiting == 0 or (before is not None and before.num_lacking == 0):
                    return
            elif before is not None and found.num_lacking >= before.num_lacking:
                # Whoever reads does not read with this encoder yet.
                await asyncio.sleep(_WITHOUT_PROGRESS_S)
            before = found

    async def _pass(self) -> _Found:
        """Look at everything once, put what lacks on the lists, wait until it has been read."""
        num_lacking = num_waiting = 0
        for work, uncovered, size in self._lists:
            after: int | None = 0
            while after is not None:
                look = partial(self._look, work=work, uncovered=uncovered, after=after)
                after, lacking, num = await self._database.read(look)
                num_waiting += num
                for some in _batched(lacking.items(), size):
                    await self._database.write(partial(work.mark, versions=dict(some)))
                    self._signals.work.notify()
                    self._note(len(some))
                    await self._until_few(work, size // 2)
                num_lacking += len(lacking)
        for work, _, _ in self._lists:
            await self._until_few(work, 0, await self._database.read(work.newest_mark))
        return _Found(num_lacking, num_waiting)

    async def _look(
        self, connection: DatabaseConnection, *, work: WorkList, uncovered: Subjects, after: int
    ) -> tuple[int | None, dict[int, int], int]:
        """Return the last subject of the page after one, None without any, and what lacks.

        The third number counts what is uncovered and on the list already: it is read anyway, or
        has failed too often.
        """
        last = (await connection.execute(uncovered.last_of_page(after, PAGE))).scalar_one()
        if last is None:
            return None, {}, 0
        rows = await connection.execute(uncovered.between(after, last))
        found = {row[0]: row[1] for row in rows}
        waiting = await work.waiting(connection, found)
        lacking = {s: version for s, version in found.items() if s not in waiting}
        return last, lacking, len(waiting)

    def _note(self, num: int) -> None:
        self._num_subjects += num
        gauge("backfilled_subjects", self._num_subjects)
        now = asyncio.get_running_loop().time()
        if now >= self._logged_at + _LOG_EVERY_S:
            self._logged_at = now
            _log.info("backfilling", fingerprint=self._spec.fingerprint, read=self._num_subjects)

    async def _until_few(self, work: WorkList, few: int, until_us: int = _ALL_TIMES) -> None:
        """Wait until at most so many subjects wait that were marked by then and can be read."""
        while True:
            count = partial(work.count, marked_until_us=until_us, max_attempts=HOPELESS)
            if await self._database.read(count) <= few:
                return
            await asyncio.sleep(_POLL_S)


def _batched(pairs: Iterable[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    """Cut pairs into lists of at most `size`."""
    rest = iter(pairs)
    while some := list(islice(rest, size)):
        yield some
