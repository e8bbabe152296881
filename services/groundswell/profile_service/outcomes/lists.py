"""Use cases of shown lists: store them in batches, count a user's impressions, delete old ones."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from groundswell.profile_service.store import lists as statements
from groundswell.profile_service.store.appends import mark_written
from groundswell.profile_service.store.database import Database, DatabaseConnection, now_us
from groundswell.profile_service.store.engines import Work
from groundswell.profile_service.store.lists import ShownList
from groundswell.profile_service.store.users import KnownUser, UserKeys, find_users, make_users
from groundswell.serving.attribution import Attribution, made_at_ms
from groundswell.serving.errors import ResourceExhausted
from groundswell.serving.joining import JoinedCalls
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.subjects import is_session
from groundswell.serving.telemetry import count
from groundswell.serving.vectors import pack_int64

_WRITE_EVERY_S = 1.0
_PART = 500
"""The most lists that one transaction stores: other writes wait for it."""
_MAX_WAITING = 20_000
_DELETED_AT_ONCE = 1_000
_MAX_LISTS = 5_000
"""The most lists of a user that are counted."""


class NewList(NamedTuple):
    """A list to store."""

    made: Attribution
    subject: str
    """The subject id of whom it was shown to; empty: it belongs to nobody."""
    item_nos: bytes = b""
    """Packed int64, best first."""
    item_ids: Sequence[str] = ()
    """In place of numbers: what a backend has shown."""
    lineage: str = ""
    """The lineage that the numbers belong to; empty for ids."""


class Impressions(NamedTuple):
    """The number of times that a user was shown each item."""

    counts: Counter[int]
    lineage: str


class ShownLists:
    """Stores lists, and deletes each `keep_s` after it was answered.

    Lists are written at most once a second, so that writes of events seldom wait for them.
    """

    def __init__(self, database: Database, pseudonyms: Pseudonymizer, *, keep_s: float) -> None:
        self._database = database
        self._pseudonyms = pseudonyms
        self._keep_us = int(keep_s * 1e6)
        self._calls: JoinedCalls[NewList, bool] = JoinedCalls(
            self._write, max_rows=_PART, max_runs=1
        )
        self._num_waiting = 0
        self._next_s = 0.0

    async def store(self, lists: Sequence[NewList]) -> None:
        """Return when lists are stored. One that is stored already stays, and is complemented.

        Raises FailedPrecondition (SECRET_OUTDATED), ResourceExhausted (OVERLOADED), Unavailable.
        """
        if self._num_waiting + len(lists) > _MAX_WAITING:
            raise ResourceExhausted("OVERLOADED", "too many lists wait", retry_after_s=1.0)
        self._num_waiting += len(lists)
        try:
            await self._calls.submit(lists)
        finally:
            self._num_waiting -= len(lists)

    async def _write(
        self,
        begin: Callable[[], list[Sequence[NewList]]],
        *,
        again: bool,  # noqa: ARG002 - they are stored as the first time
    ) -> Sequence[bool]:
        """Store the lists of the calls that wait when it is their turn."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(self._next_s - loop.time(), 0.0))
        calls: list[Sequence[NewList]] = []

        def work() -> Work[None]:
            calls.extend(begin())
            lists = [each for call in calls for each in call]
            # Where more wait than one transaction stores, the next one follows at once.
            self._next_s = loop.time() + (_WRITE_EVERY_S if len(lists) < _PART else 0.0)
            return partial(self._store, lists=lists)

        await self._database.write_when_free(work)
        return [True] * len(calls)

    def _store(self, connection: DatabaseConnection, lists: Sequence[NewList]) -> None:
        """Store lists, making the users that are not known."""
        subjects = {each.subject for each in lists if each.subject}
        keys = {subject: self._pseudonyms.user_keys(subject) for subject in subjects}
        found = _users(connection, keys)
        # Those of a time up to the erasure of their user are not stored.
        lists = [one for one in lists if not _is_erased(one, found.known.get(one.subject))]
        known = [each for each in lists if each.lineage in ("", found.lineage)]
        numbers = {subject: one.user_no for subject, one in found.known.items()}
        used = {each.subject for each in known}
        new_sessions = [numbers[s] for s in found.made & used if is_session(s)]
        mark_written(connection, new_sessions, now_us())
        items = statements.item_numbers(connection, {i for each in known for i in each.item_ids})
        statements.store_lists(
            connection,
            [
                ShownList(
                    each.made,
                    numbers.get(each.subject),
                    pack_int64([items[i] for i in each.item_ids if i in items])
                    if each.item_ids
                    else each.item_nos,
                    confirmed=bool(each.item_ids),
                )
                for each in known
            ],
        )
        # A list may be refused, or belong to another user already.
        statements.drop_unknown(connection, {numbers[s] for s in found.made})
        count("shown_lists_stored", len(known))
        count("shown_lists_refused", len(lists) - len(known))

    async def impressions(self, subject: str, within_us: int) -> Impressions:
        """Count what a user was shown within a time. Raises as `store`, except OVERLOADED."""
        keys = self._pseudonyms.user_keys(subject)
        since_us = now_us() - min(within_us, self._keep_us)

        def look(connection: DatabaseConnection) -> tuple[Sequence[bytes], str]:
            found, identity = find_users(connection, [keys])
            if not found:
                return [], identity.lineage
            (user,) = found.values()
            shown = statements.lists_of_user(connection, user.user_no, since_us, _MAX_LISTS)
            return shown, identity.lineage

        shown, lineage = await self._database.read(look)
        counts: Counter[int] = Counter()
        for packed in shown:
            counts.update(set(np.frombuffer(packed, "<i8").tolist()))
        return Impressions(counts, lineage)

    async def expire(self) -> int:
        """Delete the lists that are over their time; return how many."""
        before_us, num_expired = now_us() - self._keep_us, 0
        drop = partial(statements.drop_lists, before_us=before_us, limit=_DELETED_AT_ONCE)
        while True:
            deleted = await self._database.write(drop)
            num_expired += deleted
            count("shown_lists_expired", deleted)
            if deleted < _DELETED_AT_ONCE:
                return num_expired


def _is_erased(one: NewList, user: KnownUser | None) -> bool:
    made_ms = made_at_ms(one.made.recommendation_id)
    return user is not None and made_ms * 1000 <= user.erased_us


class _UsersOfLists(NamedTuple):
    """The users of some lists, by subject id."""

    known: dict[str, KnownUser]
    made: set[str]
    lineage: str


def _users(connection: DatabaseConnection, keys: Mapping[str, UserKeys]) -> _UsersOfLists:
    """Return the users of lists, making those that are new."""
    found, identity = find_users(connection, set(keys.values()))
    new = {subject: each for subject, each in keys.items() if each[-1] not in found}
    mine: set[str] = set()
    if new:
        made = make_users(connection, set(new.values()), identity)
        mine = {subject for subject, each in new.items() if each[-1] in made}
        # Another transaction may have made the others meanwhile.
        found = made if len(made) == len(keys) else find_users(connection, set(keys.values()))[0]
    known = {s: found[each[-1]] for s, each in keys.items() if each[-1] in found}
    return _UsersOfLists(known, mine, identity.lineage)
