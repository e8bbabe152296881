"""Use cases of profiles: read users' long-term vectors and seen items, wait for the encoder."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.profile_service.profiles.cached import (
    UNKNOWN,
    CachedUser,
    CachedVector,
    Profile,
    SeenItems,
    cached_bytes,
    profile_bytes,
    with_actions,
)
from groundswell.profile_service.profiles.head_inputs import (
    StoredHistories,
    histories,
    load_histories,
)
from groundswell.profile_service.profiles.last_answers import LastAnswer, LastAnswers
from groundswell.profile_service.profiles.models import ProfileModels
from groundswell.profile_service.store import events as event_statements
from groundswell.profile_service.store import profiles as statements
from groundswell.profile_service.store.database import Database, DatabaseConnection, now_us
from groundswell.profile_service.store.polling import SharedPoll
from groundswell.profile_service.store.signals import Signal
from groundswell.profile_service.store.statements import clock_us
from groundswell.profile_service.store.tables import stale_items, stale_users
from groundswell.profile_service.store.users import UserKeys, find_users
from groundswell.profile_service.store.work import WorkList
from groundswell.serving.bounded import BoundedCache
from groundswell.serving.errors import Unavailable
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.telemetry import count

_REFRESH_POLL_S = 0.1


_WORK = (WorkList(stale_users), WorkList(stale_items))


class RefreshProgress(NamedTuple):
    """How many users and items still wait for the encoder."""

    num_users_left: int
    num_items_left: int


class _FoundProfiles(NamedTuple):
    """What one transaction reads about the users of a call."""

    users: dict[bytes, tuple[int, int]]
    """(user_no, last_sequence) by key."""
    rows: dict[int, Any]
    """The stored profiles, by user_no."""
    held: dict[int, CachedUser]
    newer: dict[int, list[tuple[int, int]]]
    """(item_no, action) of the events after those that the cached seen items cover."""
    vectors: dict[int, CachedVector]
    """The cached vectors that are still right."""
    stored: StoredHistories
    """What the other vectors are computed from."""
    revision: int
    lineage: str

    def update_seen(self) -> None:
        """Add the newer events to the cached seen items."""
        last_sequences = dict(self.users.values())
        for number, actions in self.newer.items():
            held, last = self.held[number], last_sequences[number]
            # Another read may have gone further. To add an event twice changes nothing.
            if held.seen_sequence < last:
                held.seen = with_actions(held.seen, actions)
                held.seen_sequence = last


class Profiles:
    """Reads profiles. The head runs at read time, on what the worker stored."""

    def __init__(
        self, database: Database, pseudonyms: Pseudonymizer, *, max_cached: int, max_bytes: int
    ) -> None:
        self._database = database
        self._pseudonyms = pseudonyms
        self._held: BoundedCache[bytes, CachedUser] = BoundedCache(
            max_bytes=max_bytes, max_entries=max_cached, size=cached_bytes
        )
        """By the user's key: after a restore a user_no may belong to another user."""
        self._lineage = ""
        self._last: LastAnswers[Profile] = LastAnswers(max_cached, max_bytes, size=profile_bytes)
        self._progress = Signal()
        self._poll = SharedPoll(
            lambda: database.read(_state_of_work), self._progress, _REFRESH_POLL_S
        )

    async def get(self, user_ids: Sequence[str], models: ProfileModels) -> list[Profile]:
        """Return the profiles of users, in their order; an unknown user's is empty.

        While the database does not answer, the last profiles that were read are returned, if there
        is one of each user. Raises Unavailable, FailedPrecondition (SECRET_OUTDATED), and
        ResourceExhausted when too many users wait for the head.
        """
        keys = [self._pseudonyms.user_keys(user_id) for user_id in user_ids]
        read_us = now_us()
        try:
            found = await self._database.read(lambda c: self._find(c, keys, models))
        except Unavailable:
            last = self._last.of_all([key[-1] for key in keys], models.id)
            if last is None:
                raise
            count("profiles_from_memory", amount=len(last))
            return [answer.profile._replace(as_of_us=answer.read_us) for answer in last]
        vectors = await self._update(found, models)
        rows, held = found.rows, found.held
        profiles = {
            key: _profile(last, rows.get(number), held[number].seen, vectors.get(number))
            for key, (number, last) in found.users.items()
        }
        answers = [profiles.get(key[-1], UNKNOWN)._replace(lineage=found.lineage) for key in keys]
        for key, answer in zip(keys, answers, strict=True):
            self._last.keep(found.lineage, key[-1], models.id, LastAnswer(answer, read_us))
        return answers

    async def _update(
        self, found: _FoundProfiles, models: ProfileModels
    ) -> dict[int, NDArray[np.float32]]:
        """Bring the cached data up to what was found; return the vectors of users by number."""
        found.update_seen()
        vectors = found.vectors
        for number, one in vectors.items():
            found.held[number].vectors[models.id] = one
        read = await histories(found.stored, models, found.revision, found.lineage)
        computed = await models.long_vectors(list(read.values())) if read else []
        for number, vector in zip(read, computed, strict=True):
            item_nos = np.unique(found.stored.by_user[number].recent["item_no"])
            vectors[number] = found.held[number].vectors[models.id] = CachedVector(
                found.rows[number].covered_us, found.revision, item_nos, vector
            )
        for user_key, (number, _) in found.users.items():
            if number in found.newer or number in read:
                self._held.measure(user_key, found.held[number])
        return {number: one.vector for number, one in vectors.items()}

    def forget(self, bundle_id: str) -> None:
        """Drop the vectors of a bundle that is not loaded any more."""
        for held in self._held.values():
            held.vectors.pop(bundle_id, None)
        self._last.forget(bundle_id)

    async def refresh(self, user_ids: Sequence[str]) -> AsyncGenerator[RefreshProgress, None]:
        """Yield how much is left of the work that waits at the start, until nothing is left.

        With `user_ids`, only these users count; otherwise all users and items.
        """
        users, items = _WORK
        keys = [self._pseudonyms.user_keys(user_id) for user_id in user_ids]

        def begin(connection: DatabaseConnection) -> tuple[list[int] | None, int]:
            known, _ = find_users(connection, keys)
            # A clock that was wrong for a while may have marked some work later than now.
            marks = [work.newest_mark(connection) for work in _WORK]
            until_us = max(clock_us(connection), *marks)
            return [number for number, _ in known.values()] if keys else None, until_us

        def look(connection: DatabaseConnection) -> RefreshProgress:
            return RefreshProgress(
                users.count(connection, until_us, numbers),
                0 if keys else items.count(connection, until_us),
            )

        numbers, until_us = await self._database.read(begin)
        last: RefreshProgress | None = None
        with self._poll.waiting():
            while last is None or any(last):
                mark = self._progress.mark
                left = await self._database.read(look)
                if left != last:
                    yield left
                last = left
                if any(left):
                    await mark.wait()

    def _find(
        self, connection: DatabaseConnection, keys: Sequence[UserKeys], models: ProfileModels
    ) -> "_FoundProfiles":
        (users, identity), rows = statements.find_covered(connection, keys, models.spec)
        lineage = identity.lineage
        held = self._hold_all(users, lineage)
        newer = _newer_actions(connection, dict(users.values()), held)
        revision = max((row.catalogue_revision for row in rows.values()), default=0)
        models.contexts.follow(connection, revision, lineage)
        vectors, outdated = _held_vectors(rows, held, models, lineage)
        stored = load_histories(connection, outdated, models, lineage)
        return _FoundProfiles(users, rows, held, newer, vectors, stored, revision, lineage)

    def _hold_all(
        self, users: Mapping[bytes, tuple[int, int]], lineage: str
    ) -> dict[int, CachedUser]:
        """Return the cached data of users, by number. Data of another lineage is dropped."""
        if lineage != self._lineage:
            # A read that still runs keeps the objects that it took, which are of its own lineage.
            self._held.clear()
            self._lineage = lineage
        return {number: self._hold(key) for key, (number, _) in users.items()}

    def _hold(self, key: bytes) -> CachedUser:
        held = self._held.get(key)
        if held is None:
            held = CachedUser()
            self._held.put(key, held)
        return held


