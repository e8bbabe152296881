"""The state folder of `groundswell up`: a secret, a database, and a lock for one process."""

import fcntl
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.parse import quote

from groundswell.artifacts.small_files import replace_text
from groundswell.cli.failures import CommandError

SECRET, DATABASE, LOCK = "secret", "groundswell.db", "lock"

_SECRET_BYTES = 32


class State:
    """A state folder, which no other process can use while its context is open.

    Users are stored under keys that the secret makes: without it no user can be found.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / DATABASE
        self._lock: int | None = None

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._release()
            raise CommandError(
                f"{self.folder} is in use by another `groundswell up` or `groundswell demo`; "
                "end that one, or choose another --state"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    @property
    def database_url(self) -> str:
        """The database, as the profile service names it, whatever characters its path has."""
        return f"sqlite+aiosqlite:///{quote(str(self.database.resolve()))}"

    def secrets(self) -> tuple[str, ...]:
        """The deployment's secrets, oldest first; one is made at the first use.

        Raises CommandError for a folder that has a database and no secret: with a new one no
        user of it could be found.
        """
        path = self.folder / SECRET
        if not path.exists():
            if self.database.exists():
                raise CommandError(
                    f"{self.folder} holds a database and not the secret that its users are stored "
                    f"under: put {path} back from where the database came, or choose another "
                    "--state"
                )
            self._write_with_another(())
        if path.stat().st_mode & 0o077:
            raise CommandError(f"{path} can be read by others; run: chmod 600 {path}")
        return self._read_secrets(path)

    def _read_secrets(self, path: Path) -> tuple[str, ...]:
        """Read the file; a damaged one is never replaced, since it may be all that is left."""
        try:
            held = tuple(path.read_text(encoding="utf-8").split())
        except UnicodeDecodeError:
            held = ()
        if not held:
            raise CommandError(
                f"{path} is damaged: it holds no secret; put it back from a backup of the state "
                "folder, since users are stored under it, or choose another --state"
            )
        return held

    def add_secret(self) -> None:
        """Make a newer secret; those before stay part of users' keys."""
        self._write_with_another(self.secrets())

    def _write_with_another(self, held: Sequence[str]) -> None:
        made = secrets.token_urlsafe(_SECRET_BYTES)
        try:
            replace_text(self.folder / SECRET, "\n".join([*held, made]), mode=0o600)
        except OSError as error:
            raise self._unusable(error) from error

    def clear(self) -> None:
        """Remove every file but the lock."""
        for path in self.folder.iterdir():
            if path.name != LOCK and path.is_file():
                path.unlink()

    def _unusable(self, error: OSError) -> CommandError:
        return CommandError(
            f"the state folder {self.folder} cannot be written: {error.strerror}; correct that, or "
            "choose another --state"
        )

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
