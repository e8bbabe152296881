"""Statements about profiles: the chunks and the newest events that the profile head reads."""

from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, case, func, select

from groundswell.profile_service.store.identity import identity_columns
from groundswell.profile_service.store.items import catalogue_revision
from groundswell.profile_service.store.statements import Subjects, insert
from groundswell.profile_service.store.tables import profile_chunks, profiles, users
from groundswell.profile_service.store.users import UserKeys, Users, select_users


class Spec(NamedTuple):
    """The text encoder and the chunk length that stored chunks were made with."""

    fingerprint: str
    chunk_length: int


_FIND_COVERED = (
    select(
        users,
        *identity_columns(),
        profiles.c.covered_sequence,
        profiles.c.covered_us,
        profiles.c.last_event_us,
        catalogue_revision().label("catalogue_revision"),
    )
    .where(users.c.user_key.in_(bindparam("keys", expanding=True)))
    .join(
        profiles,
        and_(
            profiles.c.user_no == users.c.user_no,
            profiles.c.fingerprint == bindparam("fingerprint"),
            profiles.c.chunk_length == bindparam("chunk_length"),
        ),
        isouter=True,
    )
)


def find_profiles(connection: Connection, user_nos: Collection[int], spec: Spec) -> dict[int, Any]:
    """Return the profiles of users that have one, by number."""
    c = profiles.c
    # An earlier release, without recent events, updated the row and left the old ones in it.
    recent = case((c.tail_vector.is_(None), c.recent)).label("recent")
    columns = (c.user_no, c.covered_sequence, c.covered_us, c.last_event_us, c.num_chunks, recent)
    statement = select(*columns).where(c.user_no.in_(user_nos), *_of(profiles, spec))
    return {row.user_no: row for row in connection.execute(statement)}


def find_covered(
    connection: Connection, keys: Collection[UserKeys], spec: Spec
) -> tuple[Users, dict[int, Any]]:
    """Find users, and what the profiles of those who have one cover, in one statement.

    The profiles are rows of (covered_sequence, covered_us, last_event_us, catalogue_revision) by
    user_no; the last one is the catalogue's own. Raises FailedPrecondition (SECRET_OUTDATED).
    """
    found, rows = select_users(connection, keys, _FIND_COVERED, spec._asdict())
    return found, {row.user_no: row for row in rows if row.covered_sequence is not None}


def newest_chunks(
    connection: Connection, first_chunks: Mapping[int, int], spec: Spec
) -> dict[int, list[Any]]:
    """Return each user's chunks (chunk_no, last_time_us, vector) from a number on, in order."""
    found: dict[int, list[Any]] = {user_no: [] for user_no in first_chunks}
    by_first: dict[int, list[int]] = {}
    for user_no, first in first_chunks.items():
        by_first.setdefault(first, []).append(user_no)
    c = profile_chunks.c
    columns = select(c.user_no, c.chunk_no, c.last_time_us, c.vector)
    for first, user_nos in by_first.items():
        statement = columns.where(
            c.user_no.in_(user_nos), *_of(profile_chunks, spec), c.chunk_no >= first
        )
        for row in connection.execute(statement.order_by(c.user_no, c.chunk_no)):
            found[row.user_no].append(row)
    return found


def stored_chunks(
    connection: Connection, user_nos: Collection[int], spec: Spec
) -> dict[int, list[Any]]:
    """Return each user's chunks without their vectors, in order."""
    c = profile_chunks.c
    columns = (c.user_no, c.chunk_no, c.content_hash, c.last_time_us, c.last_ordinal)
    statement = select(*columns, c.last_event_id)
    statement = statement.where(c.user_no.in_(user_nos), *_of(profile_chunks, spec))
    found: dict[int, list[Any]] = {user_no: [] for user_no in user_nos}
    for row in connection.execute(statement.order_by(c.user_no, c.chunk_no)):
        found[row.user_no].append(row)
    return found


def put_chunks(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store chunks, in place of earlier ones with the same keys."""
    _put(connection, profile_chunks, rows)


def put_profiles(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store profiles, in place of earlier ones with the same keys."""
    _put(connection, profiles, rows)


def covered_users(connection: Connection) -> dict[Spec, int]:
    """Count the users that have a profile, by the encoder that it was made with."""
    spec = (profiles.c.fingerprint, profiles.c.chunk_length)
    statement = select(*spec, func.count()).group_by(*spec)
    return {Spec(row[0], row[1]): row[2] for row in connection.execute(statement)}


def uncovered_users(spec: Spec) -> Subjects:
    """Select (user_no, newest sequence) of every user whose profile lacks events, or the newest."""
    on = (profiles.c.user_no == users.c.user_no, *_of(profiles, spec))
    joined = users.outerjoin(profiles, on[0] & on[1] & on[2])
    covered = profiles.c.covered_sequence
    statement = select(users.c.user_no, users.c.last_sequence).select_from(joined)
    statement = statement.where(
        users.c.last_sequence > 0,
        profiles.c.recent.is_(None)
        | profiles.c.tail_vector.is_not(None)
        | (covered < users.c.last_sequence),
    )
    return Subjects(users.c.user_no, statement)


def _of(table: Any, spec: Spec) -> tuple[Any, Any]:
    return table.c.fingerprint == spec.fingerprint, table.c.chunk_length == spec.chunk_length


def _put(connection: Connection, table: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    statement = insert(connection, table)
    key = {column.name for column in table.primary_key.columns}
    changed = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in key}
    statement = statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns), set_=changed
    )
    key_of = itemgetter(*(column.name for column in table.primary_key.columns))
    connection.execute(statement, sorted(rows, key=key_of))
