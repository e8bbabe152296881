"""Folders to build bundles in: one per run. A folder that a killed run left is removed."""

import fcntl
import logging
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_PREFIX = ".building-"
LOCK = ".lock"
"""The file in a workspace that its run keeps locked; the lock ends with the process."""

# Commands set up no logging; the standard library prints warnings to standard error anyway.
_log = logging.getLogger(__name__)


@contextmanager
def open_workspace(root: Path) -> Iterator[Path]:
    """Give an empty folder in `root`; it is removed at the end if it still exists.

    Folders of runs that have ended are removed first. A folder that a running one locks stays.
    """
    root.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(root)
    folder = root / f"{_PREFIX}{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        with (folder / LOCK).open("wb") as lock:
            if not _hold(lock):
                # A folder without a lock is never removed by another run.
                (folder / LOCK).unlink()
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers(root: Path) -> None:
    for folder in sorted(root.glob(f"{_PREFIX}*")):
        if folder.is_symlink() or not folder.is_dir():
            continue
        try:
            removed = _remove_if_dead(folder)
        except OSError:
            # Its run has just ended, or it has no lock, or another person owns it.
            removed = not folder.exists()
        if removed:
            _log.warning("%s was left by a run that was killed, and is removed", folder)
        else:
            _log.warning("%s is kept: a run may be building here; else remove it", folder)


def _remove_if_dead(folder: Path) -> bool:
    """Remove a workspace whose run has ended; False when it lives. Raises OSError."""
    with (folder / LOCK).open("rb+") as lock:
        if not _hold(lock):
            return False
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()


def _hold(lock: BinaryIO) -> bool:
    """Try to take the lock. Some network file systems have no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
