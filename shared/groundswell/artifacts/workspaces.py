"""Folders to build something in: one per run. A folder that a killed run left is removed."""

import fcntl
import glob
import logging
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_PREFIX = ".building-"
_UNLOCKED = b"This file system has no locks."
LOCK = ".lock"
"""The file in a workspace that its run keeps locked; the lock ends with the process."""

# Commands set up no logging; the standard library prints warnings to standard error anyway.
_log = logging.getLogger(__name__)


def _ignore(_: Path) -> None:
    """Do nothing before a folder is removed."""


@contextmanager
def open_workspace(
    root: Path, prefix: str = _PREFIX, rescue: Callable[[Path], None] = _ignore
) -> Iterator[Path]:
    """Give an empty folder in `root`; it is removed at the end if it still exists.

    Folders with this prefix whose runs have ended are removed first, each after `rescue(folder)`.
    A folder that a running one locks stays.
    """
    root.mkdir(parents=True, exist_ok=True)
    remove_leftovers(root, prefix, rescue)
    folder = root / f"{prefix}{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        with (folder / LOCK).open("wb") as lock:
            if not _hold(lock):
                # Such a folder is never removed by another run.
                lock.write(_UNLOCKED)
                lock.flush()
            yield folder
    finally:
        if folder.exists():
            rescue(folder)
            _remove(folder)


def remove_leftovers(root: Path, prefix: str, rescue: Callable[[Path], None] = _ignore) -> None:
    """Remove the folders of runs that have ended, each after `rescue(folder)`."""
    for folder in sorted(root.glob(f"{glob.escape(prefix)}*")):
        if folder.is_symlink() or not folder.is_dir():
            continue
        try:
            removed = _remove_if_dead(folder, rescue)
        except OSError:
            # Its run has just ended, or it has no lock, or another person owns it.
            removed = not folder.exists()
        if removed:
            _log.warning("%s was left by a run that was killed, and is removed", folder)
        else:
            _log.warning("%s is kept: a run may be building here; else remove it", folder)


def _remove_if_dead(folder: Path, rescue: Callable[[Path], None]) -> bool:
    """Remove a workspace whose run has ended; False when it lives. Raises OSError."""
    if not any(folder.iterdir()):
        # Its run was killed before it could make the lock.
        folder.rmdir()
        return True
    with (folder / LOCK).open("rb+") as lock:
        if lock.read() or not _hold(lock):
            return False
        rescue(folder)
        _remove(folder)
        return not folder.exists()


def _remove(folder: Path) -> None:
    """Remove a workspace, its lock last: a run that is killed here leaves one that has a lock."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _hold(lock: BinaryIO) -> bool:
    """Try to take the lock. Some network file systems have no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
