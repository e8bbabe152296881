"""Checks that a process has the secrets of its database, and rewrites users' keys for a new one."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from groundswell.profile_service.store import identity as identities
from groundswell.profile_service.store import users as statements
from groundswell.profile_service.store.database import Database, DatabaseConnection
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.server import StartError

_PAGE = 500
_WAIT_S = 0.05

_CHANGED = (
    "{name} is not the secret that the database's users are stored under: with it no user would be "
    "found. Start with the earlier secret. To change it, name the old one in "
    "GROUNDSWELL_PREVIOUS_SECRETS and run `groundswell db rotate-secret`; see docs/secrets.md"
)
_MISSING = (
    "the database's users are stored under {stored} secrets, and this process has {given}: set "
    "GROUNDSWELL_SECRET to the newest one and GROUNDSWELL_PREVIOUS_SECRETS to the others, oldest "
    "first; see docs/secrets.md"
)


async def check_secrets(database: Database, pseudonyms: Pseudonymizer) -> None:
    """Compare the process's secrets with the database's; a new database stores their check values.

    Raises StartError (SECRET_CHANGED), and Unavailable.
    """
    given = pseudonyms.checks
    stored = (await database.read(identities.read_identity)).secret_checks
    if not stored:
        stored = await database.write(lambda c: _learn(c, given))
    for number, check in enumerate(stored):
        # A missing newest secret is reported below: the others may be right.
        if number < len(given) and given[number] != check:
            is_newest = number == len(given) - 1
            name = "GROUNDSWELL_SECRET" if is_newest else "GROUNDSWELL_PREVIOUS_SECRETS"
            raise StartError("SECRET_CHANGED", _CHANGED.format(name=name))
    if len(given) < len(stored):
        message = _MISSING.format(stored=len(stored), given=len(given))
        raise StartError("SECRET_CHANGED", message)


async def is_rotated(database: Database, pseudonyms: Pseudonymizer) -> bool:
    """Whether every secret is in use, and every user is stored under the newest.

    Raises StartError (SECRET_CHANGED), and Unavailable.
    """
    await check_secrets(database, pseudonyms)
    identity = await database.read(identities.read_identity)
    _, left = await database.read(partial(statements.count_users, version=pseudonyms.num_secrets))
    return identity.secret_checks == pseudonyms.checks and not left


async def rotate(
    database: Database, pseudonyms: Pseudonymizer, on_progress: Callable[[int, int], None]
) -> int:
    """Rewrite every user's key to that of the newest secret; return how many users there are.

    Services may run meanwhile, if they have the newest secret too: they find users by each key.
    The call can be ended at any moment and made again. `on_progress(users done, users)` is called
    after each page. Raises StartError (SECRET_CHANGED), and Unavailable.
    """
    await check_secrets(database, pseudonyms)
    await database.write(lambda c: _begin(c, pseudonyms.checks))
    count = partial(statements.count_users, version=pseudonyms.num_secrets)
    total, left = await database.read(count)
    while left:
        on_progress(total - left, total)
        after_no = 0
        while page := await database.write(partial(_rewrite, pseudonyms, after_no)):
            after_no, done = page
            left -= done
            on_progress(total - left, total)
        # The next round takes the users that other transactions had locked.
        total, left = await database.read(count)
        await asyncio.sleep(_WAIT_S if left else 0)
    on_progress(total, total)
    return total


def _learn(connection: DatabaseConnection, given: Sequence[str]) -> tuple[str, ...]:
    """Store the check values in a database without any: it is new, or of an earlier release."""
    identities.lock_secrets_alone(connection)
    identity = identities.read_identity(connection)
    if identity.secret_checks:
        return identity.secret_checks
    # Keys that an earlier release wrote are those of the first secret.
    checks = given[:1] if statements.has_users(connection) else given
    identities.set_secret_checks(connection, checks)
    return tuple(checks)


def _begin(connection: DatabaseConnection, checks: Sequence[str]) -> None:
    """Store new users under the newest secret, once no transaction stores older keys."""
    identities.lock_secrets_alone(connection)
    identities.set_secret_checks(connection, checks)


def _rewrite(
    pseudonyms: Pseudonymizer, after_no: int, connection: DatabaseConnection
) -> tuple[int, int] | None:
    """Rewrite some keys; return the last user and how many, None when there was nothing to do."""
    wanted = pseudonyms.num_secrets
    found = statements.lock_older_keys(connection, wanted, after_no, _PAGE)
    newer = {user.user_no: pseudonyms.newer_key(user.key, user.version, wanted) for user in found}
    statements.rewrite_keys(connection, newer, wanted)
    return (found[-1].user_no, len(found)) if found else None
