"""Rebuilds all profiles of a database: finds the pages, and keeps the progress."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import pyarrow as pa

from groundswell.artifacts.store import load_bundle
from groundswell.profile_service.identity.secret_keys import check_secrets
from groundswell.profile_service.rebuild.log_histories import LogRow
from groundswell.profile_service.rebuild.page_engine import PageEngine
from groundswell.profile_service.rebuild.pages import ITEM_NO, LOG, LOG_TYPE, USER_NO, Plan
from groundswell.profile_service.rebuild.users import Counts
from groundswell.profile_service.store import rebuilds
from groundswell.profile_service.store.coverage import uncovered_items, uncovered_users
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.engines import Work
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.store.statements import Subjects
from groundswell.profile_service.worker.reading import READ_TIMEOUT_S
from groundswell.profile_service.worker.uncovered import page_of_uncovered
from groundswell.serving.pseudonym import Pseudonymizer

T = TypeVar("T")

_PAGE = 100
"""Users, or items, of a page."""
_KEEP_EVERY_S = 1.0

Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Shows progress: it gets what is counted (`users`, `items`), and gives `update(done, of)`."""


class HistoryLog(Protocol):
    """An event log beside the database."""

    pseudonyms: Pseudonymizer

    def rows_of(self, keys: Sequence[bytes]) -> Sequence[Sequence[LogRow] | None]:
        """Return the rows of each user, by the user's key; None for those that the log lacks."""
        ...


class Rebuilt(NamedTuple):
    """The result of a rebuild."""

    items: Counts
    users: Counts
    num_earlier: int
    """The users that an interrupted run had done before."""


def rebuild(
    plan: Plan,
    open_engine: Callable[[Plan], AbstractContextManager[PageEngine]],
    progress: Progress,
    log: HistoryLog | None = None,
) -> Rebuilt:
    """Encode the items without a vector, and make the profile of every user again.

    The histories are read from the database, or from a log where that has the same events. After
    an interruption the next run goes on where this one stopped. Raises StartError for a new
    database, for a file of SQLite that is in use and for a log's wrong secret, BundleError, and
    Unavailable.
    """
    spec = Spec.of(load_bundle(plan.bundle).manifest)
    with asyncio.Runner() as runner:
        database = Database(plan.database_url)
        try:
            runner.run(database.open(existing=True))
            if log is not None:
                runner.run(check_secrets(database, log.pseudonyms))
            with open_engine(plan) as engine:
                return _Rebuild(runner, database, spec, engine, progress, log).run()
        finally:
            runner.run(database.close())


class _Rebuild:
    """One run of a rebuild."""

    def __init__(
        self,
        runner: asyncio.Runner,
        database: Database,
        spec: Spec,
        engine: PageEngine,
        progress: Progress,
        log: HistoryLog | None,
    ) -> None:
        self._runner = runner
        self._database = database
        self._spec = spec
        self._engine = engine
        self._progress = progress
        self._log = log

    def run(self) -> Rebuilt:
        items = self._items()
        after = self._read(partial(rebuilds.progress, spec=self._spec))
        total, left = self._read(partial(rebuilds.count_users, after=after))
        with self._progress("users") as update:
            users = self._users(after, lambda num_done: update(num_done, total), total - left)
        if after:
            # Profiles that the earlier run stored may have been lost since.
            users = users.plus(self._uncovered(after))
        self._write(partial(rebuilds.forget_progress, spec=self._spec))
        return Rebuilt(items, users, total - left)

    def _items(self) -> Counts:
        lacking = uncovered_items(self._spec.fingerprint)
        item_nos = [number for page in self._subjects(lacking) for number in page]
        pages = (pa.table({ITEM_NO: page}) for page in _cut(item_nos))
        counts, num_done = Counts(), 0
        if item_nos:
            with self._progress("items") as update:
                update(0, len(item_nos))
                for page in self._engine.run(pages):
                    counts = counts.plus(page.counts)
                    num_done += sum(page.counts)
                    update(num_done, len(item_nos))
        return counts

    def _users(self, after: int, update: Callable[[int], None], num_done: int) -> Counts:
        counts, kept_s = Counts(), -_KEEP_EVERY_S
        update(num_done)
        for last, some in self._engine.run(self._user_pages(after)):
            counts, num_done = counts.plus(some), num_done + sum(some)
            update(num_done)
            if time.monotonic() >= kept_s + _KEEP_EVERY_S:
                self._write(partial(rebuilds.keep_progress, spec=self._spec, last=last))
                kept_s = time.monotonic()
        return counts

    def _uncovered(self, until: int) -> Counts:
        """Rebuild users up to a number who have no profile, or one that lacks events."""
        pages = self._subjects(uncovered_users(self._spec))
        first = [number for page in pages for number in page if number <= until]
        counts = Counts()
        for _, some in self._engine.run(pa.table({USER_NO: page}) for page in _cut(first)):
            counts = counts.plus(some)
        return counts

    def _user_pages(self, after: int) -> Iterator[pa.Table]:
        while True:
            find = partial(rebuilds.page_of_users, after=after, limit=_PAGE)
            user_nos, keys = self._read(find)
            if not user_nos:
                return
            columns = {USER_NO: pa.array(user_nos)}
            if self._log is not None:
                columns[LOG] = pa.array(self._log.rows_of(keys), LOG_TYPE)
            yield pa.table(columns)
            after = user_nos[-1]

    def _subjects(self, uncovered: Subjects) -> Iterator[list[int]]:
        after: int | None = 0
        while after is not None:
            look = partial(page_of_uncovered, uncovered=uncovered, after=after)
            after, found = self._read(look)
            yield sorted(found)

    def _read(self, work: Work[T]) -> T:
        return self._runner.run(self._database.read(work, timeout_s=READ_TIMEOUT_S))

    def _write(self, work: Work[T]) -> T:
        return self._runner.run(self._database.write(work))


def _cut(numbers: Sequence[int]) -> Iterable[Sequence[int]]:
    return (numbers[start : start + _PAGE] for start in range(0, len(numbers), _PAGE))
