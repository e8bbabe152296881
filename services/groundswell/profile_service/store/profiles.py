"""Statements about profiles: the chunks and the newest events that the profile head reads."""

from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    false,
    func,
    literal_column,
    select,
    true,
)

from groundswell.artifacts.manifest import Manifest
from groundswell.profile_service.store.identity import identity_columns
from groundswell.profile_service.store.recent import RecentEvent, with_newer
from groundswell.profile_service.store.statements import as_json, insert, read_json
from groundswell.profile_service.store.tables import events, profile_chunks, profiles
from groundswell.profile_service.store.users import (
    UserKeys,
    Users,
    given_users,
    select_users,
)


class Spec(NamedTuple):
    """The text encoder and the chunk length that stored chunks were made with."""

    fingerprint: str
    chunk_length: int
    """0: histories are not read as text."""

    @classmethod
    def of(cls, manifest: Manifest) -> "Spec":
        """Return the part of a manifest that decides which stored chunks a bundle can use."""
        return cls(*manifest.chunk_spec)

    @property
    def reads_histories(self) -> bool:
        """Whether the worker encodes chunks of histories."""
        return self.chunk_length > 0


class StoredProfile(NamedTuple):
    """What one user's profile is made of, as one statement reads it."""

    user_no: int
    last_sequence: int
    covered_sequence: int | None
    """None, as what follows it, where the encoder has read nothing."""
    covered_us: int | None
    recent: bytes | None
    """The newest events (see `recent`), one more than were asked for at least, where there are so
    many; None when the vector is held already, and without events."""
    chunk_times_us: NDArray[np.int64]
    """[n] when the newest covered chunks ended, oldest first; none when the vector is held."""
    chunk_vectors: NDArray[np.float16]
    """[n, t]"""
    actions: NDArray[np.int64]
    """[m, 2] (item_no, action) of the events after those that are held, in order of sequence."""


class Known(NamedTuple):
    """What a caller holds of a user already, so that it is not read."""

    sequence: int = 0
    """Actions up to it."""
    covered_us: int = -1
    """The vector of the events up to `sequence` and of the texts that were covered then."""


_NOTHING = Known()
_ACTIONS = 64
"""More than there are actions: one number says an item and an action."""
# What is no parameter costs nothing at each execution.
_HEX: ColumnElement[str] = literal_column("'hex'")


def _is_held(found: Any) -> ColumnElement[bool]:
    sequence = found.last_sequence == bindparam("sequence")
    # Null, where there is no row of the worker, equals nothing.
    covered = profiles.c.covered_us == bindparam("covered_us")
    return func.coalesce(and_(sequence, covered), false())


def _has_all_events(found: Any) -> ColumnElement[bool]:
    """Whether a profile's row has the newest events of all."""
    p = profiles.c
    # An earlier release, without recent events, updated the row and left the old ones in it.
    has_recent = and_(p.recent.is_not(None), p.tail_vector.is_(None))
    return func.coalesce(and_(p.covered_sequence >= found.last_sequence, has_recent), false())


def _newest_events(found: Any) -> Any:
    """Select the newest events of a user, newest first, unless they are held or in the row."""
    e = events.alias().c
    return (
        select(e.item_no, e.time_us, e.action, e.session_id)
        .where(e.user_no == found.user_no, ~_is_held(found), ~_has_all_events(found))
        .order_by(e.time_us.desc(), e.ordinal.desc(), e.event_id.desc())
        .limit(bindparam("limit"))
    )


def _newest_chunks(found: Any) -> Any:
    """Select the newest covered chunks of a user, unless they are held, in their order."""
    c = profile_chunks.c
    return (
        select(c.last_time_us, c.vector)
        .where(
            c.user_no == profiles.c.user_no,
            c.fingerprint == profiles.c.fingerprint,
            c.chunk_length == profiles.c.chunk_length,
            c.chunk_no >= profiles.c.num_chunks - bindparam("max_chunks"),
            # The worker may have stored later ones.
            c.chunk_no < profiles.c.num_chunks,
            ~_is_held(found),
        )
        .order_by(c.chunk_no)
    )


def _newer_actions(found: Any) -> Any:
    """Select the action of each event that is not held as a number, in order of sequence."""
    e = events.alias().c
    return (
        select((e.item_no * literal_column(str(_ACTIONS)) + e.action).label("code"))
        .where(e.user_no == found.user_no, e.sequence > bindparam("sequence"))
        .order_by(e.sequence)
    )


