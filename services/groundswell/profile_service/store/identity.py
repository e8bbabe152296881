"""Statements about the identity of the database: its lineage and its secrets' check values."""

import secrets
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, ScalarSelect, Select, func, literal_column, select, update

from groundswell.profile_service.store.items import catalogue_revision
from groundswell.profile_service.store.staged import switch_revision
from groundswell.profile_service.store.statements import insert
from groundswell.profile_service.store.tables import counters, events, identity

_LINEAGE, _CHECKS = "lineage", "secret_checks"
_DELETIONS = "deletions"
_LINEAGE_BYTES = 16
_SECRETS_LOCK = 7_305_402
"""Transactions that make users share this lock. A change of the secret takes it alone."""


class Identity(NamedTuple):
    """The identity of the database that a transaction sees."""

    lineage: str
    """32 hexadecimal digits; a new lineage begins after every restore from a backup."""
    secret_checks: tuple[str, ...]
    """The check values of the secrets that users' keys were made with, oldest first."""

    @property
    def key_version(self) -> int:
        """The version of new users' keys: the number of secrets that they are made with, from 1."""
        return max(1, len(self.secret_checks))


class Witness(NamedTuple):
    """One stored event. A database that lacks it was restored from a backup."""

    user_no: int
    sequence: int
    stored_us: int


class Standing(NamedTuple):
    """The lineage of a database, and its catalogue's revision."""

    lineage: str
    catalogue_revision: int
    switch_revision: int
    """The revision after the last commit of a stage; 0 before the first one."""
    deletions: int
    """How often stored events were deleted: what was a witness may be among them."""


def lineage() -> ScalarSelect[str]:
    """Select the database's lineage, as a column of another statement."""
    column: ScalarSelect[str] = _value(_LINEAGE)
    return column


def secret_checks() -> ScalarSelect[str]:
    """Select the check values of the secrets, separated by spaces, as a column of another one."""
    column: ScalarSelect[str] = _value(_CHECKS)
    return column


def identity_columns() -> tuple[Any, Any]:
    """Select what `identity_of` reads, as columns of another statement."""
    return lineage().label("lineage"), secret_checks().label("secret_checks")


def identity_of(row: Any) -> Identity:
    """Read the columns that `identity_columns` selects."""
    return Identity(row.lineage, tuple(row.secret_checks.split()))


def read_identity(connection: Connection) -> Identity:
    """Return the database's identity."""
    return identity_of((connection.execute(select(*identity_columns()))).one())


def read_lineage(connection: Connection) -> str:
    """Return the database's lineage."""
    return str((connection.execute(select(lineage()))).scalar_one())


def renew_lineage(connection: Connection, before: str | None = None) -> str:
    """Begin a new lineage, unless it is no longer `before`; return the lineage afterwards."""
    statement = update(identity).where(identity.c.name == _LINEAGE)
    if before is not None:
        statement = statement.where(identity.c.value == before)
    connection.execute(statement.values(value=secrets.token_hex(_LINEAGE_BYTES)))
    return read_lineage(connection)


def read_standing(connection: Connection) -> Standing:
    """Return the database's lineage, its catalogue's revision, and that of the last commit."""
    deleted = select(counters.c.value).where(counters.c.name == _DELETIONS).scalar_subquery()
    statement = select(
        lineage(), catalogue_revision(), switch_revision(), func.coalesce(deleted, 0)
    )
    return Standing(*(connection.execute(statement)).one())


def holds(connection: Connection, witness: Witness) -> bool:
    """Whether the database holds an event."""
    statement = select(events.c.user_no).where(
        events.c.user_no == witness.user_no,
        events.c.sequence == witness.sequence,
        events.c.stored_us == witness.stored_us,
    )
    return (connection.execute(statement)).first() is not None


def count_deletion(connection: Connection) -> None:
    """Note that events of users are deleted in this transaction."""
    statement = insert(connection.dialect.name, counters).values(name=_DELETIONS, value=1)
    more = {"value": counters.c.value + 1}
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=more))


def lock_secrets_alone(connection: Connection) -> None:
    """Lock the secrets until the end of the transaction, so that they can be changed."""
    if connection.dialect.name == "postgresql":
        # SQLite has one writer anyway.
        connection.execute(secrets_lock(alone=True))


@cache
def secrets_lock(*, alone: bool) -> Select[Any]:
    """Return what locks the secrets over PostgreSQL until the end of the transaction.

    With `alone` no other transaction holds the lock. What was committed before the lock was given
    is seen by later statements alone.
    """
    lock = func.pg_advisory_xact_lock if alone else func.pg_advisory_xact_lock_shared
    return select(lock(_SECRETS_LOCK))


def set_secret_checks(connection: Connection, checks: Sequence[str]) -> None:
    """Store the check values, oldest first; the transaction must have locked them alone."""
    statement = update(identity).where(identity.c.name == _CHECKS)
    connection.execute(statement.values(value=" ".join(checks)))


def _value(name: str) -> Any:
    # In the text of the statement: a parameter costs time at each execution.
    named = identity.c.name == literal_column(f"'{name}'")
    return select(identity.c.value).where(named).scalar_subquery()
