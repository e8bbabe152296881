"""Statements about users. A user may be stored under any version of their key."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, func, select, update

from groundswell.profile_service.store.identity import (
    Identity,
    identity_columns,
    identity_of,
    lock_secrets,
    read_identity,
)
from groundswell.profile_service.store.statements import among, insert_rows
from groundswell.profile_service.store.tables import users
from groundswell.serving.errors import FailedPrecondition

_MAX_KEYS = 10_000
"""Both databases take so many parameters in one statement."""

UserKeys = tuple[bytes, ...]
"""All keys that a user was ever stored under, by version; the last one names the user."""


class Users(NamedTuple):
    """Users that were found, and the identity of their database."""

    by_key: dict[bytes, tuple[int, int]]
    """(user_no, last_sequence) by the last of the user's keys."""
    identity: Identity


class StoredKey(NamedTuple):
    """The key of one user as it is stored."""

    user_no: int
    key: bytes
    version: int


def find_users(connection: Connection, keys: Collection[UserKeys]) -> Users:
    """Find the users that are known. Raises FailedPrecondition (SECRET_OUTDATED)."""
    return select_users(connection, keys, _find(connection.dialect.name))[0]


@cache
def _find(dialect: str) -> Select[Any]:
    found = among(dialect, users.c.user_key, "keys")
    return select(users, *identity_columns()).where(found)


def select_users(
    connection: Connection,
    keys: Collection[UserKeys],
    statement: Select[Any],
    parameters: Mapping[str, Any] | None = None,
) -> tuple[Users, list[Any]]:
    """Find the users that are known by a statement, and return its rows too.

    The statement selects the columns of `users`, of some `keys`, and `identity_columns`. A row
    without a user has the identity alone. Raises FailedPrecondition (SECRET_OUTDATED).
    """
    names = _names(keys)
    rows: list[Any] = []
    every = list(names)
    for start in range(0, len(every), _MAX_KEYS):
        some = {"keys": every[start : start + _MAX_KEYS], **(parameters or {})}
        rows += connection.execute(statement, some)
    identity = identity_of(rows[0]) if rows else read_identity(connection)
    rows = [row for row in rows if row.user_no is not None]
    _check_version(identity, keys)
    found = {names[row.user_key]: (row.user_no, row.last_sequence) for row in rows}
    return Users(found, identity), rows


def lock_users(connection: Connection, keys: Collection[UserKeys], *, wait: bool = True) -> Users:
    """Find users, making those that are new, and lock them for this write.

    Without `wait`, users that another transaction has locked are left out. All writers lock users
    in the same order, so there is no deadlock. Raises FailedPrecondition (SECRET_OUTDATED).
    """
    known = find_users(connection, keys)
    new = [user for user in keys if user[-1] not in known.by_key]
    if not new and connection.dialect.name == "sqlite":
        return known  # the only writer
    identity = _make_users(connection, new) if new else known.identity
    names = _names(keys)
    rows = connection.execute(_lock(connection.dialect.name, wait), {"keys": list(names)})
    locked = {names[row.user_key]: (row.user_no, row.last_sequence) for row in rows}
    if wait and len(locked) < len(set(names.values())):
        # An anonymous session expired while this transaction waited for its lock.
        return lock_users(connection, keys)
    return Users(locked, identity)


@cache
def _lock(dialect: str, wait: bool) -> Select[Any]:
    statement = select(users).where(among(dialect, users.c.user_key, "keys"))
    # The weaker lock: rows of the worker that refer to a user must not wait for a writer.
    return statement.order_by(users.c.user_no).with_for_update(key_share=True, skip_locked=not wait)


def _make_users(connection: Connection, new: Sequence[UserKeys]) -> Identity:
    # Without the lock, two writers with different newest secrets would store one user twice.
    identity = lock_secrets(connection)
    # Others may have stored some under an older secret while this transaction waited for the lock.
    known = find_users(connection, new).by_key
    version = identity.key_version
    rows = [
        {"user_key": key, "last_sequence": 0, "key_version": version}
        for key in sorted(user[version - 1] for user in new if user[-1] not in known)
    ]
    if rows:
        insert_rows(connection, users, rows, new_only=True)
    return identity


def has_users(connection: Connection) -> bool:
    """Whether there is any user."""
    return (connection.execute(select(users.c.user_no).limit(1))).first() is not None


def lock_older_keys(
    connection: Connection, version: int, after_no: int, limit: int
) -> list[StoredKey]:
    """Return keys of older versions by user, from just after one, locked until the end.

    It never waits: users that another transaction has locked are left out.
    """
    statement = (
        select(users.c.user_no, users.c.user_key, users.c.key_version)
        .where(users.c.user_no > after_no, users.c.key_version < version)
        .order_by(users.c.user_no)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [StoredKey(*row) for row in connection.execute(statement)]


def rewrite_keys(connection: Connection, keys: Mapping[int, bytes], version: int) -> None:
    """Store other keys of users, by number, and their version."""
    if not keys:
        return
    statement = update(users).where(users.c.user_no == bindparam("number"))
    connection.execute(
        statement.values(user_key=bindparam("key"), key_version=version),
        [{"number": number, "key": key} for number, key in keys.items()],
    )


def count_users(connection: Connection, version: int) -> tuple[int, int]:
    """Return how many users there are, and how many of them have keys of older versions."""
    older = func.count().filter(users.c.key_version < version)
    row = (connection.execute(select(func.count(), older).select_from(users))).one()
    return row[0], row[1]


def _names(keys: Collection[UserKeys]) -> dict[bytes, bytes]:
    """Map every key that a row may have to the user's newest key."""
    return {key: user[-1] for user in keys for key in user}


def _check_version(identity: Identity, keys: Collection[Sequence[Any]]) -> None:
    if any(len(user) < identity.key_version for user in keys):
        raise FailedPrecondition(
            "SECRET_OUTDATED",
            "the database's users are stored under a newer secret than this process has; start it "
            "with the newest as GROUNDSWELL_SECRET, the others as GROUNDSWELL_PREVIOUS_SECRETS",
        )
