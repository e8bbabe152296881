"""Commands on a database: migrate it, note that it was restored, change its secret."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from groundswell.profile_service.identity.secret_keys import (
    check_secrets,
    is_rotated,
    rotate,
)
from groundswell.profile_service.rights.erasures import Erasures
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.identity import renew_lineage
from groundswell.serving.pseudonym import Pseudonymizer

_log = structlog.get_logger(__name__)

_LINE_EVERY_S = 30.0
_WAIT_S = 60.0
"""The longest wait for a database that does not answer."""


async def migrate(database_url: str) -> None:
    """Bring a database to the form of this release, from empty or from an older one.

    Raises as `Database.open`.
    """
    database = Database(database_url)
    try:
        await database.open(wait_s=_WAIT_S)
    finally:
        await database.close()


async def begin_new_lineage(database_url: str) -> str:
    """Give a database that was restored from a backup a new lineage, and return it.

    Raises StartError for a new database and for a file of SQLite that is in use, and Unavailable.
    """
    async with _existing(database_url) as database:
        return await database.write(renew_lineage)


async def rotate_secret(
    database_url: str,
    secrets: Sequence[str],
    tombstones: Path | None,
    on_progress: Callable[[int, int], None],
) -> int:
    """Rewrite every user's key for the newest of the secrets; return how many users there are.

    Before that those whom the file of tombstones names are erased again, if the database was
    restored from a backup: by their new keys nobody would know them as erased.
    `on_progress(users done, users)` is called after each page. The call can be ended at any moment
    and made again. Raises StartError (SECRET_CHANGED; and for a new database and a file of SQLite
    that is in use), and Unavailable (also ERASURES_UNUSABLE).
    """
    async with _existing(database_url) as database:
        pseudonyms = Pseudonymizer(*secrets)
        await check_secrets(database, pseudonyms)
        erasures = Erasures(database, pseudonyms, tombstones, drop=len, idle_poll_s=_WAIT_S)
        await erasures.apply_kept()
        return await rotate(database, pseudonyms, on_progress)


async def needs_new_secret(database_url: str, secrets: Sequence[str]) -> bool:
    """Whether all of these secrets are in use, and every user is stored under the newest.

    If so, the next change needs a new secret; if not, an earlier change has to be finished first.
    Raises as `rotate_secret`.
    """
    async with _existing(database_url) as database:
        return await is_rotated(database, Pseudonymizer(*secrets))


@asynccontextmanager
async def _existing(database_url: str) -> AsyncIterator[Database]:
    """Open a database that a profile service has used."""
    database = Database(database_url)
    try:
        await database.open(existing=True)
        yield database
    finally:
        await database.close()


def every_half_minute(tell: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """Return a function that calls `tell` at once, and then at most every half minute."""
    told = -_LINE_EVERY_S

    def on_progress(done: int, of: int) -> None:
        nonlocal told
        if time.monotonic() - told >= _LINE_EVERY_S:
            told = time.monotonic()
            tell(done, of)

    return on_progress


def log_progress(done: int, of: int) -> None:
    """Log how far the rewriting is."""
    _log.info("rewriting_keys", users_done=done, users=of)
