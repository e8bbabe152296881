"""The database: its engine, and transactions that raise the errors of the contract."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
)
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import structlog
from sqlalchemy import Connection, event
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from groundswell.profile_service.migrations import is_new, upgrade
from groundswell.profile_service.store.borrowing import Borrowing
from groundswell.profile_service.store.failures import Cause, cause_of, service_error
from groundswell.profile_service.store.file_lock import (
    check_file,
    check_writable,
    lock_file,
    naming_file,
)
from groundswell.profile_service.store.gates import Gate, enter
from groundswell.profile_service.store.outages import Outages
from groundswell.serving.errors import ServiceError, Unavailable
from groundswell.serving.redaction import masked
from groundswell.serving.server import StartError
from groundswell.serving.telemetry import unexpected

DatabaseConnection = AsyncConnection
"""What statements run on; use cases hand it on and never run SQL of their own."""

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]
"""The body of a transaction."""

_Begin = Callable[[AsyncEngine], AbstractAsyncContextManager[AsyncConnection]]

_log = structlog.get_logger(__name__)
_CONNECT = {
    "connect_timeout": 5,
    # A server that disappeared is noticed within the timeout of a call.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
_CALL_TIMEOUT_S = 30.0
"""No call waits longer for the database, whatever deadline its client has."""
_CLOSE_TIMEOUT_S = 5.0
_OPEN_AGAIN_S = 0.5


class Database:
    """One engine for the life of the process; it connects again by itself after an outage.

    A transaction is a function that runs in a task of its own. When its caller leaves (its deadline
    passed, its client hung up), the transaction still runs to its end: a driver that is interrupted
    in a statement would leave the transaction open and its locks held. At most `pool_size` such
    tasks run; a caller that leaves before its turn starts none.

    SQLite allows one process, which `open` ensures, and one writer in it: writing transactions wait
    for each other.
    """

    def __init__(self, url: str, *, pool_size: int = 8, pool_timeout_s: float = 2.0) -> None:
        self._url = make_url(url)
        self._is_sqlite = self._url.get_backend_name() == "sqlite"
        self._engine = _make_engine(url, self._is_sqlite, pool_size, pool_timeout_s)
        self._begin: _Begin = AsyncEngine.begin
        if not self._is_sqlite:
            self._begin = Borrowing(pool_timeout_s).begin
        reading, writing = _modes(self._engine, self._is_sqlite)
        gates = [Gate(asyncio.Semaphore(pool_size), pool_timeout_s)]
        writer = [Gate(asyncio.Semaphore(1), _CALL_TIMEOUT_S)] if self._is_sqlite else []
        self._reading = _Mode("read", reading, gates)
        self._writing = _Mode("write", writing, [*writer, *gates])
        probe = None if self._is_sqlite else partial(_reach, url, self._engine, self._begin)
        self._outages = Outages(probe)
        self._running: set[asyncio.Task[Any]] = set()
        self._held = ExitStack()

    async def open(self, *, wait_s: float = 0.0, existing: bool = False) -> None:
        """Bring the tables to this release's form, from empty or from an older one.

        A database that does not answer is waited for, at most `wait_s`. With `existing` a new
        database is refused, and gets no table.

        Raises StartError (DATABASE_IN_USE, DATABASE_UNUSABLE) for a file of SQLite that
        another process holds, that is damaged or cannot be written, StartError (DATABASE_NEW), and
        Unavailable.
        """
        named: AbstractContextManager[None] = nullcontext()
        if self._is_sqlite:
            if existing:
                check_file(Path(str(self._url.database)))
            check_writable(Path(str(self._url.database)))
            self._held.enter_context(lock_file(Path(f"{self._url.database}.lock")))
            named = naming_file(Path(str(self._url.database)))
        migrating = self._writing.engine.execution_options(foreign_keys="OFF")
        try:
            mode = self._writing._replace(engine=migrating)
            with named:
                if existing:
                    await self._refuse_new()
                await self._migrate(mode, wait_s)
        finally:
            # The connections of SQLite that are made from here on check foreign keys.
            await self._engine.dispose()

    async def _refuse_new(self) -> None:
        if await self.read(lambda c: c.run_sync(is_new)):
            place = masked(self._url.render_as_string(hide_password=False))
            message = (
                f"{place} holds no tables of the profile service: it is new, or of something else; "
                "name the database that the profile service uses"
            )
            raise StartError("DATABASE_NEW", message)

    async def _migrate(self, mode: "_Mode", wait_s: float) -> None:
        # Waiting does not help with a file: its error is raised at once.
        end_s = time.monotonic() + (0.0 if self._is_sqlite else wait_s)
        while True:
            try:
                return await self._run(mode, lambda c: c.run_sync(upgrade), None)
            except Unavailable:
                if time.monotonic() >= end_s:
                    raise
            await asyncio.sleep(_OPEN_AGAIN_S)

    async def read(self, work: Work[T], *, timeout_s: float = _CALL_TIMEOUT_S) -> T:
        """Return the result of `work`, all of whose reads see one state of the database.

        Raises Unavailable (STORE_UNAVAILABLE) and ResourceExhausted (OVERLOADED).
        """
        return await self._run(self._reading, work, timeout_s)

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction: committed when it returns, rolled back when it raises.

        Raises Unavailable (STORE_UNAVAILABLE): nothing was written, unless the connection broke
        in the very commit. Raises ResourceExhausted (OVERLOADED, STORAGE_FULL): nothing was
        written.
        """
        return await self._run(self._writing, work, _CALL_TIMEOUT_S)

    async def close(self) -> None:
        """Let every transaction end, close all connections, and release the file of SQLite."""
        if self._running:
            _, hanging = await asyncio.wait(self._running, timeout=_CLOSE_TIMEOUT_S)
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
        await self._outages.close()
        await self._engine.dispose()
        self._held.close()

    async def _run(self, mode: "_Mode", work: Work[T], timeout_s: float | None) -> T:
        """Wait for the transaction's turn, run it in a task of its own, and wait for its end."""
        self._outages.check()
        places = await enter(mode.gates)
        # Nothing can interrupt from here to the next await, so the places are always given back.
        task = asyncio.create_task(self._transaction(mode, work, timeout_s))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda _: places.close())
        try:
            with self._failures(mode), self._outages.watching():
                async with asyncio.timeout(timeout_s):
                    return await asyncio.shield(task)
        except BaseException:
            if not task.done():
                task.add_done_callback(_report)
            raise

    async def _transaction(self, mode: "_Mode", work: Work[T], timeout_s: float | None) -> T:
        # PostgreSQL's driver closes a connection that is interrupted. SQLite's does not; there
        # each statement ends by itself, and a transaction that took too long is not committed.
        loop = asyncio.get_running_loop()
        end_s = inf if timeout_s is None else loop.time() + timeout_s
        interrupted_s = None if self._is_sqlite or timeout_s is None else end_s
        with self._failures(mode):
            async with (
                asyncio.timeout_at(interrupted_s),
                self._begin(mode.engine) as connection,
            ):
                result = await work(connection)
                if loop.time() > end_s:
                    raise TimeoutError
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
    """How a kind of transaction begins."""

    name: str
    engine: AsyncEngine
    gates: list[Gate]


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


