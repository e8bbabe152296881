"""Statements about profiles: the chunks and the newest events that the profile head reads."""

from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    select,
)

from groundswell.artifacts.manifest import Manifest
from groundswell.profile_service.store.identity import identity_columns
from groundswell.profile_service.store.recent import RecentEvent, with_newer
from groundswell.profile_service.store.statements import insert
from groundswell.profile_service.store.tables import events, profile_chunks, profiles, users
from groundswell.profile_service.store.users import (
    UserKeys,
    Users,
    has_given_key,
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


def _is_held() -> ColumnElement[bool]:
    covered_us = func.coalesce(profiles.c.covered_us, 0)  # null equals nothing
    sequence = users.c.last_sequence == bindparam("sequence")
    return and_(sequence, covered_us == bindparam("covered_us"))


def _has_all_events() -> ColumnElement[bool]:
    """Whether a profile's row has the newest events of all."""
    p = profiles.c
    # An earlier release, without recent events, updated the row and left the old ones in it.
    has_recent = and_(p.recent.is_not(None), p.tail_vector.is_(None))
    has_all = and_(p.covered_sequence >= users.c.last_sequence, has_recent)
    return case((has_all, 1), else_=0) == 1


def _newest_events(e: Any) -> Any:
    """Select the newest events of a user, newest first, unless they are held or in the row."""
    return (
        select(e.item_no, e.time_us, e.action, e.session_id)
        .where(e.user_no == users.c.user_no, ~_is_held(), ~_has_all_events())
        .order_by(e.time_us.desc(), e.ordinal.desc(), e.event_id.desc())
        .limit(bindparam("limit"))
        .correlate(users, profiles)
        .subquery()
    )


def _newest_chunks(of: Table) -> Any:
    """Select the newest covered chunks of a user, unless they are held, in their order."""
    c = of.c
    return (
        select(c.last_time_us, c.vector)
        .where(
            c.user_no == profiles.c.user_no,
            c.fingerprint == profiles.c.fingerprint,
            c.chunk_length == profiles.c.chunk_length,
            c.chunk_no >= profiles.c.num_chunks - bindparam("max_chunks"),
            # The worker may have stored later ones.
            c.chunk_no < profiles.c.num_chunks,
            ~_is_held(),
        )
        .order_by(c.chunk_no)
        .correlate(users, profiles)
        .subquery()
    )


def _find(dialect: str) -> Select[Any]:
    """Select one row for each user that is found, and one at least: each holds the identity."""
    p, done, chunks = profiles.c, events.alias().c, _newest_chunks(profile_chunks).c
    newest = _newest_events(events.alias().c)
    newer = (
        select((done.item_no * _ACTIONS + done.action).label("code"))
        .where(done.user_no == users.c.user_no, done.sequence > bindparam("sequence"))
        .order_by(done.sequence)
        .correlate(users)
        .subquery()
    )
    if dialect == "sqlite":
        rows_json = func.json_group_array(func.json_array(*newest.c), type_=JSON)
        vector = func.hex(chunks.vector)
    else:
        rows_json = func.json_agg(func.json_build_array(*newest.c), type_=JSON)
        vector = func.encode(chunks.vector, "hex")
    recent = case((~_is_held() & _has_all_events(), p.recent))
    identity = select(*identity_columns()).subquery()
    of_spec = (p.fingerprint == bindparam("fingerprint"), p.chunk_length == bindparam("length"))
    rows = identity.outerjoin(users, has_given_key(dialect))
    return select(
        users,
        identity,
        *(p.covered_sequence, p.covered_us, recent.label("recent")),
        select(rows_json).scalar_subquery().label("newest"),
        _joined(cast(chunks.last_time_us, Text) + ":" + vector).label("chunks"),
        _joined(newer.c.code).label("actions"),
    ).select_from(rows.outerjoin(profiles, and_(p.user_no == users.c.user_no, *of_spec)))


def _joined(column: Any) -> Any:
    return select(func.aggregate_strings(cast(column, Text), ",")).scalar_subquery()


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
    chunks = [chunk.split(":") for chunk in row.chunks.split(",")] if row.chunks else []
    vectors = np.frombuffer(bytes.fromhex("".join(vector for _, vector in chunks)), "<f2")
    newest = [RecentEvent(*event) for event in reversed(row.newest or ())]
    return StoredProfile(
        row.user_no,
        row.last_sequence,
        row.covered_sequence,
        row.covered_us,
        with_newer(b"", newest, first_is_held=False) or row.recent,
        np.array([int(time_us) for time_us, _ in chunks], np.int64),
        vectors.reshape(len(chunks), -1) if chunks else vectors.reshape(0, 0),
        np.stack(np.divmod(_numbers(row.actions), _ACTIONS), axis=1),
    )


def _numbers(joined: str | None) -> NDArray[np.int64]:
    return np.fromstring(joined or "", np.int64, sep=",")


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
