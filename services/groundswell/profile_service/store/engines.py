"""Makes the engine of a database, and runs each transaction on it as one function."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from math import inf
from typing import NamedTuple, Protocol, TypeVar

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool
from sqlalchemy.util import greenlet_spawn

from groundswell.profile_service.store.borrowing import Borrowing
from groundswell.profile_service.store.change_feed import ChangeFeed
from groundswell.profile_service.store.change_triggers import collect_changes
from groundswell.profile_service.store.changes import Change, KnownChanges, changes_made
from groundswell.profile_service.store.postgres_engines import pooled_engine, unpooled_engine

T = TypeVar("T")
Work = Callable[[Connection], T]
"""The body of a transaction. Over SQLite it runs in a thread: it must not touch what the event loop
changes."""

_Connect = Callable[[], AbstractContextManager[Connection]]


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
    """Reads with one statement, without a transaction around it; see `read_rows`."""
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
    return Engines(
        _InThreads(engine.begin, threads, changes),
        _InThreads(engine.connect, threads, changes),
        _InThreads(writing.begin, threads, changes),
        _InThreads(migrating.begin, threads, changes),
        partial(asyncio.to_thread, engine.dispose),
        None,
        None,
    )


def postgresql_engines(
    url: URL, pool_size: int, pool_timeout_s: float, changes: KnownChanges
) -> Engines:
    """Make the engines of a server of PostgreSQL; its feed publishes to `changes`."""
    engine = pooled_engine(url, pool_size, pool_timeout_s)
    pool, connect = engine.sync_engine, Borrowing(pool_timeout_s).connect
    # By default each statement of a transaction would see another state.
    reading = pool.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    single = pool.execution_options(isolation_level="AUTOCOMMIT")
    writing = _OnTheLoop(partial(connect, pool), Connection.begin, changes)
    alone = unpooled_engine(url)
    return Engines(
        _OnTheLoop(partial(connect, reading), Connection.begin, changes),
        _OnTheLoop(partial(connect, single), nullcontext, changes),
        writing,
        writing,
        engine.dispose,
        partial(_reach, alone.sync_engine.connect, partial(connect, pool)),
        ChangeFeed(alone, changes),
    )


class _InThreads:
    """Runs each transaction in a thread, from its beginning to its end.

    A statement cannot be interrupted: it ends by itself.
    """

    def __init__(
        self,
        begin: _Connect,
        threads: ThreadPoolExecutor,
        changes: KnownChanges,
    ) -> None:
        self._begin = begin
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
        with self._begin() as connection:
            result = _noting(work, made, connection)
            if time.monotonic() > end_s:
                raise TimeoutError
            return result


class _OnTheLoop:
    """Runs transactions on the event loop, which goes on while the server works.

    The driver closes a connection that is interrupted.
    """

    def __init__(
        self,
        connect: _Connect,
        begin: Callable[[Connection], AbstractContextManager[object]],
        changes: KnownChanges,
    ) -> None:
        self._connect = connect
        self._begin = begin
        self._changes = changes

    async def run(self, work: Work[T], end_s: float) -> T:
        made: list[Change] = []
        try:
            async with asyncio.timeout_at(None if end_s == inf else end_s):
                return await greenlet_spawn(self._transact, work, made)
        finally:
            self._changes.publish(made)

    def _transact(self, work: Work[T], made: list[Change]) -> T:
        with self._connect() as connection, self._begin(connection):
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


async def _reach(alone: _Connect, pooled: _Connect) -> None:
    """Make a connection that no pool holds, and use it; where none can be made, use the pool's.

    A server that has no room for another connection still serves those that there are.
    """
    try:
        await greenlet_spawn(_use, alone)
    except OperationalError:
        await greenlet_spawn(_use, pooled)


def _use(connect: _Connect) -> None:
    with connect() as connection:
        connection.exec_driver_sql("SELECT 1")


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
