"""Gather stage: asks the profile and the session service for users' vectors and items, at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

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


class Gather:
    """Asks both services under one deadline.

    For a batch, at most `max_bulk_users` users are asked for at once, over all calls of the
    process: so a batch delays single calls little.
    """

    def __init__(
        self, sessions: SessionClient, profiles: ProfileClient, *, max_bulk_users: int
    ) -> None:
        self._sessions = sessions
        self._profiles = profiles
        self._chunk = min(profiles.max_users, max_bulk_users)
        self._bulk_profiles = asyncio.Semaphore(max_bulk_users // self._chunk)
        self._bulk_sessions = asyncio.Semaphore(max_bulk_users)

    async def __call__(
        self, asks: Sequence[Ask], space: BundleSpace, timeout_s: float
    ) -> list[Gathered]:
        """Return what the services know of each ask's user, in the order of the asks.

        Raises InvalidArgument or NotFound for what is wrong with a visitor's events, and
        BundleNotHeldError when a service lacks a bundle that has a substitute.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        short, long = await both(
            self._short_terms(asks, space, deadline), self._long_terms(asks, space, deadline)
        )
        return [Gathered(*pair) for pair in zip(short, long, strict=True)]

    async def _short_terms(
        self, asks: Sequence[Ask], space: BundleSpace, deadline: float
    ) -> list[ShortTerm | None]:
        permits = self._bulk_sessions if len(asks) > 1 else None
        return await all_of(
            self._sessions.short_term(ask, space, deadline, permits) for ask in asks
        )

    async def _long_terms(
        self, asks: Sequence[Ask], space: BundleSpace, deadline: float
    ) -> list[LongTerm | None]:
        permits = self._bulk_profiles if len(asks) > 1 else None
        users = [ask for ask in asks if ask.inline_events is None]
        chunks = (users[start : start + self._chunk] for start in range(0, len(users), self._chunk))
        parts = await all_of(
            self._profiles.long_terms(chunk, space, deadline, permits) for chunk in chunks
        )
        found = chain.from_iterable(parts)
        return [next(found) if ask.inline_events is None else None for ask in asks]
