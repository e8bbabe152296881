"""Keeps the progress of an import in a small file, from which a later run goes on."""

import errno
import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from groundswell.cli.failures import CommandError
from groundswell.logs.source import parts

_FORMAT = 1


@dataclass
class ImportProgress:
    """What became of the rows before `next_row`, a position among the file's usable rows."""

    next_row: int = 0
    accepted: int = 0
    duplicate: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    """How many by reason."""
    last_stored: int | None = None
    """The position of the last row that the services hold."""


class Journal:
    """The progress of importing one file into one deployment, kept while it is unfinished."""

    def __init__(self, path: Path, source: Path, target: str) -> None:
        self._path = path
        self._about = {"format": _FORMAT, "sha256": _sha256(source), "target": target}

    def load(self) -> ImportProgress:
        """Where an earlier run stopped; the start without one, and for another file or deployment.

        Raises CommandError when the file is no journal.
        """
        try:
            kept: dict[str, Any] = json.loads(self._path.read_bytes())
            if kept.pop("about") != self._about:
                return ImportProgress()
            return ImportProgress(**{**kept, "rejected": Counter(kept["rejected"])})
        except FileNotFoundError:
            return ImportProgress()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CommandError(
                f"{self._path} is not the journal of an import; name another one with "
                "--resume-file, or move this file away"
            ) from error

    def save(self, progress: ImportProgress) -> None:
        """Keep the progress: the file is replaced in one step."""
        making = self._path.with_name(f"{self._path.name}.new")
        making.write_text(json.dumps({"about": self._about, **vars(progress)}), encoding="utf-8")
        making.replace(self._path)

    def finish(self) -> None:
        """Remove the journal of a complete import."""
        self._path.unlink(missing_ok=True)


def check_journal(path: Path) -> None:
    """Raise CommandError when no journal could be kept at `path`, before anything is imported."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as probe:
            probe.write(b"{}")
            probe.flush()
    except OSError as error:
        raise CommandError(
            f"the journal {path} cannot be written: {error.strerror}; name another one with "
            "--resume-file"
        ) from error


def _sha256(path: Path) -> str:
    """Hash the content of a file, or of the parts of a folder."""
    digest = hashlib.sha256()
    for part in parts(path):
        with part.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
