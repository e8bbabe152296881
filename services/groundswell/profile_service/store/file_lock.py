"""Locks the file of SQLite for one process, and explains errors of opening it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from groundswell.serving.errors import ServiceError
from groundswell.serving.server import StartError

_DAMAGED = ("not a database", "malformed")


def check_file(path: Path) -> None:
    """Raise StartError (DATABASE_NEW) when there is no file: opening it would make one."""
    if not path.exists():
        raise StartError(
            "DATABASE_NEW",
            f"there is no database at {path}; name the one that the profile service uses",
        )


def check_writable(path: Path) -> None:
    """Raise StartError (DATABASE_UNUSABLE) for a file that may not be written.

    Nothing may be left to write at the start, and then only a later call would fail.
    """
    if path.exists() and not os.access(path, os.W_OK, effective_ids=True):
        raise StartError(
            "DATABASE_UNUSABLE",
            f"{path} is read-only for this process; see to its rights, its owner and its disk",
        )


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Lock `path`, which is made when it is missing. The lock ends with the process.

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


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Turn an error of opening a file into StartError (DATABASE_UNUSABLE), with what to do.

    The text of the error may be shown: opening only makes tables, and uses no caller's values.
    """
    try:
        yield
    except (DBAPIError, ServiceError) as error:
        found = error if isinstance(error, DBAPIError) else error.__cause__
        problem = str(getattr(found, "orig", None) or found or error)
        if any(words in problem for words in _DAMAGED):
            step = (
                f"it is damaged: restore it from a backup, or move {path.name} and what begins "
                "with this name away to start with nothing stored"
            )
        else:
            step = "see to the disk and the rights of its folder, then start again"
        raise StartError("DATABASE_UNUSABLE", f"{path}: {problem}; {step}") from error