def _find(dialect: str) -> Select[Any]:
    """Select one row for each user that is found, and one at least: each holds the identity."""
    identity, given = select(*identity_columns()).subquery(), given_users(dialect).subquery()
    p, found = profiles.c, given.c

    def beside(rows: Any) -> Any:
        return rows.correlate(given, profiles).subquery().c

    chunks = beside(_newest_chunks(found))
    vector = func.hex(chunks.vector) if dialect == "sqlite" else func.encode(chunks.vector, _HEX)
    recent = case((~_is_held(found) & _has_all_events(found), p.recent))
    of_spec = (p.fingerprint == bindparam("fingerprint"), p.chunk_length == bindparam("length"))
    rows = identity.outerjoin(given, true())
    return select(
        given,
        identity,
        *(p.covered_sequence, p.covered_us, recent.label("recent")),
        as_json(dialect, *beside(_newest_events(found))).label("newest"),
        as_json(dialect, chunks.last_time_us, vector).label("chunks"),
        as_json(dialect, beside(_newer_actions(found)).code).label("actions"),
    ).select_from(rows.outerjoin(profiles, and_(p.user_no == found.user_no, *of_spec)))


_FIND = {dialect: _find(dialect) for dialect in ("sqlite", "postgresql")}


def read_profiles(
    connection: Connection,
    keys: Collection[UserKeys],
    spec: Spec,
    max_chunks: int,
    recent_length: int,
    known: Known = _NOTHING,
) -> tuple[Users, dict[int, StoredProfile]]:
    """Find users, and all that their profiles are made of, in one statement.

    The newest events are read from the log where the encoder has not covered them all. Returns it
    by user_no; `known` is what the caller holds of each of the users. Raises
    FailedPrecondition (SECRET_OUTDATED).
    """
    parameters = {
        "fingerprint": spec.fingerprint,
        "length": spec.chunk_length,
        "max_chunks": max_chunks,
        # One more than is read: it tells whether the event after it starts a session.
        "limit": recent_length + 1,
        **known._asdict(),
    }
    found, rows = select_users(connection, keys, _FIND[connection.dialect.name], parameters)
    return found, {row.user_no: _stored(row) for row in rows}


def _stored(row: Any) -> StoredProfile:
    chunks = read_json(row.chunks)
    vectors = np.frombuffer(bytes.fromhex("".join(vector for _, vector in chunks)), "<f2")
    newest = [RecentEvent(*event) for event in reversed(read_json(row.newest))]
    return StoredProfile(
        row.user_no,
        row.last_sequence,
        row.covered_sequence,
        row.covered_us,
        with_newer(b"", newest, first_is_held=False) or row.recent,
        np.array([time_us for time_us, _ in chunks], np.int64),
        vectors.reshape(len(chunks), -1) if chunks else vectors.reshape(0, 0),
        np.stack(np.divmod(np.array(read_json(row.actions), np.int64), _ACTIONS), axis=1),
    )


def find_profiles(connection: Connection, user_nos: Collection[int], spec: Spec) -> dict[int, Any]:
    """Return the profiles of users that have one, by number."""
    c = profiles.c
    # An earlier release, without recent events, updated the row and left the old ones in it.
    recent = case((c.tail_vector.is_(None), c.recent)).label("recent")
    columns = (c.user_no, c.covered_sequence, c.covered_us, c.last_event_us, c.num_chunks, recent)
    statement = select(*columns).where(c.user_no.in_(user_nos), *made_by(profiles, spec))
    return {row.user_no: row for row in connection.execute(statement)}


def stored_chunks(
    connection: Connection, user_nos: Collection[int], spec: Spec
) -> dict[int, list[Any]]:
    """Return each user's chunks without their vectors, in order."""
    c = profile_chunks.c
    columns = (c.user_no, c.chunk_no, c.content_hash, c.last_time_us, c.last_ordinal)
    statement = select(*columns, c.last_event_id)
    statement = statement.where(c.user_no.in_(user_nos), *made_by(profile_chunks, spec))
    found: dict[int, list[Any]] = {user_no: [] for user_no in user_nos}
    for row in connection.execute(statement.order_by(c.user_no, c.chunk_no)):
        found[row.user_no].append(row)
    return found


def put_chunks(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store chunks, in place of earlier ones with the same keys."""
    _put(connection, profile_chunks, rows)


def drop_chunks(connection: Connection, user_no: int, spec: Spec, numbers: range) -> None:
    """Delete a user's chunks of some numbers."""
    c = profile_chunks.c
    between = (c.chunk_no >= numbers.start, c.chunk_no < numbers.stop)
    statement = profile_chunks.delete().where(c.user_no == user_no, *between)
    connection.execute(statement.where(*made_by(profile_chunks, spec)))


def put_profiles(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store profiles, in place of earlier ones with the same keys."""
    _put(connection, profiles, rows)


def made_by(table: Any, spec: Spec) -> tuple[Any, Any]:
    """Return the conditions for the rows that a text encoder made."""
    return table.c.fingerprint == spec.fingerprint, table.c.chunk_length == spec.chunk_length


def _put(connection: Connection, table: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    statement = insert(connection.dialect.name, table)
    key = {column.name for column in table.primary_key.columns}
    changed = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in key}
    statement = statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns), set_=changed
    )
    key_of = itemgetter(*(column.name for column in table.primary_key.columns))
    connection.execute(statement, sorted(rows, key=key_of))
