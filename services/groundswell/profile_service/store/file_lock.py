"""Holds a file for one process, so that a second over the same SQLite database is refused."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from groundswell.serving.server import StartError


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Hold `path`, which is made when it is missing; the end of the process, however, lets go.

    Raises StartError: DATABASE_IN_USE when another process holds it, DATABASE_UNUSABLE
    when it cannot be made.
    """
    try:
        file = path.open("ab")
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}; see GROUNDSWELL_DATABASE_URL"
        raise StartError("DATABASE_UNUSABLE", message) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = (
                f"another process holds {path}: SQLite serves one process; use PostgreSQL for more"
            )
            raise StartError("DATABASE_IN_USE", message) from error
        yield
