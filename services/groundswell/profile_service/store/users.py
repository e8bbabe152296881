"""Statements about users. A user may be stored under any version of their key."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    Select,
    bindparam,
    func,
    literal,
    select,
    true,
    update,
)
from sqlalchemy.sql.dml import ReturningInsert

from groundswell.profile_service.store.erasure_tables import tombstones
from groundswell.profile_service.store.identity import (
    Identity,
    identity_columns,
    identity_of,
    secret_checks,
    secrets_lock,
)
from groundswell.profile_service.store.statements import among, insert, insert_rows
from groundswell.profile_service.store.tables import users
from groundswell.profile_service.store.together import BoundStatement, read_rows, run_together
from groundswell.serving.errors import FailedPrecondition
from groundswell.serving.pseudonym import mark_of

_NEW_USER = ["user_key", "last_sequence", "key_version"]
_KEY_BYTES = 32

UserKeys = tuple[bytes, ...]
"""All keys that a user was ever stored under, by version; the last one names the user."""


class KnownUser(NamedTuple):
    """A user who is stored."""

    user_no: int
    last_sequence: int
    erased_us: int
    """When an earlier history was erased: nothing up to it is stored again; NEVER_ERASED: none."""
    pruned_sequence: int = 0
    """Versions of the history up to it hold events that were deleted since."""


NEVER_ERASED = -(2**63)
"""Before every time."""


class Users(NamedTuple):
    """Users that were found, and the identity of their database."""

    by_key: dict[bytes, KnownUser]
    """By the last of the user's keys."""
    identity: Identity


class LockedUsers(NamedTuple):
    """Users that this transaction has locked, and those that another one has."""

    users: Users
    left_out: set[bytes]
    """The last keys of users whom another transaction has locked, or has just deleted."""


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
    identity, found = select(*identity_columns()).subquery(), given_users(dialect).subquery()
    return select(found, identity).select_from(identity.outerjoin(found, true()))


def given_users(dialect: str) -> Select[Any]:
    """Select the users who have one of the keys that `select_users` gives to a statement.

    The limit, the number of keys, is for the plan of PostgreSQL: without it the server expects ten
    users, and so makes a plan for every execution, which takes longer than to execute it.
    """
    return select(users).where(_has_given_key(dialect)).limit(bindparam("num_keys"))


def _has_given_key(dialect: str) -> ColumnElement[bool]:
    # All keys are one parameter: SQLAlchemy takes long for many. To SQLite they come end to end.
    if dialect != "sqlite":
        return among(dialect, users.c.user_key, "keys")
    keys = bindparam("keys", type_=LargeBinary)
    first = select(literal(1).label("place")).cte("places", recursive=True)
    following = first.c.place + _KEY_BYTES
    places = first.union_all(select(following).where(following <= func.length(keys)))
    return users.c.user_key.in_(select(func.substr(keys, places.c.place, _KEY_BYTES)))


def select_users(
    connection: Connection,
    keys: Collection[UserKeys],
    statement: Select[Any],
    parameters: Mapping[str, Any] | None = None,
) -> tuple[Users, list[Any]]:
    """Find the users that are known by a statement, and return its rows too.

    The statement selects the columns of `given_users`, and `identity_columns`. There is one row at
    least: one without a user has the identity alone. Raises FailedPrecondition (SECRET_OUTDATED).
    """
    names = _names(keys)
    given = b"".join(names) if connection.dialect.name == "sqlite" else list(names)
    given_keys = {"keys": given, "num_keys": len(names)}
    rows = read_rows(connection, statement, {**given_keys, **(parameters or {})})
    return _users_of(rows, keys, names), [row for row in rows if row.user_no is not None]


def lock_users(
    connection: Connection, keys: Collection[UserKeys], *, wait: bool = True
) -> LockedUsers:
    """Find the users that are known, and lock them for this write.

    Without `wait`, users that another transaction has locked are left out. All writers lock users
    in the same order, and before they make new ones, so there is no deadlock. Raises
    FailedPrecondition (SECRET_OUTDATED).
    """
    if connection.dialect.name == "sqlite":
        return LockedUsers(find_users(connection, keys), set())  # the only writer
    (rows,) = run_together(connection, lock_query(keys, wait=wait))
    return locked_users(rows, keys)


def lock_query(keys: Collection[UserKeys], *, wait: bool) -> BoundStatement:
    """Return what locks users over PostgreSQL; see `lock_users`."""
    return BoundStatement(_lock(wait), {"keys": list(_names(keys))})


def locked_users(rows: Sequence[Any], keys: Collection[UserKeys]) -> LockedUsers:
    """Read the rows of a `lock_query`. Raises FailedPrecondition (SECRET_OUTDATED)."""
    names = _names(keys)
    locked = _users_of(rows, keys, names)
    there = {names[row.there] for row in rows if row.there is not None}
    return LockedUsers(locked, there - locked.by_key.keys())


