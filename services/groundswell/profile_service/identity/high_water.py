"""Stores how far the database was in a file outside it, so that a restore is detected."""

import json
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import structlog

from groundswell.artifacts.small_files import replace_text
from groundswell.profile_service.store.identity import Witness
from groundswell.serving.server import StartError

_log = structlog.get_logger(__name__)

_FORMAT = 1


class Mark(NamedTuple):
    """The state of a database at one time. It names no user and no item."""

    lineage: str
    past: tuple[str, ...]
    """The earlier lineages, oldest first: a database with one of them was restored."""
    catalogue_revision: int
    witness: Witness | None
    """The newest event that this process has stored; None before the first."""
    deletions: int = 0
    """How often stored events had been deleted."""


DAMAGED = Mark("", (), 0, None)


class HighWater:
    """Keeps the newest mark in a file; without a file it keeps nothing."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._saving = Lock()

    def load(self) -> Mark | None:
        """Return the mark; None for no file, and DAMAGED for a file that holds no mark.

        Raises StartError (HIGH_WATER_UNUSABLE) when the file cannot be read.
        """
        if self._file is None:
            return None
        try:
            return _read(json.loads(self._file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StartError("HIGH_WATER_UNUSABLE", _unusable(self._file, error)) from error
        except (ValueError, TypeError, KeyError):
            _log.warning("high_water_unreadable", file=str(self._file))
            return DAMAGED

    def save(self, mark: Mark) -> None:
        """Keep a mark. A reader finds the old mark or the new one, never a part.

        Raises StartError (HIGH_WATER_UNUSABLE).
        """
        if self._file is None:
            return
        text = json.dumps({"format": _FORMAT, **mark._asdict()})
        try:
            # The thread of a look that was given up may still write.
            with self._saving:
                replace_text(self._file, text)
        except OSError as error:
            raise StartError("HIGH_WATER_UNUSABLE", _unusable(self._file, error)) from error


def _read(kept: dict[str, object]) -> Mark:
    if kept.pop("format") != _FORMAT:
        raise ValueError
    mark = Mark(**kept)  # type: ignore[arg-type]
    witness = None if mark.witness is None else Witness(*mark.witness)
    return mark._replace(past=tuple(mark.past), witness=witness)


def _unusable(file: Path, error: OSError) -> str:
    return f"{file} cannot be used: {error.strerror}; see GROUNDSWELL_HIGH_WATER_FILE"
