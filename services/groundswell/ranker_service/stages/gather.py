"""Gather stage: asks the profile and the session service for users' vectors and items, at once."""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from groundswell.profile.v1.profile_service_pb2 import ExplainProfileResponse
from groundswell.ranker_service.outcome_client import OutcomeClient, ShownCounts
from groundswell.ranker_service.profile_client import LongTerm, ProfileClient
from groundswell.ranker_service.replicas import BundleSpace
from groundswell.ranker_service.requests import Ask
from groundswell.ranker_service.session_client import SessionClient, ShortTerm
from groundswell.serving.together import all_of, both


@dataclass(frozen=True)
class Gathered:
    """What both services know of a user; None where a service did not answer in time."""

    short: ShortTerm | None
    long: LongTerm | None
    """Also None for a visitor, whom the profile service does not know."""
    shown: ShownCounts | None = None
    """What the user was shown; also None without limits on impressions."""


class Gather:
    """Asks both services under one deadline.

    For a batch, at most `max_bulk_users` users are asked for at once, over all calls of the
    process: so a batch delays single calls little.
    """

    def __init__(
        self,
        sessions: SessionClient,
        profiles: ProfileClient,
        outcomes: OutcomeClient,
        *,
        max_bulk_users: int,
    ) -> None:
        self._sessions = sessions
        self._profiles = profiles
        self._outcomes = outcomes
        self._chunk = min(profiles.max_users, max_bulk_users)
        self._bulk = asyncio.Semaphore(max_bulk_users // self._chunk)
        self._bulk_outcomes = asyncio.Semaphore(max_bulk_users)

    @property
    def is_down(self) -> bool:
        """Whether a service that gives vectors is taken for down."""
        return self._sessions.is_down or self._profiles.is_down

    async def drop(self, user_marks: Collection[bytes]) -> None:
        """Forget what is held of users."""
        self._sessions.drop(user_marks)
        self._profiles.drop(user_marks)

    async def effects(
        self,
        ask: Ask,
        space: BundleSpace,
        item_vector: NDArray[np.float32] | None,
        timeout_s: float,
    ) -> ExplainProfileResponse | None:
        """Return what a user's history does for an item [d]; None for a visitor, for an item
        without a vector, and without an answer in time."""
        if item_vector is None or ask.inline_events is not None:
            return None
        return await self._profiles.effects(ask, space, item_vector, timeout_s)

    async def __call__(
        self, asks: Sequence[Ask], space: BundleSpace, timeout_s: float
    ) -> list[Gathered]:
        """Return what the services know of each ask's user, in the order of the asks.

        Raises InvalidArgument or NotFound for what is wrong with a visitor's events, and
        BundleNotHeldError when a service lacks a bundle that has a substitute.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        known = self._known(asks, space, deadline)
        if not any(ask.impressions for ask in asks):
            return await known
        gathered, shown = await both(known, self._shown(asks, space, deadline))
        return [replace(one, shown=counts) for one, counts in zip(gathered, shown, strict=True)]

    async def _shown(
        self, asks: Sequence[Ask], space: BundleSpace, deadline: float
    ) -> list[ShownCounts | None]:
        async def shown(ask: Ask) -> ShownCounts | None:
            async with self._bulk_outcomes:
                return await self._outcomes.shown(ask, space, deadline)

        return await all_of(shown(ask) for ask in asks)

    async def _known(
        self, asks: Sequence[Ask], space: BundleSpace, deadline: float
    ) -> list[Gathered]:
        if len(asks) == 1:
            return [await self._one(asks[0], space, deadline)]
        starts = range(0, len(asks), self._chunk)
        chunks = (asks[start : start + self._chunk] for start in starts)
        parts = await all_of(self._in_turn(chunk, space, deadline) for chunk in chunks)
        return list(chain.from_iterable(parts))

    async def _one(self, ask: Ask, space: BundleSpace, deadline: float) -> Gathered:
        """Gather for one user. Both calls are under way at once, and no task waits for them."""
        short = self._sessions.begin(ask, space, deadline)
        if ask.inline_events is not None:
            return Gathered(await short.answer(), None)
        long = self._profiles.begin(ask, space, deadline)
        try:
            return Gathered(await short.answer(), await long.answer())
        finally:
            long.leave()

    async def _in_turn(
        self, asks: Sequence[Ask], space: BundleSpace, deadline: float
    ) -> list[Gathered]:
        """Gather for a part of a batch; when its turn does not come in time, nobody is asked."""
        has_turn = False
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    has_turn = await self._bulk.acquire()
            return await self._chunk_of(asks, space, deadline)
        finally:
            if has_turn:
                self._bulk.release()

    async def _chunk_of(
        self, asks: Sequence[Ask], space: BundleSpace, deadline: float
    ) -> list[Gathered]:
        users = [ask for ask in asks if ask.inline_events is None]
        if users:
            short, long = await both(
                self._sessions.short_terms(asks, space, deadline),
                self._profiles.long_terms(users, space, deadline),
            )
        else:
            short, long = await self._sessions.short_terms(asks, space, deadline), ()
        found = iter(long)
        return [
            Gathered(one, next(found) if ask.inline_events is None else None)
            for ask, one in zip(asks, short, strict=True)
        ]
