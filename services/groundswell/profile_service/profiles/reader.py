"""Use cases of profiles: read users' long-term vectors and seen items."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.profile_service.profiles.cached import (
    NO_VECTOR,
    NOTHING_SEEN,
    UNKNOWN_USER,
    HeldProfile,
    KeptAnswer,
    Profile,
    SeenItems,
    Vector,
    held_bytes,
    with_actions,
)
from groundswell.profile_service.profiles.explained import Effects, effects
from groundswell.profile_service.profiles.head_inputs import history, item_vectors, recent_events
from groundswell.profile_service.profiles.models import ProfileModels
from groundswell.profile_service.profiles.waiting_work import RefreshProgress, WaitingWork
from groundswell.profile_service.store.database import Database, now_us
from groundswell.profile_service.store.profiles import Known, StoredProfile, read_profiles
from groundswell.profile_service.store.users import NEVER_ERASED, KnownUser, UserKeys, Users
from groundswell.serving.bounded import BoundedCache
from groundswell.serving.errors import Unavailable
from groundswell.serving.pseudonym import Pseudonymizer, mark_of
from groundswell.serving.telemetry import counter

_NOTHING = Known()
_EMPTY = Profile(None, 0, None, None, NOTHING_SEEN)


class _ReadUnderWay(NamedTuple):
    """A read that is under way, for other calls that ask for the same profile."""

    generation: int
    answer: asyncio.Task[list[HeldProfile]]


class Profiles:
    """Reads profiles. The head runs at read time, on what the worker stored.

    A profile is held in memory, and answered from there as long as the database's changes say that
    it is right. While the database does not answer, the last profile that was read is the answer.
    """

    def __init__(
        self, database: Database, pseudonyms: Pseudonymizer, *, max_cached: int, max_bytes: int
    ) -> None:
        self._database = database
        self._changes = database.changes
        self._pseudonyms = pseudonyms
        self._held: BoundedCache[tuple[bytes, str], HeldProfile] = BoundedCache(
            max_bytes=max_bytes, max_entries=max_cached, size=held_bytes
        )
        """By the user's key and the bundle: after a restore a number may be another user's."""
        self._lineage = ""
        """That of the last read."""
        self._reads: dict[tuple[bytes, str], _ReadUnderWay] = {}
        self._waiting = WaitingWork(database)
        self._num = {s: counter("profiles_read", source=s) for s in ("held", "database", "outage")}

    async def get(self, user_ids: Sequence[str], models: ProfileModels) -> list[Profile]:
        """Return the profiles of users, in their order; an unknown user's is empty.

        While the database does not answer, the last profiles that were read are returned, if there
        is one of each user. Raises Unavailable, FailedPrecondition (SECRET_OUTDATED), and
        ResourceExhausted when too many users wait for the head.
        """
        keys = [self._pseudonyms.user_keys(user_id) for user_id in user_ids]
        found = {key[-1]: self._current(key[-1], models) for key in keys}
        missing = {key[-1]: key for key in keys if found[key[-1]] is None}
        self._num["held"].inc(len(found) - len(missing))
        if missing:
            try:
                read = await self._read_together(list(missing.values()), models)
                self._num["database"].inc(len(missing))
                found |= dict(zip(missing, read, strict=True))
            except Unavailable:
                last = {key: self._last(key, models) for key in missing}
                if None in last.values():
                    raise
                self._num["outage"].inc(len(missing))
                found |= last
        return [found[key[-1]].profile for key in keys]  # type: ignore[union-attr]

    def drop(self, marks: Collection[bytes]) -> int:
        """Forget what is held of users by their marks; return how many profiles that was."""
        return self._held.drop_where(lambda held: mark_of(held[0]) in marks)

    async def explain(
        self, user_id: str, models: ProfileModels, item_vector: NDArray[np.float32]
    ) -> Effects | None:
        """Return what the parts of a user's history do for an item [d]; None without an event.

        Raises as `get`.
        """
        keys, generation = self._pseudonyms.user_keys(user_id), self._changes.generation
        users, stored = await self._stored([keys], models, _NOTHING)
        row = stored.get(_known_user(users, keys).user_no)
        if row is None or not row.recent:
            return None
        recent = recent_events(row, models)
        item_nos = set(recent["item_no"].tolist())
        items = await item_vectors(item_nos, models, self._database, generation)
        found = await effects(history(row, recent, items, models), models, item_vector)
        return Effects(
            recent["item_no"],
            recent["time_us"],
            found[0],
            row.chunk_times_us,
            found[1],
            users.identity.lineage,
        )

    def _current(self, key: bytes, models: ProfileModels) -> HeldProfile | None:
        """Return a held profile that is certainly right now."""
        held = self._held.get((key, models.id))
        changes = self._changes
        if held is None or held.user_no == UNKNOWN_USER or not changes.live:
            return None
        if held.generation != changes.generation:
            if not changes.user_unchanged(held.user_no, held.generation):
                return None
            if not changes.items_unchanged(held.item_nos.tolist(), held.generation):
                return None
            held.generation = changes.generation
        return held

    def _last(self, key: bytes, models: ProfileModels) -> HeldProfile | None:
        """Return what was read last of a user, marked with its time."""
        held = self._held.peek((key, models.id))
        if held is None or held.profile.lineage != self._lineage:
            return None
        if not self._changes.user_exists(held.user_no, held.generation):
            return None
        profile = held.profile._replace(as_of_us=held.read_us, kept_answer=None)
        return HeldProfile(profile, held.user_no, held.item_nos, held.generation, held.read_us)

    async def _read_together(
        self, keys: list[UserKeys], models: ProfileModels
    ) -> list[HeldProfile]:
        """Read profiles; a call that asks for one that is being read waits for that read.

        It does not where anything changed since that read began: it must see the change.
        """
        if len(keys) > 1:
            return await self._read(keys, models)
        name, generation = (keys[0][-1], models.id), self._changes.generation
        under_way = self._reads.get(name)
        if under_way is None or under_way.generation != generation or not self._changes.live:
            under_way = _ReadUnderWay(generation, asyncio.create_task(self._read(keys, models)))
            self._reads[name] = under_way
            under_way.answer.add_done_callback(partial(self._read_ended, name))
        return await asyncio.shield(under_way.answer)

    def _read_ended(self, name: tuple[bytes, str], task: asyncio.Task[list[HeldProfile]]) -> None:
        under_way = self._reads.get(name)
        if under_way is not None and under_way.answer is task:
            del self._reads[name]
        if not task.cancelled():
            task.exception()  # else it would be logged when every caller has left

    async def _read(self, keys: list[UserKeys], models: ProfileModels) -> list[HeldProfile]:
        """Read profiles, and hold them.

        That is one statement, and another one for item vectors that are not held. When what was
        held of a user is of another database, the first one is sent again.
        """
        generation, read_us = self._changes.generation, now_us()
        base = self._base(keys, models)
        known = _NOTHING if base is None else self._known(base)
        users, stored = await self._stored(keys, models, known)
        if base is not None and not _goes_on(base, users):
            base = None
            users, stored = await self._stored(keys, models, _NOTHING)
        self._lineage = users.identity.lineage
        vectors = await self._vectors(stored, models, generation)
        answers = []
        for key in keys:
            user_no, last_sequence, _, pruned_sequence = _known_user(users, key)
            row = stored.get(user_no)
            made = vectors.get(user_no, NO_VECTOR)
            if base is not None and row and (row.last_sequence, row.covered_us) == known:
                made = base.of_vector
            seen, num_events = _acted(_EMPTY if base is None else base.profile, row)
            profile = Profile(
                made.vector,
                last_sequence,
                made.last_event_us,
                row and row.covered_us,
                seen,
                users.identity.lineage,
                user_no if last_sequence else 0,
                text_pending=_text_pending(row, num_events, models),
                kept_answer=KeptAnswer(),
                pruned_sequence=pruned_sequence,
                num_events=num_events,
            )
            answers.append(HeldProfile(profile, user_no, made.item_nos, generation, read_us))
            self._held.put((key[-1], models.id), answers[-1])
        return answers

    def _base(self, keys: list[UserKeys], models: ProfileModels) -> HeldProfile | None:
        """Return what is held of a single user, to read only what is newer."""
        held = self._held.peek((keys[0][-1], models.id)) if len(keys) == 1 else None
        return None if held is None or held.user_no == UNKNOWN_USER else held

    def _known(self, base: HeldProfile) -> Known:
        """Say what need not be read again."""
        covered_us = base.profile.covered_us
        is_right = self._changes.live and self._changes.items_unchanged(
            base.item_nos.tolist(), base.generation
        )
        # Without a row of the worker nothing tells that events went to another user.
        if covered_us is None or not is_right:
            return Known(base.profile.last_sequence)
        return Known(base.profile.last_sequence, covered_us)

    async def _stored(
        self, keys: list[UserKeys], models: ProfileModels, known: Known
    ) -> tuple[Users, dict[int, StoredProfile]]:
        manifest = models.manifest
        lengths = manifest.max_chunks, manifest.recent_length
        return await self._database.read_once(
            lambda c: read_profiles(c, keys, models.spec, *lengths, known)
        )

    async def _vectors(
        self,
        stored: dict[int, StoredProfile],
        models: ProfileModels,
        generation: int,
    ) -> dict[int, Vector]:
        """Return the vectors of users that are not known."""
        recent = {n: recent_events(row, models) for n, row in stored.items() if row.recent}
        if not recent:
            return {}
        item_nos = {number: np.unique(events["item_no"]) for number, events in recent.items()}
        every = {n for own in item_nos.values() for n in own.tolist()}
        items = await item_vectors(every, models, self._database, generation)
        read = [history(stored[n], events, items, models) for n, events in recent.items()]
        computed = await models.long_vectors(read)
        return {
            n: Vector(vector, item_nos[n], int(events["time_us"][-1]))
            for (n, events), vector in zip(recent.items(), computed, strict=True)
        }

    def refresh(
        self, user_ids: Sequence[str], *, reads_histories: Callable[[], bool] = lambda: True
    ) -> AsyncGenerator[RefreshProgress, None]:
        """Give what waits for the encoder as `WaitingWork.left` does, of these users or of all."""
        keys = [self._pseudonyms.user_keys(user_id) for user_id in user_ids]
        return self._waiting.left(keys, reads_histories)


def _known_user(users: Users, keys: UserKeys) -> KnownUser:
    return users.by_key.get(keys[-1]) or KnownUser(UNKNOWN_USER, 0, NEVER_ERASED)


def _goes_on(base: HeldProfile, users: Users) -> bool:
    """Whether what was held of a user is of this database, the same user, and of no event that
    was deleted since."""
    if base.profile.lineage != users.identity.lineage:
        return False
    return any(
        known.user_no == base.user_no and known.pruned_sequence < base.profile.last_sequence
        for known in users.by_key.values()
    )


def _acted(before: Profile, row: StoredProfile | None) -> tuple[SeenItems, int]:
    """Add what is newer than a profile; return what was seen, and how many events are stored."""
    if row is None:
        return NOTHING_SEEN, 0
    seen = with_actions(before.seen, row.last_sequence, row.actions)
    return seen, before.num_events + len(row.actions)


def _text_pending(row: StoredProfile | None, num_events: int, models: ProfileModels) -> bool:
    # Before the first chunk is full there is no text.
    if row is None or not 0 < models.spec.chunk_length <= num_events:
        return False
    return row.last_sequence > (row.covered_sequence or 0)
