"""Makes the engines of a server of PostgreSQL, and tends the connections of their pool."""

import time
from functools import partial
from math import inf
from typing import Any

import psycopg
from sqlalchemy import URL, event
from sqlalchemy.engine import Dialect, ExceptionContext
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from groundswell.profile_service.store.failures import Cause, cause_of

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


def pooled_engine(url: URL, pool_size: int, pool_timeout_s: float) -> AsyncEngine:
    """Make an engine with a pool.

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
    return engine


def unpooled_engine(url: URL) -> AsyncEngine:
    """Make an engine whose connections no pool holds."""
    return create_async_engine(url, poolclass=NullPool, connect_args=_CONNECT)


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
