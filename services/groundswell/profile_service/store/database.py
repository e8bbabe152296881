"""Opens the database, and runs transactions that raise the errors of the contract."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from math import inf
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from groundswell.profile_service.store.changes import KnownChanges
from groundswell.profile_service.store.compaction import empty_write_ahead_log
from groundswell.profile_service.store.engines import (
    Transactions,
    Work,
    postgresql_engines,
    sqlite_engines,
)
from groundswell.profile_service.store.failures import cause_of, service_error
from groundswell.profile_service.store.file_lock import (
    check_file,
    check_writable,
    lock_file,
    naming_file,
)
from groundswell.profile_service.store.gates import Gate, enter
from groundswell.profile_service.store.migrations import is_new, upgrade
from groundswell.profile_service.store.outages import Outages
from groundswell.serving.errors import ServiceError, Unavailable
from groundswell.serving.redaction import masked
from groundswell.serving.server import StartError
from groundswell.serving.telemetry import unexpected
from groundswell.serving.tracing import stage

DatabaseConnection = Connection
"""What statements run on; use cases hand it on and never run SQL of their own."""

T = TypeVar("T")

_log = structlog.get_logger(__name__)
_CALL_TIMEOUT_S = 30.0
"""No call waits longer for the database, whatever deadline its client has."""
_CLOSE_TIMEOUT_S = 5.0
_OPEN_AGAIN_S = 0.5


class Database:
    """The connections to the database. It connects again by itself after an outage.

    A transaction is a function that runs in a task of its own. When its call ends early (the
    deadline passed, the client hung up), the transaction still runs to its end: a driver that is
    interrupted in a statement would leave the transaction open and its locks held. At most
    `pool_size` transactions run at once. A call that ends while it waits starts none.

    A file of SQLite serves one process, which `open` ensures. It has one writer at a time, so
    writing transactions wait for each other.
    """

    def __init__(self, url: str, *, pool_size: int = 8, pool_timeout_s: float = 2.0) -> None:
        self._url = make_url(url)
        self._is_sqlite = self._url.get_backend_name() == "sqlite"
        self.changes = KnownChanges(is_live=self._is_sqlite)
        self._engines = (
            sqlite_engines(self._url, pool_size, self.changes)
            if self._is_sqlite
            else postgresql_engines(self._url, pool_size, pool_timeout_s, self.changes)
        )
        gates = [Gate(asyncio.Semaphore(pool_size), pool_timeout_s)]
        writer = [Gate(asyncio.Semaphore(1), _CALL_TIMEOUT_S)] if self._is_sqlite else []
        self._reading = _Mode("read", self._engines.reading, gates)
        self._single = _Mode("read", self._engines.single, gates)
        self._writing = _Mode("write", self._engines.writing, [*writer, *gates])
        self._migrating = _Mode("write", self._engines.migrating, [*writer, *gates])
        self._outages = Outages(self._engines.probe)
        self._running: set[asyncio.Task[Any]] = set()
        self._is_closing = False
        self._held = ExitStack()

    async def open(self, *, wait_s: float = 0.0, existing: bool = False) -> None:
        """Bring the tables to this release's form, from empty or from an older one.

        A database that does not answer is waited for, at most `wait_s`. With `existing` a new
        database is refused, and gets no table.

        Raises StartError (DATABASE_IN_USE, DATABASE_UNUSABLE) for a file of SQLite that
        another process holds, that is damaged or cannot be written, StartError (DATABASE_NEW), and
        Unavailable.
        """
        self._is_closing = False
        named: AbstractContextManager[None] = nullcontext()
        if self._is_sqlite:
            if existing:
                check_file(Path(str(self._url.database)))
            check_writable(Path(str(self._url.database)))
            self._held.enter_context(lock_file(Path(f"{self._url.database}.lock")))
            named = naming_file(Path(str(self._url.database)))
        try:
            with named:
                if existing:
                    await self._refuse_new()
                await self._migrate(wait_s)
        finally:
            # The connections of SQLite that are made from here on check foreign keys.
            await self._engines.dispose()

    async def _refuse_new(self) -> None:
        if await self.read(is_new):
            place = masked(self._url.render_as_string(hide_password=False))
            message = (
                f"{place} holds no tables of the profile service: it is new, or of something else; "
                "name the database that the profile service uses"
            )
            raise StartError("DATABASE_NEW", message)

    async def _migrate(self, wait_s: float) -> None:
        # Waiting does not help with a file: its error is raised at once.
        end_s = time.monotonic() + (0.0 if self._is_sqlite else wait_s)
        while True:
            try:
                return await self._run(self._migrating, lambda: upgrade, inf)
            except Unavailable:
                if time.monotonic() >= end_s:
                    raise
            await asyncio.sleep(_OPEN_AGAIN_S)

    async def read(self, work: Work[T], *, timeout_s: float = _CALL_TIMEOUT_S) -> T:
        """Return the result of `work`, all of whose reads see one state of the database.

        Raises Unavailable (STORE_UNAVAILABLE) and ResourceExhausted (OVERLOADED).
        """
        return await self._run(self._reading, lambda: work, timeout_s)

    async def read_once(self, work: Work[T]) -> T:
        """Return the result of `work`, which sends one statement. Raises as `read`."""
        return await self._run(self._single, lambda: work, _CALL_TIMEOUT_S)

    async def follow_changes(self) -> None:
        """Learn from now on of the changes that other processes make; see `changes`."""
        if self._engines.feed is not None:
            await self._engines.feed.start()

    async def changes_published(self) -> None:
        """Return when every change that is committed now is published to `changes`, if it is live.

        Raises as `write`.
        """
        if self._engines.feed is not None:
            await self._engines.feed.caught_up(self.write)
        else:
            # A writer has published what it changed when it gives its place back.
            (await enter(self._writing.gates)).close()

    async def write(self, work: Work[T], *, timeout_s: float = _CALL_TIMEOUT_S) -> T:
        """Run `work` in a transaction: committed when it returns, rolled back when it raises.

        Raises Unavailable (STORE_UNAVAILABLE): nothing was written, unless the connection broke
        in the very commit. Raises ResourceExhausted (OVERLOADED, STORAGE_FULL): nothing was
        written.
        """
        return await self._run(self._writing, lambda: work, timeout_s)

    async def write_when_free(self, begin: Callable[[], Work[T]]) -> T:
        """As `write`, of what `begin` returns when the transaction's turn has come."""
        return await self._run(self._writing, begin, _CALL_TIMEOUT_S)

    async def compact(self) -> bool:
        """Leave no bytes of deleted rows in the files of SQLite; False: something reads them now.

        PostgreSQL does so by VACUUM. Raises as `write`.
        """
        if not self._is_sqlite:
            return True
        with self._failures(self._writing):
            file = Path(str(self._url.database))
            return await asyncio.to_thread(empty_write_ahead_log, file)

    async def close(self) -> None:
        """Let every transaction end, close all connections, and release the file of SQLite.

        Calls that still wait for their turn raise Unavailable (CLOSING).
        """
        self._is_closing = True
        if self._engines.feed is not None:
            await self._engines.feed.close()
        if self._running:
            _, hanging = await asyncio.wait(self._running, timeout=_CLOSE_TIMEOUT_S)
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
        await self._outages.close()
        await self._engines.dispose()
        self._held.close()

    async def _run(self, mode: "_Mode", begin: Callable[[], Work[T]], timeout_s: float) -> T:
        """Wait for the transaction's turn, run it in a task of its own, and wait for its end."""
        self._outages.check()
        places = await enter(mode.gates)
        if self._is_closing:
            places.close()
            raise Unavailable("CLOSING", "the process is shutting down")
        # Nothing can interrupt from here to the next await, so the places are always given back.
        end_s = time.monotonic() + timeout_s
        task = asyncio.create_task(self._transaction(mode, begin(), end_s))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda _: places.close())
        try:
            with stage(mode.name), self._failures(mode), self._outages.watching():
                async with asyncio.timeout_at(None if end_s == inf else end_s):
                    return await asyncio.shield(task)
        except BaseException:
            if not task.done():
                task.add_done_callback(_report)
            raise

    async def _transaction(self, mode: "_Mode", work: Work[T], end_s: float) -> T:
        with self._failures(mode):
            result = await mode.transactions.run(work, end_s)
        self._outages.worked(mode.name)
        return result

    @contextmanager
    def _failures(self, mode: "_Mode") -> Iterator[None]:
        """Turn failures of the database into errors of the contract."""
        try:
            yield
        except ServiceError:
            raise
        except Exception as error:
            cause = cause_of(error)
            if cause is None:
                raise
            self._outages.failed(mode.name, cause, error)
            raise service_error(cause) from error


class _Mode(NamedTuple):
    """A kind of transaction, and the gates that each one goes through."""

    name: str
    transactions: Transactions
    gates: list[Gate]


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def _report(task: "asyncio.Task[Any]") -> None:
    """Log an unexpected failure of a transaction whose caller has left."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, ServiceError):
        _log.error("transaction_failed", **unexpected(error))
