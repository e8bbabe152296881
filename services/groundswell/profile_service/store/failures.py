"""Maps the error codes of the databases to causes, and causes to errors of the contract."""

import sqlite3
from enum import Enum

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from groundswell.serving.errors import ResourceExhausted, ServiceError, Unavailable

_RETRY_AFTER_S = 1.0
_FULL_RETRY_AFTER_S = 5.0


class Cause(Enum):
    """Why the database failed, when neither the statement nor the data is wrong."""

    GONE = "gone"
    """It cannot be reached, or ended the connection."""
    BUSY = "busy"
    """It could not run the statement now: a lock, a deadlock, no memory, a disk error."""
    READ_ONLY = "read_only"
    """It takes no writes, for example in a failover. Reads work."""
    FULL = "full"
    """Its disk is full. Reads work."""


# The longest prefix of the SQLSTATE decides; its first two characters are the class.
_POSTGRESQL = {
    "08": Cause.GONE,  # connection exception
    "0A": Cause.READ_ONLY,  # a standby refuses to begin a write; a plan from before a migration
    "25006": Cause.READ_ONLY,  # read-only SQL transaction
    "25P03": Cause.BUSY,  # idle in transaction for too long
    "25P04": Cause.BUSY,  # transaction timeout
    "28": Cause.GONE,  # the user or the password is refused
    "3D": Cause.GONE,  # the database does not exist
    "40": Cause.BUSY,  # serialization failure, deadlock
    "53": Cause.BUSY,  # insufficient resources: memory, connections
    "53100": Cause.FULL,  # disk full
    "55006": Cause.BUSY,  # object in use
    "55P03": Cause.BUSY,  # lock not available
    "57014": Cause.BUSY,  # statement timeout
    "57P": Cause.GONE,  # shutdown by an administrator or a crash, starting up
    "58": Cause.BUSY,  # system error, such as input and output
}

_SQLITE = {
    sqlite3.SQLITE_AUTH: Cause.READ_ONLY,
    sqlite3.SQLITE_BUSY: Cause.BUSY,
    sqlite3.SQLITE_CANTOPEN: Cause.GONE,
    sqlite3.SQLITE_FULL: Cause.FULL,
    sqlite3.SQLITE_INTERRUPT: Cause.BUSY,
    sqlite3.SQLITE_IOERR: Cause.BUSY,
    sqlite3.SQLITE_LOCKED: Cause.BUSY,
    sqlite3.SQLITE_NOMEM: Cause.BUSY,
    sqlite3.SQLITE_PERM: Cause.READ_ONLY,
    sqlite3.SQLITE_PROTOCOL: Cause.BUSY,
    sqlite3.SQLITE_READONLY: Cause.READ_ONLY,
}


def cause_of(error: BaseException) -> Cause | None:
    """Return the cause of an error; None for a wrong statement or damaged data."""
    if isinstance(error, PoolTimeoutError):
        return Cause.BUSY
    if isinstance(error, TimeoutError):
        return Cause.GONE
    if not isinstance(error, DBAPIError | sqlite3.Error):
        return None
    code = code_of(error)
    if isinstance(code, int):
        # The lower byte is the kind of error, the rest says more about it.
        return _SQLITE.get(code & 0xFF)
    if code is not None:
        return next((_POSTGRESQL[p] for p in _prefixes(code) if p in _POSTGRESQL), None)
    # A connection that could not be made, or that broke, has no code.
    is_broken = isinstance(error, DBAPIError) and (
        error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    )
    return Cause.GONE if is_broken else None


def code_of(error: BaseException) -> str | int | None:
    """Return the SQLSTATE of PostgreSQL or the error code of SQLite; None without either."""
    original = getattr(error, "orig", error)
    code = getattr(original, "sqlstate", None)
    return code if code is not None else getattr(original, "sqlite_errorcode", None)


def service_error(cause: Cause) -> ServiceError:
    """Return the error that a caller gets."""
    if cause is Cause.FULL:
        message = "the disk of the database is full; nothing was written, and reads go on"
        return ResourceExhausted("STORAGE_FULL", message, retry_after_s=_FULL_RETRY_AFTER_S)
    message = f"{_MESSAGES[cause]}; nothing was written"
    return Unavailable("STORE_UNAVAILABLE", message, retry_after_s=_RETRY_AFTER_S)


_MESSAGES = {
    Cause.GONE: "the database does not answer",
    Cause.BUSY: "the database could not do it now",
    Cause.READ_ONLY: "the database takes no writes now",
}


def _prefixes(code: str) -> list[str]:
    return [code[:length] for length in (5, 3, 2)]
