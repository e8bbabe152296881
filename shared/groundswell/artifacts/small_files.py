"""Writes small files whole or not at all, and makes sure that they are on the disk."""

import os
import uuid
from pathlib import Path


def replace_text(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write a text in the place of a file, in one step.

    A reader finds the old text or the new one, also after a power cut. `mode` is the file's mode
    before the umask. Raises OSError; the old file stays then.
    """
    making = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    handle = os.open(making, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        making.replace(path)
    except BaseException:
        making.unlink(missing_ok=True)
        raise
    # Else a power cut could bring the old file back.
    fsync(path.parent)


def fsync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
