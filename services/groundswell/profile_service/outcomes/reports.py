"""Use cases of outcomes: count them, and estimate another policy of fusion weights from the log."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from functools import partial
from typing import Any

import numpy as np

from groundswell.features.actions import DISLIKE
from groundswell.features.fusion_policy import FusionPolicy
from groundswell.profile_service.outcomes.off_policy import PolicyEstimate, estimate
from groundswell.profile_service.outcomes.rates import PURCHASE, Group, OutcomeCounts
from groundswell.profile_service.store import lists as statements
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.lists import Place, Span
from groundswell.serving.attribution import AttributionTokens
from groundswell.serving.errors import FailedPrecondition

_PAGE = 2_000
"""Rows that are read at once; over PostgreSQL the event loop waits for their conversion."""


class OutcomeReports:
    """Reads shown lists and the events that came of them, which have a token of the deployment."""

    def __init__(self, database: Database, tokens: AttributionTokens) -> None:
        self._database = database
        self._tokens = tokens

    async def count(self, span: Span, groups: Collection[Group]) -> OutcomeCounts:
        """Count outcomes by some groups. Raises Unavailable."""
        counts = OutcomeCounts(groups)
        counts.add_lists(await self._database.read(lambda c: statements.count_lists(c, span)))
        async for page in self._events(span):
            await asyncio.to_thread(counts.add_events, page)
        return counts

    async def estimate(
        self, span: Span, policy: FusionPolicy, *, purchases: bool
    ) -> PolicyEstimate:
        """Estimate from the drawn lists of a span how many would be clicked under a policy.

        With `purchases` a list is a success when an item of it was purchased. Raises
        FailedPrecondition (POLICY_NOT_COVERED) and Unavailable.
        """
        successes: set[str] = set()
        async for events in self._events(span):
            successes.update(e.recommendation_id for e in events if _counts(e, purchases=purchases))
        rows: list[Any] = []
        while page := await self._lists(span, rows[-1].recommendation_id if rows else ""):
            rows += page
        return await asyncio.to_thread(_estimate, rows, successes, policy)

    async def _events(self, span: Span) -> AsyncIterator[Sequence[Any]]:
        after: Place | None = None
        while True:
            read = partial(statements.attributed_events, span=span, after=after, limit=_PAGE)
            page = await self._database.read(read)
            yield await asyncio.to_thread(self._signed, page)
            if len(page) < _PAGE:
                return
            after = page[-1].stored_us, page[-1].user_no, page[-1].sequence

    def _signed(self, events: Sequence[Any]) -> Sequence[Any]:
        return [event for event in events if self._tokens.is_issued(event.attribution_token)]

    async def _lists(self, span: Span, after: str) -> Sequence[Any]:
        read = partial(statements.drawn_lists, span=span, after=after, limit=_PAGE)
        return await self._database.read(read)


def _counts(event: Any, *, purchases: bool) -> bool:
    """Whether an event makes its list a success."""
    if event.action != PURCHASE if purchases else event.action == DISLIKE:
        return False
    return event.item_no in np.frombuffer(event.item_nos, "<i8")


def _estimate(rows: Sequence[Any], successes: set[str], policy: FusionPolicy) -> PolicyEstimate:
    rewards = np.array([row.recommendation_id in successes for row in rows], np.float64)
    logged = np.array([row.propensity for row in rows], np.float64)
    chosen = policy.propensities(np.array([row.fusion_weight for row in rows], np.float64))
    # Lists of nobody depend on no other one.
    users = [-n if row.user_no is None else row.user_no for n, row in enumerate(rows, start=1)]
    clusters = np.unique(np.array(users, np.int64), return_inverse=True)[1]
    if not chosen.any():
        raise FailedPrecondition(
            "POLICY_NOT_COVERED", "no list of the time has a fusion weight that the policy chooses"
        )
    return estimate(chosen / logged, rewards, clusters)
