"""Use cases of outcomes: count them, and estimate another policy of fusion weights from the log."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from functools import partial
from typing import Any

import numpy as np

from groundswell.features.actions import DISLIKE
from groundswell.features.fusion_policy import FusionPolicy
from groundswell.profile_service.outcomes.off_policy import PolicyEstimate, PolicyLog
from groundswell.profile_service.outcomes.rates import PURCHASE, Group, OutcomeCounts
from groundswell.profile_service.store import lists as statements
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.lists import ListEvents, Place, Span
from groundswell.serving.attribution import AttributionTokens
from groundswell.serving.errors import FailedPrecondition

_PAGE = 2_000
"""Rows that are read at once; over PostgreSQL the event loop waits for their conversion."""
_BEFORE_USERS = 0
"""The number of every user is above it."""


class OutcomeReports:
    """Reads shown lists and the events that came of them, which have a token of the deployment."""

    def __init__(self, database: Database, tokens: AttributionTokens) -> None:
        self._database = database
        self._tokens = tokens

    async def count(self, span: Span, groups: Collection[Group]) -> OutcomeCounts:
        """Count outcomes by some groups. Raises Unavailable."""
        counts = OutcomeCounts(groups)
        counts.add_lists(await self._database.read(lambda c: statements.count_lists(c, span)))
        async for page in self._events(ListEvents(span)):
            await asyncio.to_thread(counts.add_events, page)
        return counts

    async def estimate(
        self, span: Span, policy: FusionPolicy, *, purchases: bool
    ) -> PolicyEstimate:
        """Estimate from the drawn lists of a span how many would be clicked under a policy.

        With `purchases` a list is a success when an item of it was purchased. Raises
        FailedPrecondition (POLICY_NOT_COVERED) and Unavailable.
        """
        log = PolicyLog()
        async for lists in self._lists(span):
            successes: set[str] = set()
            wanted = ListEvents(span, [one.recommendation_id for one in lists])
            async for events in self._events(wanted):
                counting = (e for e in events if _counts(e, purchases=purchases))
                successes.update(event.recommendation_id for event in counting)
            await asyncio.to_thread(_add, log, lists, successes, policy)
        try:
            return log.estimate()
        except ValueError:
            message = "no list of the time has a fusion weight that the policy chooses"
            raise FailedPrecondition("POLICY_NOT_COVERED", message) from None

    async def _events(self, wanted: ListEvents) -> AsyncIterator[Sequence[Any]]:
        """Give the signed events in pages, in the order of their lists."""
        after: Place | None = None
        while True:
            read = partial(statements.attributed_events, wanted=wanted, after=after, limit=_PAGE)
            page = await self._database.read(read)
            yield await asyncio.to_thread(self._signed, page)
            if len(page) < _PAGE:
                return
            after = page[-1].recommendation_id, page[-1].user_no, page[-1].sequence

    def _signed(self, events: Sequence[Any]) -> Sequence[Any]:
        return [event for event in events if self._tokens.is_issued(event.attribution_token)]

    async def _lists(self, span: Span) -> AsyncIterator[Sequence[Any]]:
        """Give the lists in pages: those of nobody, then those of users, user by user."""
        for after in ((None, ""), (_BEFORE_USERS, "")):
            while True:
                read = partial(statements.drawn_lists, span=span, after=after, limit=_PAGE)
                page = await self._database.read(read)
                if page:
                    yield page
                if len(page) < _PAGE:
                    break
                after = page[-1].user_no, page[-1].recommendation_id


def _counts(event: Any, *, purchases: bool) -> bool:
    """Whether an event makes its list a success."""
    if event.action != PURCHASE if purchases else event.action == DISLIKE:
        return False
    return event.item_no in np.frombuffer(event.item_nos, "<i8")


def _add(log: PolicyLog, lists: Sequence[Any], successes: set[str], policy: FusionPolicy) -> None:
    rewards = np.array([one.recommendation_id in successes for one in lists], np.float64)
    logged = np.array([one.propensity for one in lists], np.float64)
    chosen = policy.propensities(np.array([one.fusion_weight for one in lists], np.float64))
    # Lists of nobody depend on no other one.
    users = [-n if one.user_no is None else one.user_no for n, one in enumerate(lists, start=1)]
    log.add(chosen / logged, rewards, np.array(users, np.int64))
