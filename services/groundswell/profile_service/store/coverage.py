"""Statements about how far text encoders have read the users' events and the items' texts."""

from collections.abc import Collection

from sqlalchemy import Connection, and_, exists, func, select

from groundswell.profile_service.store.profiles import Spec, made_by
from groundswell.profile_service.store.statements import Subjects
from groundswell.profile_service.store.tables import events, item_texts, items, profiles, users


def covered_users(connection: Connection) -> dict[Spec, int]:
    """Count the users that have a profile, by the encoder that it was made with."""
    spec = (profiles.c.fingerprint, profiles.c.chunk_length)
    statement = select(*spec, func.count()).group_by(*spec)
    return {Spec(row[0], row[1]): row[2] for row in connection.execute(statement)}


def covered_sequences(
    connection: Connection, user_nos: Collection[int], spec: Spec
) -> dict[int, int]:
    """Return up to which event each profile covers its user, for those that have one."""
    c = profiles.c
    statement = select(c.user_no, c.covered_sequence)
    rows = connection.execute(statement.where(c.user_no.in_(user_nos), *made_by(profiles, spec)))
    return {row[0]: row[1] for row in rows}


def uncovered_users(spec: Spec) -> Subjects:
    """Select (user_no, newest sequence) of every user whose profile lacks events, or the newest.

    A session whose events were moved to a user has none to cover.
    """
    on = (profiles.c.user_no == users.c.user_no, *made_by(profiles, spec))
    joined = users.outerjoin(profiles, on[0] & on[1] & on[2])
    covered = profiles.c.covered_sequence
    newest = (events.c.user_no == users.c.user_no, events.c.sequence == users.c.last_sequence)
    statement = select(users.c.user_no, users.c.last_sequence).select_from(joined)
    statement = statement.where(
        exists().where(*newest),
        profiles.c.recent.is_(None)
        | profiles.c.tail_vector.is_not(None)
        | (covered < users.c.last_sequence),
    )
    return Subjects(users.c.user_no, statement)


def covered_items(connection: Connection) -> dict[str, int]:
    """Count the items that have a vector, by the fingerprint of the encoder that made it."""
    fingerprint = item_texts.c.fingerprint
    rows = connection.execute(select(fingerprint, func.count()).group_by(fingerprint))
    return {row[0]: row[1] for row in rows}


def uncovered_items(fingerprint: str) -> Subjects:
    """Select (item_no, revision) of all items that lack a vector of this encoder.

    Deleted items too: events of them stay, and so they are still part of profiles.
    """
    on = and_(item_texts.c.item_no == items.c.item_no, item_texts.c.fingerprint == fingerprint)
    statement = select(items.c.item_no, items.c.revision).join(item_texts, on, isouter=True)
    return Subjects(items.c.item_no, statement.where(item_texts.c.item_no.is_(None)))
