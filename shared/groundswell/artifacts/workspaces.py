"""Folders that bundles are built in: one per run, and what a killed run left is removed."""

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
"""The file of a workspace that its run holds; the end of the process, however, lets go."""

# Commands log nothing; a warning of the standard library reaches their standard error all the same.
_log = logging.getLogger(__name__)


@contextmanager
def open_workspace(root: Path) -> Iterator[Path]:
    """Give an empty folder in `root`; what is left of it is removed at the end.

    What runs that have ended left behind is removed first. A folder that a live run holds stays.
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
            # Its run has just ended, or it has no lock, or it is another person's.
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
    """Whether the lock is this process's now; some network file systems know no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
