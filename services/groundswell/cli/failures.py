"""Turns expected errors into one line; every other error is a bug and keeps its traceback."""

import errno

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_MEMORY = ("not enough memory", "out of memory")
"""As PyTorch says it, of processors and of GPUs."""


class CommandError(Exception):
    """The command cannot be carried out; the text is one line that says what to do."""


def one_line(error: Exception) -> str | None:
    """The line that explains an error to the user; None for a bug, which keeps its traceback."""
    # Only what the command has imported can have raised: these modules are light all the same.
    from groundswell.artifacts.errors import BundleError
    from groundswell.client import GroundswellError
    from groundswell.trainer.errors import DataError, ExportError, TrainError

    expected = (CommandError, DataError, TrainError, ExportError, BundleError, GroundswellError)
    if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
        text = f"not enough memory; less data or smaller settings need less ({error})"
    elif isinstance(error, OSError) and error.errno in _FULL:
        where = error.filename or "a disk that is written to"
        text = f"{where}: {error.strerror}; make room and run it again"
    elif isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    elif isinstance(error, expected):
        text = str(error)
    else:
        return None
    return " ".join(text.split())