async def _reach(url: str, pool: AsyncEngine, begin: _Begin) -> None:
    """Make a connection that no pool holds, and use it; where none can be made, use the pool's.

    A server that has no room for another connection still serves those that there are.
    """
    alone = create_async_engine(url, poolclass=NullPool, connect_args=_CONNECT)
    try:
        await _use(alone, AsyncEngine.begin)
    except OperationalError:
        await _use(pool, begin)


async def _use(engine: AsyncEngine, begin: _Begin) -> None:
    async with begin(engine) as connection:
        await connection.exec_driver_sql("SELECT 1")


def _report(task: "asyncio.Task[Any]") -> None:
    """Log an unexpected failure of a transaction whose caller has left."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, ServiceError):
        _log.error("transaction_failed", **unexpected(error))


def _make_engine(url: str, is_sqlite: bool, pool_size: int, pool_timeout_s: float) -> AsyncEngine:
    # Logs must not hold the parameters of statements: ids and texts.
    bounded = partial(
        create_async_engine,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_timeout_s,
        hide_parameters=True,
    )
    if is_sqlite:
        engine = bounded(url)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    # A connection that broke when the database restarted is noticed before it is used.
    engine = bounded(url, pool_pre_ping=True, connect_args=_CONNECT)
    event.listen(engine.sync_engine, "handle_error", _leave_read_only)
    event.listen(engine.sync_engine, "checkin", _write_if_the_server_does)
    return engine


def _write_if_the_server_does(connection: Any, _: ConnectionPoolEntry) -> None:
    """After a reading transaction, let the server decide again whether the next one may write.

    SQLAlchemy would ask for writing, whatever the server's default says.
    """
    if connection is not None and connection.read_only is False:
        connection.set_read_only(None)


def _leave_read_only(context: ExceptionContext) -> None:
    """Drop the connections to a server that became read-only: another one may lead by now."""
    error = context.sqlalchemy_exception
    if error is not None and cause_of(error) is Cause.READ_ONLY:
        context.is_disconnect = True


def _modes(engine: AsyncEngine, is_sqlite: bool) -> tuple[AsyncEngine, AsyncEngine]:
    """The engine for reading and the one for writing, over the same connections."""
    if is_sqlite:
        # A reader that turned writer could find its snapshot outdated; so a writer begins as one.
        return engine, engine.execution_options(begin="BEGIN IMMEDIATE")
    # By default each statement of a transaction would see another state.
    reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return reading, engine


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver's own transactions begin too late for a consistent read; ours begin explicitly.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "busy_timeout=5000",
            "foreign_keys=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
    except Exception:
        # The pool does not know this connection yet, and would not end its thread.
        connection.close()
        raise
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if "foreign_keys" in options:
        # It cannot be changed inside a transaction.
        connection.exec_driver_sql(f"PRAGMA foreign_keys={options['foreign_keys']}")
    connection.exec_driver_sql(options.get("begin", "BEGIN"))
