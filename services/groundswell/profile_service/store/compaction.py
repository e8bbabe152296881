"""Removes old copies of deleted rows from the files of SQLite."""

import sqlite3
from contextlib import closing
from pathlib import Path

_WAIT_S = 0.1
"""The longest that other writers wait for readers that hinder the second step."""


def empty_write_ahead_log(file: Path) -> bool:
    """Write all that is committed into the file itself, and cut the write-ahead log to nothing.

    It returns False, soon, while a transaction reads that began before; the call is to be repeated.
    """
    with closing(sqlite3.connect(file, timeout=_WAIT_S)) as connection:
        # The first step locks no writer out, and shows whether an older reader hinders the second.
        for step in ("PASSIVE", "TRUNCATE"):
            is_busy, num_pages, num_written = connection.execute(
                f"PRAGMA wal_checkpoint({step})"
            ).fetchone()
            if is_busy or num_pages != num_written:
                return False
    return True
