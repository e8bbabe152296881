"""Keeps tombstones in a file outside of the database: they outlive the restore of a backup."""

import json
import os
from collections.abc import Collection
from pathlib import Path

import structlog

from groundswell.artifacts.small_files import fsync
from groundswell.profile_service.store.erasures import Tombstone
from groundswell.serving.errors import Unavailable

_log = structlog.get_logger(__name__)


class TombstoneFile:
    """A file that only grows: one line of JSON for each tombstone. Without a file it keeps nothing.

    It holds no id and no pseudonym.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known: dict[bytes, Tombstone] = {}

    @property
    def is_kept(self) -> bool:
        """Whether there is a file."""
        return self._file is not None

    def load(self) -> dict[bytes, Tombstone]:
        """Return the newest tombstone of each mark. A last line that a crash cut off is left out.

        Raises Unavailable (ERASURES_UNUSABLE).
        """
        if self._file is None:
            return {}
        try:
            lines = self._file.read_bytes().split(b"\n")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise _unusable(error) from error
        self._known = {}
        for number, line in enumerate(lines[:-1], 1):
            try:
                mark, erasure_id, erased_us = json.loads(line)
                self._learn([Tombstone(bytes.fromhex(mark), str(erasure_id), int(erased_us))])
            except (ValueError, TypeError):
                _log.error("tombstone_unreadable", file=str(self._file), line=number)
        return dict(self._known)

    def add(self, tombstones: Collection[Tombstone]) -> None:
        """Append those that are newer than the file's, on the disk when it returns.

        Raises Unavailable (ERASURES_UNUSABLE).
        """
        new = {one for one in tombstones if one.is_newer_than(self._known.get(one.mark))}
        if self._file is None or not new:
            return
        lines = [json.dumps([t.mark.hex(), t.erasure_id, t.erased_us]) for t in sorted(new)]
        try:
            # What a crash cut off before becomes a line of its own.
            text = "\n" * self._is_cut() + "".join(f"{line}\n" for line in lines)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fsync(self._file.parent)
        except OSError as error:
            raise _unusable(error) from error
        self._learn(new)

    def _learn(self, tombstones: Collection[Tombstone]) -> None:
        for one in tombstones:
            if one.is_newer_than(self._known.get(one.mark)):
                self._known[one.mark] = one

    def _is_cut(self) -> bool:
        assert self._file is not None
        return self._file.exists() and self._file.read_bytes()[-1:] not in (b"", b"\n")


def _unusable(error: OSError) -> Unavailable:
    return Unavailable(
        "ERASURES_UNUSABLE",
        f"the file of tombstones cannot be used: {error.strerror}; see GROUNDSWELL_ERASURES",
    )
