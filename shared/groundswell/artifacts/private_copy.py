"""Maps large files into memory by way of private copies, which processes of one host share.

A process is killed when it reads a mapped file that was cut short in place, as `cp` and `rsync
--inplace` do for a moment. So what is mapped is a copy that only this user may change. It lies in a
folder of the user among the temporary files (`TMPDIR`) under the hash of its content, and is
removed by whoever copies something next once no process has it open.
"""

import fcntl
import hashlib
import logging
import mmap
import os
import shutil
import stat
import tempfile
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_LEAST_BYTES = 2**24
"""Smaller files are read into memory."""
_ATTEMPTS = 5

_log = logging.getLogger(__name__)


def open_private(path: Path) -> tuple[BinaryIO, bool]:
    """Open a private copy of a large file; say whether it may be mapped.

    A small file is opened itself, to be read; so is one that cannot be copied. Raises OSError.
    """
    if path.stat().st_size >= _LEAST_BYTES:
        try:
            return _copy_of(path), True
        except OSError as error:
            _log.warning("%s is read into memory, not mapped: %s", path.name, error)
    return path.open("rb"), False


def read_array(file: BinaryIO, *, mapped: bool) -> NDArray[Any]:
    """Read the next array of a file of numpy's format, or map it; the file may be closed then.

    Raises ValueError for other files.
    """
    if not mapped:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"version {version} of numpy's format is not mapped")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if is_fortran or dtype.hasobject:
        raise ValueError(f"an array of {dtype} is not mapped")
    start = file.tell()
    found = np.memmap(file, dtype, "r", start, shape)
    file.seek(start + found.nbytes)
    return found.view(np.ndarray)


def release(array: NDArray[Any]) -> None:
    """Give back the memory of a mapped array; the pages that are needed again are read again."""
    if isinstance(array.base, np.memmap):
        array.base._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


def _copy_of(path: Path) -> BufferedReader:
    """Open the copy, which stays while any process has it open. Raises OSError."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder = _folder()
    for _ in range(_ATTEMPTS):
        copy = _held(folder / digest)
        if copy is None:
            _remove_unused(folder)
            _make(path, folder / digest)
            continue
        if hashlib.file_digest(copy, "sha256").hexdigest() == digest:
            copy.seek(0)
            return copy
        (folder / digest).unlink(missing_ok=True)
        copy.close()
    raise OSError(f"{path.name} changes while it is copied")


def _folder() -> Path:
    """Return the folder of copies, which only this user can change. Raises OSError."""
    folder = Path(tempfile.gettempdir()) / f"groundswell-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    is_own = stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid()
    if not is_own or stat.S_IMODE(state.st_mode) != 0o700:
        raise OSError(f"{folder} is not a folder of this user alone")
    return folder


def _held(path: Path) -> BufferedReader | None:
    """Open a copy and hold it; None where there is none. What maps the file holds it, too."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    fcntl.flock(file, fcntl.LOCK_SH)
    if os.fstat(file.fileno()).st_nlink:
        return file
    file.close()  # removed in between
    return None


def _make(path: Path, target: Path) -> None:
    """Write a copy, in one step for whoever opens it."""
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as copy:
        fcntl.flock(copy, fcntl.LOCK_SH)
        try:
            with path.open("rb") as file:
                shutil.copyfileobj(file, copy, 2**20)
            copy.flush()
            Path(copy.name).rename(target)
        except BaseException:  # an interrupt too must leave no half copy
            Path(copy.name).unlink(missing_ok=True)
            raise


def _remove_unused(folder: Path) -> None:
    """Remove the copies that no process has open."""
    for path in folder.iterdir():
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
        except OSError:
            continue  # in use, or removed by another process
