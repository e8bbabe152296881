"""Statements of erasures: the tombstones, and the deletion of a user's rows part by part."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Table,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from groundswell.profile_service.store.erasure_tables import erased_users, erasures, tombstones
from groundswell.profile_service.store.identity import (
    count_deletion,
    lineage,
    lock_secrets_alone,
)
from groundswell.profile_service.store.popularity import subtract_events
from groundswell.profile_service.store.statements import among, one_of
from groundswell.profile_service.store.statements import insert as insert_into
from groundswell.profile_service.store.tables import (
    events,
    profile_chunks,
    profiles,
    shown_lists,
    stale_users,
    users,
    visitors,
)
from groundswell.profile_service.store.users import UserKeys, find_users

_IN_PARTS = (events, profile_chunks, profiles, shown_lists)
"""The tables with many rows of a user, in the order in which they are emptied."""
_OF_USERS = (*_IN_PARTS, stale_users, visitors, users)


class Tombstone(NamedTuple):
    """What stays of an erased user or session."""

    mark: bytes
    erasure_id: str
    erased_us: int
    """Events of times up to it are refused: when it was asked, or of the newest erased event."""

    def is_newer_than(self, other: "Tombstone | None") -> bool:
        """Whether it refuses more than another one of the same mark, if there is one."""
        return other is None or other.erased_us < self.erased_us


class StoredSubject(NamedTuple):
    """A user or a session as it is stored."""

    user_no: int
    key: bytes
    version: int


class ErasureState(NamedTuple):
    """The lineage of the database, and the revision of its newest tombstone."""

    lineage: str
    revision: int


class StoredReceipt(NamedTuple):
    """What an erasure deleted."""

    erasure_id: str
    erased_us: int
    finished_us: int | None
    counts: Mapping[str, int]


def find_subjects(connection: Connection, keys: UserKeys) -> list[StoredSubject]:
    """Return a user and the sessions that are linked to it, by number; none for an unknown user.

    Raises FailedPrecondition (SECRET_OUTDATED).
    """
    found, _ = find_users(connection, [keys])
    return with_sessions(connection, [one.user_no for one in found.values()])


def with_sessions(connection: Connection, user_nos: Collection[int]) -> list[StoredSubject]:
    """Return users and the sessions that are linked to them, by number."""
    dialect, c = connection.dialect.name, users.c
    linked = select(visitors.c.user_no).where(one_of(dialect, visitors.c.linked_to, user_nos))
    statement = select(c.user_no, c.user_key, c.key_version)
    statement = statement.where(or_(one_of(dialect, c.user_no, user_nos), c.user_no.in_(linked)))
    return [StoredSubject(*row) for row in connection.execute(statement.order_by(c.user_no))]


def lock_subjects(connection: Connection, found: Sequence[StoredSubject]) -> None:
    """Lock users until the end of the transaction, and then the secrets: no user is made then."""
    numbers = [one.user_no for one in found]
    chosen = one_of(connection.dialect.name, users.c.user_no, numbers)
    connection.execute(
        select(users.c.user_no).where(chosen).order_by(users.c.user_no).with_for_update()
    )
    lock_secrets_alone(connection)


def find_tombstones(connection: Connection, marks: Collection[bytes]) -> list[Tombstone]:
    """Return the tombstones with some marks, the newest first."""
    c = tombstones.c
    statement = select(c.mark, c.erasure_id, c.erased_us).where(
        among(connection.dialect.name, c.mark, "marks")
    )
    rows = connection.execute(statement.order_by(c.erased_us.desc()), {"marks": list(marks)})
    return [Tombstone(*row) for row in rows]


def newest_time(connection: Connection, found: Sequence[StoredSubject]) -> int | None:
    """Return the time of the newest event of some users, in microseconds since 1970."""
    numbers = [one.user_no for one in found]
    mine = one_of(connection.dialect.name, events.c.user_no, numbers)
    newest: int | None = connection.execute(
        select(func.max(events.c.time_us)).where(mine)
    ).scalar_one()
    return newest


def begin_erasure(
    connection: Connection, new: Collection[Tombstone], user_nos: set[int], now_us: int
) -> None:
    """Store tombstones, and let nobody find some users any more, whose rows are to be deleted.

    The tombstones are of one erasure and time. The transaction has locked the subjects.
    """
    erasure_id, erased_us = next((one.erasure_id, one.erased_us) for one in new)
    dialect = connection.dialect.name
    # A tombstone may be of a time to come, a receipt is not.
    begun = {"erased_us": min(erased_us, now_us), "finished_us": None}
    receipt = insert_into(dialect, erasures).values(erasure_id=erasure_id, counts={}, **begun)
    connection.execute(receipt.on_conflict_do_update(index_elements=["erasure_id"], set_=begun))
    revision = read_state(connection).revision + 1
    put = insert_into(dialect, tombstones)
    newest = {name: put.excluded[name] for name in ("erasure_id", "erased_us", "revision")}
    put = put.on_conflict_do_update(
        index_elements=["mark"],
        set_=newest,
        where=tombstones.c.erased_us <= put.excluded.erased_us,
    )
    connection.execute(put, [one._asdict() | {"revision": revision} for one in new])
    for user_no in sorted(user_nos):
        hidden = update(users).where(users.c.user_no == user_no)
        connection.execute(hidden.values(user_key=os.urandom(32)))
        waits = insert_into(dialect, erased_users).values(user_no=user_no, erasure_id=erasure_id)
        connection.execute(waits.on_conflict_do_nothing())


def keep_newer(connection: Connection, subject: StoredSubject, erased_us: int) -> None:
    """Give the events after an erasure to a new history of the user, who was just hidden."""
    newer = events.c.user_no == subject.user_no, events.c.time_us > erased_us
    if not connection.execute(select(exists().where(*newer))).scalar_one():
        return
    row = {"user_key": subject.key, "key_version": subject.version, "erased_us": erased_us}
    made = connection.execute(insert(users).values(**row, last_sequence=0))
    (user_no,) = made.inserted_primary_key or (0,)
    c = visitors.c
    session = select(literal(user_no), c.written_us).where(c.user_no == subject.user_no)
    connection.execute(insert(visitors).from_select(["user_no", "written_us"], session))
    place = func.row_number().over(order_by=events.c.sequence).label("place")
    new = select(events.c.sequence, place).where(*newer).subquery("new")
    mine = events.c.user_no == subject.user_no, events.c.sequence == new.c.sequence
    move = update(events).where(*mine).values(user_no=user_no, sequence=new.c.place)
    moved = connection.execute(move).rowcount
    own = update(users).where(users.c.user_no == user_no)
    connection.execute(own.values(last_sequence=moved))


def unfinished(connection: Connection) -> list[str]:
    """Return the erasures whose rows are not all deleted."""
    return list(
        connection.execute(
            select(erasures.c.erasure_id).where(erasures.c.finished_us.is_(None))
        ).scalars()
    )


def erase_some(connection: Connection, erasure_id: str, limit: int, now_us: int) -> bool:
    """Delete up to `limit` rows of an erasure; return whether there are more."""
    mine = erased_users.c.erasure_id == erasure_id
    next_user = select(erased_users.c.user_no).where(mine).order_by(erased_users.c.user_no)
    user_no = connection.execute(next_user.limit(1).with_for_update()).scalar_one_or_none()
    if user_no is None:
        done = update(erasures).where(
            erasures.c.erasure_id == erasure_id, erasures.c.finished_us.is_(None)
        )
        connection.execute(done.values(finished_us=now_us))
        return False
    # The weaker lock: rows of the worker that refer to the user must not wait for this.
    own = select(users.c.user_no).where(users.c.user_no == user_no)
    connection.execute(own.with_for_update(key_share=True))
    # First, so that no worker stores anything of this user any more.
    counts = {stale_users.name: _delete(connection, stale_users, user_no)}
    for table in _IN_PARTS:
        left = limit - sum(counts.values())
        if left > 0:
            counts[table.name] = delete_part(connection, table, user_no, left)
    if sum(counts.values()) < limit:
        counts |= {table.name: _delete(connection, table, user_no) for table in (visitors, users)}
        connection.execute(delete(erased_users).where(erased_users.c.user_no == user_no))
    _count(connection, erasure_id, counts)
    return True


def delete_part(connection: Connection, table: Table, user_no: int, limit: int) -> int:
    """Delete the first rows of a user in a table; return how many.

    Events leave the popularity of their items too.
    """
    key = list(table.primary_key.columns)
    first = select(*key).where(table.c.user_no == user_no).order_by(*key).limit(limit)
    statement = delete(table).where(tuple_(*key).in_(first.with_for_update()))
    if table is not events:
        return connection.execute(statement).rowcount
    return delete_events(connection, statement)


def delete_events(connection: Connection, statement: Any) -> int:
    """Run a deletion of events, and take them out of the popularity of their items."""
    c = events.c
    returned = statement.returning(c.item_no, c.action, c.time_us, c.stored_us)
    gone = connection.execute(returned).all()
    if gone:
        count_deletion(connection)
        subtract_events(connection, gone)
    return len(gone)


def count_rows(connection: Connection, user_nos: Collection[int]) -> dict[str, int]:
    """Return how many rows of some users each table has, by its name."""
    counts = {}
    for table in _OF_USERS:
        statement = select(func.count()).select_from(table)
        found = connection.execute(
            statement.where(one_of(connection.dialect.name, table.c.user_no, user_nos))
        )
        counts[table.name] = found.scalar_one()
    return counts


def read_receipt(connection: Connection, erasure_id: str) -> StoredReceipt:
    """Return the receipt of an erasure."""
    row = connection.execute(select(erasures).where(erasures.c.erasure_id == erasure_id)).one()
    return StoredReceipt(row.erasure_id, row.erased_us, row.finished_us, row.counts)


def read_state(connection: Connection) -> ErasureState:
    """Return what changes with every erasure."""
    newest = func.coalesce(func.max(tombstones.c.revision), literal(0))
    return ErasureState(*connection.execute(select(lineage(), newest)).one())


def tombstones_after(
    connection: Connection, revision: int, limit: int | None = None
) -> tuple[list[Tombstone], ErasureState]:
    """Return the tombstones after a revision, all of each revision, and up to which that is."""
    c = tombstones.c
    state = read_state(connection)
    statement = select(c.mark, c.erasure_id, c.erased_us, c.revision).where(c.revision > revision)
    rows = connection.execute(statement.order_by(c.revision).limit(limit)).all()
    if limit is not None and len(rows) == limit:
        last = rows[-1].revision
        rest = connection.execute(statement.where(c.revision == last).order_by(c.mark)).all()
        rows = [*(row for row in rows if row.revision < last), *rest]
        state = state._replace(revision=last)
    return [Tombstone(*row[:3]) for row in rows], state


def page_of_keys(connection: Connection, after: int, limit: int) -> list[StoredSubject]:
    """Return the users that follow a number."""
    c = users.c
    statement = select(c.user_no, c.user_key, c.key_version).where(c.user_no > after)
    rows = connection.execute(statement.order_by(c.user_no).limit(limit))
    return [StoredSubject(*row) for row in rows]


def _delete(connection: Connection, table: Table, user_no: int) -> int:
    return connection.execute(delete(table).where(table.c.user_no == user_no)).rowcount


def _count(connection: Connection, erasure_id: str, more: Mapping[str, int]) -> None:
    mine = erasures.c.erasure_id == erasure_id
    held = connection.execute(select(erasures.c.counts).where(mine).with_for_update()).scalar_one()
    names: Iterable[str] = {*held, *more}
    counts = {name: held.get(name, 0) + more.get(name, 0) for name in sorted(names)}
    connection.execute(update(erasures).where(mine).values(counts=counts))
