"""Checks that folders can be written before long work, and reports a full disk in one line."""

import errno
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from groundswell.trainer.errors import DataError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_TEXTS = ("No space left", "File too large", "quota exceeded", " requested and ")
"""Messages of libraries that give no error number; the last one is numpy's."""
_PROBE_BYTES = 1 << 16
_MB = 1e6


def check_writable(folder: Path) -> None:
    """Make a folder, if need be, and write a little into it. Raises DataError with the reason."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} cannot be written: it is a file, not a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder, prefix=".probe-") as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}") from error


def check_output(file: Path | None) -> None:
    """Raise DataError when a file could not be written later; None is no file."""
    if file is None:
        return
    if file.is_dir():
        raise DataError(f"{file} is a folder, not a file to write")
    if not file.parent.is_dir():
        raise DataError(f"{file} cannot be written: there is no folder {file.parent}")
    check_writable(file.parent)


def write_json(file: Path | None, figures: object) -> None:
    """Write figures for people and programs; None is no file."""
    if file is not None:
        file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


@contextmanager
def told_when_full(folders: Sequence[Path], kept: str) -> Iterator[None]:
    """Turn what a full disk raises into a DataError with the folder that has the least space.

    `kept` tells the user what is left of the work.
    """
    try:
        yield
    except Exception as error:
        if not _is_full(error):
            raise
        free, folder = min((_free(folder), folder) for folder in folders)
        room = f"{free / _MB:,.1f} MB are free now"
        raise DataError(f"{folder} is full, or may hold no larger file ({room}): {kept}") from error


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(text in str(error) for text in _FULL_TEXTS)


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