@cache
def _lock(wait: bool) -> Select[Any]:
    """Select who was there when the statement began, and who of them is locked now."""
    wanted = among("postgresql", users.c.user_key, "keys")
    # The weaker lock: rows of the worker that refer to a user must not wait for a writer.
    rows = select(users).where(wanted).order_by(users.c.user_no)
    locked = rows.with_for_update(key_share=True, skip_locked=not wait).cte("locked")
    there = select(users.c.user_no, users.c.user_key.label("there")).where(wanted).subquery()
    identity = select(*identity_columns()).subquery()
    joined = identity.outerjoin(there, true()).outerjoin(
        locked, locked.c.user_no == there.c.user_no
    )
    return select(locked, there.c.there, identity).select_from(joined)


def make_users(
    connection: Connection, new: Collection[UserKeys], identity: Identity
) -> dict[bytes, KnownUser]:
    """Make users that were not known; return them by the last of the user's keys.

    One who was erased before gets the time of that. Those that another transaction has made
    meanwhile are left out, and all of them when the newest secret has changed since the `identity`
    was read. The new users are locked. A transaction must not lock other users after it.
    """
    version = identity.key_version
    keys = {user[version - 1]: user[-1] for user in new}
    marks = {mark_of(key): user[-1] for user in new for key in user}
    if connection.dialect.name == "sqlite":
        erased: Sequence[Any] = connection.execute(_erased("sqlite"), {"marks": list(marks)}).all()
        insert_rows(connection, users, _NEW_USER, [(key, 0, version) for key in sorted(keys)])
        made: Sequence[Any] = connection.execute(_newest(), {"num": len(keys)}).all()
    else:
        checks = " ".join(identity.secret_checks)
        given = {"keys": sorted(keys), "version": version, "checks": checks}
        # Without the lock, two writers with different newest secrets would store one user twice.
        lock = BoundStatement(secrets_lock(alone=False), {})
        lookup = BoundStatement(_erased("postgresql"), {"marks": list(marks)})
        _, erased, made = run_together(connection, lock, lookup, BoundStatement(_make(), given))
    times = dict.fromkeys(keys.values(), NEVER_ERASED)
    for row in erased:
        times[marks[row.mark]] = max(times[marks[row.mark]], row.erased_us)
    users_made = {
        keys[row.user_key]: KnownUser(row.user_no, 0, times[keys[row.user_key]]) for row in made
    }
    for one in users_made.values() if erased else ():
        if one.erased_us != NEVER_ERASED:
            noted = update(users).where(users.c.user_no == one.user_no)
            connection.execute(noted.values(erased_us=one.erased_us))
    return users_made


@cache
def _erased(dialect: str) -> Select[Any]:
    """Select the tombstones of users; over PostgreSQL asked now that the lock is held."""
    c = tombstones.c
    return select(c.mark, c.erased_us).where(among(dialect, c.mark, "marks"))


@cache
def _make() -> ReturningInsert[Any]:
    keys = bindparam("keys", type_=ARRAY(LargeBinary))
    key = func.unnest(keys).column_valued("user_key")
    rows = select(key, literal(0), bindparam("version", type_=Integer))
    # Asked now that the lock is held.
    rows = rows.where(secret_checks() == bindparam("checks")).order_by(key)
    statement = insert("postgresql", users).from_select(_NEW_USER, rows).on_conflict_do_nothing()
    return statement.returning(users.c.user_no, users.c.user_key)


@cache
def _newest() -> Select[Any]:
    """Select the users that the only writer has just made: each new number is the highest."""
    newest = select(users.c.user_no, users.c.user_key).order_by(users.c.user_no.desc())
    return newest.limit(bindparam("num", type_=Integer))


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


def known_user(row: Any) -> KnownUser:
    """Read a row with the columns of `users`."""
    erased_us = NEVER_ERASED if row.erased_us is None else row.erased_us
    return KnownUser(row.user_no, row.last_sequence, erased_us, row.pruned_sequence or 0)


def _names(keys: Collection[UserKeys]) -> dict[bytes, bytes]:
    """Map every key that a row may have to the user's newest key."""
    return {key: user[-1] for user in keys for key in user}


def _users_of(
    rows: Sequence[Any], keys: Collection[UserKeys], names: Mapping[bytes, bytes]
) -> Users:
    """Read the users and the identity from the rows that a statement found for `keys`."""
    identity = identity_of(rows[0])
    if any(len(user) < identity.key_version for user in keys):
        raise FailedPrecondition(
            "SECRET_OUTDATED",
            "the database's users are stored under a newer secret than this process has; start it "
            "with the newest as GROUNDSWELL_SECRET, the others as GROUNDSWELL_PREVIOUS_SECRETS",
        )
    known = [row for row in rows if row.user_no is not None]
    by_key = {names[row.user_key]: known_user(row) for row in known}
    return Users(by_key, identity)
