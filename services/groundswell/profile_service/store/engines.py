"""Makes the engine of a database, and runs each transaction on it as one function."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from functools import partial
from math import inf
from typing import Any, NamedTuple, Protocol, TypeVar

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import Dialect, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from groundswell.profile_service.store.borrowing import Borrowing
from groundswell.profile_service.store.change_feed import ChangeFeed
from groundswell.profile_service.store.change_triggers import collect_changes
from groundswell.profile_service.store.changes import Change, KnownChanges, changes_made
from groundswell.profile_service.store.failures import Cause, cause_of

T = TypeVar("T")
Work = Callable[[Connection], T]
"""The body of a transaction. Over SQLite it runs in a thread: it must not touch what the event loop
changes."""

_Connect = Callable[[AsyncEngine], AbstractAsyncContextManager[AsyncConnection]]

_CONNECT = {
    "connect_timeout": 5,
    # A server that disappeared is noticed within the timeout of a call.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
_IDLE_S = 1.0
_USED_S = "used_s"
"""When a connection of the pool was given back last."""


class Transactions(Protocol):
    """Runs transactions of one kind."""

    async def run(self, work: Work[T], end_s: float) -> T:
        """Return the result of `work`, committed; roll back when it raises.

        A transaction that takes until `end_s`, a time of `time.monotonic`, is rolled back. Raises
        what the database raises, and TimeoutError.
        """
        ...


class Engines(NamedTuple):
    """The kinds of transactions of one database, over the same connections."""

    reading: Transactions
    """All statements of a transaction see one state of the database."""
    single: Transactions
    """Reads with one statement, without a transaction where that saves the way to the server."""
    writing: Transactions
    migrating: Transactions
    """Foreign keys are not checked in SQLite."""
    dispose: Callable[[], Awaitable[None]]
    """Closes the connections that no transaction uses; the engines can be used again."""
    probe: Callable[[], Awaitable[None]] | None
    """Returns when the database answers; None for a file."""
    feed: ChangeFeed | None
    """Publishes the changes of all processes; None for a file, which has one."""


def sqlite_engines(url: URL, pool_size: int, changes: KnownChanges) -> Engines:
    """Make the engines of a file of SQLite; what they commit is published to `changes`.

    The connection that was used last is used next: it has statements and pages in memory, and its
    pages are right as long as no other connection wrote.
    """
    # Logs must not hold the parameters of statements: ids and texts.
    file = url.set(drivername="sqlite")
    engine = create_engine(
        file, pool_size=pool_size, max_overflow=0, pool_use_lifo=True, hide_parameters=True
    )
    event.listen(engine, "connect", partial(_prepare_sqlite, notes=True))
    # A table that is copied must have no triggers of a connection.
    migrator = create_engine(file, poolclass=NullPool, hide_parameters=True)
    event.listen(migrator, "connect", partial(_prepare_sqlite, notes=False))
    for one in (engine, migrator):
        event.listen(one, "begin", _begin_sqlite)
    threads = ThreadPoolExecutor(pool_size, thread_name_prefix="store")
    # A reader that turned writer could find its snapshot outdated; so a writer begins as one.
    writing = engine.execution_options(begin="BEGIN IMMEDIATE")
    migrating = migrator.execution_options(begin="BEGIN IMMEDIATE", foreign_keys="OFF")
    reading = _InThreads(engine, threads, changes)
    return Engines(
        reading,
        reading,
        _InThreads(writing, threads, changes),
        _InThreads(migrating, threads, changes),
        partial(asyncio.to_thread, engine.dispose),
        None,
        None,
    )


def postgresql_engines(
    url: URL, pool_size: int, pool_timeout_s: float, changes: KnownChanges
) -> Engines:
    """Make the engines of a server of PostgreSQL; its feed publishes to `changes`.

    The connection that was used last is used next: both ends have its statements ready, and it need
    not be asked whether it is alive.
    """
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_timeout_s,
        pool_use_lifo=True,
        hide_parameters=True,
        connect_args=_CONNECT,
    )
    event.listen(engine.sync_engine, "connect", _prefer_indexes)
    event.listen(engine.sync_engine, "checkout", partial(_ping_idle, engine.dialect))
    event.listen(engine.sync_engine, "handle_error", _leave_read_only)
    event.listen(engine.sync_engine, "checkin", _given_back)
    # By default each statement of a transaction would see another state.
    reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    single = engine.execution_options(isolation_level="AUTOCOMMIT")
    connect = Borrowing(pool_timeout_s).connect
    writing = _OnTheLoop(engine, connect, changes)
    alone = create_async_engine(url, poolclass=NullPool, connect_args=_CONNECT)
    return Engines(
        _OnTheLoop(reading, connect, changes),
        _OnTheLoop(single, connect, changes),
        writing,
        writing,
        engine.dispose,
        partial(_reach, alone, engine, connect),
        ChangeFeed(alone, changes),
    )


class _InThreads:
    """Runs each transaction in a thread, from its beginning to its end.

    A statement cannot be interrupted: it ends by itself.
    """

    def __init__(self, engine: Engine, threads: ThreadPoolExecutor, changes: KnownChanges) -> None:
        self._engine = engine
        self._threads = threads
        self._changes = changes

    async def run(self, work: Work[T], end_s: float) -> T:
        loop = asyncio.get_running_loop()
        made: list[Change] = []
        try:
            return await loop.run_in_executor(self._threads, self._transact, work, end_s, made)
        finally:
            # Before the caller knows that it is written.
            self._changes.publish(made)

    def _transact(self, work: Work[T], end_s: float, made: list[Change]) -> T:
        with self._engine.begin() as connection:
            result = _noting(work, made, connection)
            if time.monotonic() > end_s:
                raise TimeoutError
            return result


class _OnTheLoop:
    """Runs transactions on the event loop, which goes on while the server works.

    The driver closes a connection that is interrupted.
    """

    def __init__(self, engine: AsyncEngine, connect: _Connect, changes: KnownChanges) -> None:
        self._engine = engine
        self._connect = connect
        self._changes = changes

    async def run(self, work: Work[T], end_s: float) -> T:
        until_s = None if end_s == inf else end_s
        made: list[Change] = []
        try:
            async with asyncio.timeout_at(until_s), self._connect(self._engine) as connection:
                return await connection.run_sync(partial(_transact, work, made))
        finally:
            self._changes.publish(made)


def _transact(work: Work[T], made: list[Change], connection: Connection) -> T:
    with connection.begin():
        return _noting(work, made, connection)


def _noting(work: Work[T], made: list[Change], connection: Connection) -> T:
    """Run the body of a transaction, and add to `made` the changes that it makes.

    An error of the commit may leave them made, so they are published all the same.
    """
    noted = changes_made(connection)
    noted.clear()
    try:
        return work(connection)
    finally:
        # Also when it raises: the body of a write of events commits.
        made += noted


async def _reach(alone: AsyncEngine, pool: AsyncEngine, connect: _Connect) -> None:
    """Make a connection that no pool holds, and use it; where none can be made, use the pool's.

    A server that has no room for another connection still serves those that there are.
    """
    try:
        await _use(alone, AsyncEngine.connect)
    except OperationalError:
        await _use(pool, connect)


async def _use(engine: AsyncEngine, connect: _Connect) -> None:
    async with connect(engine) as connection:
        await connection.exec_driver_sql("SELECT 1")


def _prefer_indexes(connection: Any, _: ConnectionPoolEntry) -> None:
    """Let the server look up some rows by index where it would read ten thousands.

    Its default is meant for disks that turn: there an index costs more than it does in memory.
    """
    connection.set_autocommit(True)
    connection.cursor().execute("SET random_page_cost = 1.1")
    connection.set_autocommit(False)


def _ping_idle(dialect: Dialect, connection: Any, entry: ConnectionPoolEntry, _: object) -> None:
    """Notice that an idle connection broke, as when the database restarted, before it is used.

    One that was just used is not asked: that would be one more way to the server for each call.
    """
    if time.monotonic() - entry.info.get(_USED_S, -inf) > _IDLE_S:
        try:
            dialect.do_ping(connection)
        except psycopg.Error as error:
            raise InvalidatePoolError from error


def _given_back(connection: Any, entry: ConnectionPoolEntry) -> None:
    """After a reading transaction, let the server decide again whether the next one may write.

    SQLAlchemy would ask for writing, whatever the server's default says.
    """
    entry.info[_USED_S] = time.monotonic()
    if connection is not None and connection.read_only is False:
        connection.set_read_only(None)


def _leave_read_only(context: ExceptionContext) -> None:
    """Drop the connections to a server that became read-only: another one may be the leader now."""
    error = context.sqlalchemy_exception
    if error is not None and cause_of(error) is Cause.READ_ONLY:
        context.is_disconnect = True


def _prepare_sqlite(
    connection: DBAPIConnection, entry: ConnectionPoolEntry, *, notes: bool
) -> None:
    connection.isolation_level = None  # the driver's own transactions begin too late
    cursor = connection.cursor()
    try:
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "busy_timeout=5000",
            "foreign_keys=ON",
            "secure_delete=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.execute("SELECT 1 FROM sqlite_master WHERE name = 'identity'")
        if notes and cursor.fetchone():
            collect_changes(connection, entry)
    except Exception:
        # The pool does not know this connection yet, and would not close it.
        connection.close()
        raise
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if "foreign_keys" in options:
        # It cannot be changed inside a transaction.
        connection.exec_driver_sql(f"PRAGMA foreign_keys={options['foreign_keys']}")
    connection.exec_driver_sql(options.get("begin", "BEGIN"))
