"""Removes old copies of deleted rows from the files of SQLite."""

import sqlite3
from contextlib import closing
from pathlib import Path

import structlog

_log = structlog.get_logger(__name__)

_WAIT_S = 10.0


def empty_write_ahead_log(file: Path) -> None:
    """Write all that is committed into the file itself, and cut the write-ahead log to nothing.

    It waits for calls that read or write now, for a while.
    """
    with closing(sqlite3.connect(file, timeout=_WAIT_S)) as connection:
        is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if is_busy:
        _log.warning("write_ahead_log_not_emptied", waited_s=_WAIT_S)