def _newer_actions(
    connection: DatabaseConnection, last_sequences: dict[int, int], held: dict[int, CachedUser]
) -> dict[int, list[tuple[int, int]]]:
    """Return what users did after what their cached seen items cover, up to this transaction."""
    covered = {number: held[number].seen_sequence for number in last_sequences}
    behind = {n: sequence for n, sequence in covered.items() if sequence < last_sequences[n]}
    return event_statements.actions_since(connection, behind) if behind else {}


def _held_vectors(
    rows: dict[int, Any], held: dict[int, CachedUser], models: ProfileModels, lineage: str
) -> tuple[dict[int, CachedVector], list[int]]:
    """Return the cached vectors that are still right, and the numbers of the other users."""
    vectors, outdated = {}, []
    for number, row in rows.items():
        known = held[number].vectors.get(models.id)
        if (
            known is None
            or known.covered_us != row.covered_us
            or not models.contexts.unchanged(known.item_nos.tolist(), known.revision, lineage)
        ):
            outdated.append(number)
        else:
            revision = max(known.revision, row.catalogue_revision)
            vectors[number] = known._replace(revision=revision)
    return vectors, outdated


def _profile(
    num_events: int, row: Any, seen: SeenItems, vector: NDArray[np.float32] | None
) -> Profile:
    if row is None:
        return UNKNOWN._replace(num_events=num_events, seen=seen)
    return Profile(
        vector, row.covered_sequence, num_events, row.last_event_us, row.covered_us, seen
    )


def _state_of_work(connection: DatabaseConnection) -> list[tuple[int, ...]]:
    return [work.state(connection) for work in _WORK]
