"""The database: its engine, its transactions, and what its failures mean to a caller."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import structlog
from sqlalchemy import Connection, event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from groundswell.profile_service.migrations import upgrade
from groundswell.profile_service.store.file_lock import lock_file
from groundswell.serving.errors import Unavailable

DatabaseConnection = AsyncConnection
"""What statements run on; use cases hand it on and never run SQL of their own."""

_log = structlog.get_logger(__name__)
_RETRY_AFTER_S = 1.0
_CONNECT_TIMEOUT_S = 5
_CALL_TIMEOUT_S = 30.0
"""No call waits longer for the database, whatever deadline its client has."""


class Database:
    """One engine for the life of the process; it connects again by itself after an outage.

    SQLite has one writing process, which `open` makes sure of, and one writer in it: writing
    transactions wait for each other.
    """

    def __init__(self, url: str, *, pool_size: int = 8, pool_timeout_s: float = 2.0) -> None:
        self._url = make_url(url)
        self._is_sqlite = self._url.get_backend_name() == "sqlite"
        self._writer = asyncio.Lock() if self._is_sqlite else nullcontext()
        self._engine = _make_engine(url, self._is_sqlite, pool_size, pool_timeout_s)
        self._reading, self._writing = _modes(self._engine, self._is_sqlite)
        self._held = ExitStack()

    async def open(self) -> None:
        """Bring the tables to this release's form, from empty or from an older one.

        Raises StartError (DATABASE_IN_USE, DATABASE_UNUSABLE) for a file of SQLite that
        another process holds or that cannot be written, and Unavailable.
        """
        if self._is_sqlite:
            self._held.enter_context(lock_file(Path(f"{self._url.database}.lock")))
        async with self._transaction(None) as connection:
            await connection.run_sync(upgrade)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection that sees one state of the database, however often it reads.

        Raises Unavailable (STORE_UNAVAILABLE).
        """
        with _failures():
            async with asyncio.timeout(_CALL_TIMEOUT_S), self._reading.connect() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection in a transaction: committed at the end, rolled back by an error.

        Raises Unavailable (STORE_UNAVAILABLE): nothing was written, unless the connection broke
        in the very commit.
        """
        async with self._transaction(_CALL_TIMEOUT_S) as connection:
            yield connection

    @asynccontextmanager
    async def write_long(self) -> AsyncIterator[AsyncConnection]:
        """As `write`, for work over whole tables that may take as long as it needs."""
        async with self._transaction(None) as connection:
            yield connection

    async def close(self) -> None:
        """Close all connections, and let another process have the file."""
        await self._engine.dispose()
        self._held.close()

    @asynccontextmanager
    async def _transaction(self, timeout_s: float | None) -> AsyncIterator[AsyncConnection]:
        with _failures():
            async with (
                asyncio.timeout(timeout_s),
                self._writer,
                self._writing.begin() as connection,
            ):
                yield connection


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


@contextmanager
def _failures() -> Iterator[None]:
    """Turn what means "the database cannot be used now" into Unavailable."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeoutError, TimeoutError) as error:
        raise _unavailable(error) from error
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> Unavailable:
    # The text may hold values of a statement, so only the kind is logged.
    _log.warning("store_unavailable", error=type(getattr(error, "orig", error)).__name__)
    return Unavailable(
        "STORE_UNAVAILABLE",
        "the database does not answer; nothing was written",
        retry_after_s=_RETRY_AFTER_S,
    )


def _make_engine(url: str, is_sqlite: bool, pool_size: int, pool_timeout_s: float) -> AsyncEngine:
    # Ids and texts of statements belong into no log.
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
    # A connection that died with a restarted database is noticed before it is used.
    return bounded(url, pool_pre_ping=True, connect_args={"connect_timeout": _CONNECT_TIMEOUT_S})


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
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "busy_timeout=5000",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))
