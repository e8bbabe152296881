"""Answers for users: gather → fuse → retrieve → rank → explain, with degradations."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from groundswell.features.gate import GateFeatures, seconds_since
from groundswell.ranker.v1.ranker_service_pb2 import Degradation
from groundswell.ranker_service.bundle_ranker import BundleRanker, Outcome
from groundswell.ranker_service.catalogue import CatalogueItem
from groundswell.ranker_service.fusion import FusionWeightOrigin
from groundswell.ranker_service.pipeline import Ranked, RankInput
from groundswell.ranker_service.replicas import BundleNotHeldError, BundleSpace
from groundswell.ranker_service.upstreams import Upstreams
from groundswell.ranker_service.views import Subject, Views, located
from groundswell.serving.errors import ServiceError
from groundswell.serving.interests import DEFAULT_INTERESTS, top_interests
from groundswell.serving.slices import Slices
from groundswell.serving.telemetry import count
from groundswell.serving.together import both

_NO_ITEMS: NDArray[np.int64] = np.empty(0, np.int64)


@dataclass(frozen=True)
class Ask:
    """A checked request for one user."""

    subject: Subject
    as_of_us: int
    k: int
    """How many items; 0: none, the interests alone."""
    filter: str = ""
    deny_item_ids: Sequence[str] = ()
    exclude_seen: bool = True
    fusion_weight: float | None = None
    num_interests: int = DEFAULT_INTERESTS
    """How many categories at most."""


@dataclass(frozen=True)
class RankedItem:
    """One item of an answer."""

    item: CatalogueItem
    score: float
    short_score: float
    long_score: float


@dataclass(frozen=True)
class Answer:
    """The answer for one user."""

    bundle_id: str
    items: list[RankedItem]
    interests: list[tuple[str, float]]
    """(category, probability), most probable first."""
    fusion_weight: float
    origin: FusionWeightOrigin
    degradations: list[Degradation.ValueType]
    profile_age_us: int | None
    session_age_us: int | None


@dataclass
class _Case:
    """One user on the way through the stages."""

    ask: Ask
    views: Views
    allowed: NDArray[np.bool_] | None
    degradations: list[Degradation.ValueType] = field(default_factory=list)


class Recommender:
    """Answers for one user or for many, with the rankers that the caller gives."""

    def __init__(self, upstreams: Upstreams, seen_mask: int) -> None:
        self._upstreams = upstreams
        self._seen_mask = seen_mask
        self._slices = Slices()

    async def answer(
        self, rankers: Sequence[BundleRanker], asks: Sequence[Ask], gather_s: float
    ) -> list[Answer]:
        """Answer each ask, in their order; wait for the other services for at most `gather_s`.

        The first ranker ranks. A later one ranks only when a service does not hold the bundles of
        those before it, as happens around a swap. One ranker ranks for all asks: vectors of two
        bundles are never mixed.

        Raises InvalidArgument (FILTER_INVALID, and what is wrong with inline events), NotFound
        (ITEM_NOT_FOUND) and ResourceExhausted (OVERLOADED).
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + gather_s
        for ranker in rankers if len(rankers) > 1 else ():
            space = replace(ranker.space, has_substitute=True)
            try:
                return await self._answer(ranker, space, asks, deadline - loop.time())
            except BundleNotHeldError:
                count("bundles_substituted")
        # Both services hold no bundle in common: the first one ranks with the views that there are.
        ranker = rankers[0]
        return await self._answer(ranker, ranker.space, asks, max(deadline - loop.time(), 0.0))

    async def _answer(
        self, ranker: BundleRanker, space: BundleSpace, asks: Sequence[Ask], gather_s: float
    ) -> list[Answer]:
        gathering = self._upstreams.gather([ask.subject for ask in asks], space, gather_s)
        views, allowed = await both(gathering, _filtered(ranker, asks))
        cases = [_Case(*each) for each in zip(asks, views, allowed, strict=True)]
        if len(cases) == 1:
            # It does not wait for the slices of a batch.
            [outcome] = await ranker.rank([self._rank_input(ranker, cases[0])])
            return [_explained(ranker, cases[0], outcome)]
        inputs = await self._slices.map(lambda case: self._rank_input(ranker, case), cases)
        explained = zip(cases, await ranker.rank(inputs), strict=True)
        return await self._slices.map(lambda each: _explained(ranker, *each), explained)

    def _rank_input(self, ranker: BundleRanker, case: _Case) -> RankInput:
        ask, profile, session = case.ask, case.views.profile, case.views.session
        has_neighbours = ranker.manifest.neighbours is not None
        case.degradations += _degradations(ask, case.views, has_neighbours=has_neighbours)
        seen = None if profile is None else profile.seen
        return RankInput(
            k=ask.k,
            short_vector=None if session is None else session.vector,
            long_vector=None if profile is None else profile.vector,
            window=_NO_ITEMS if session is None else session.window,
            history=_NO_ITEMS if seen is None else seen.history,
            gate_features=GateFeatures(
                seconds_since(
                    ask.as_of_us,
                    None if session is None else session.last_event_us,
                    use_time=ranker.manifest.use_time,
                ),
                session_length=0 if session is None else session.num_session_events,
                history_length=0 if profile is None else profile.num_events,
            ),
            fusion_weight=ask.fusion_weight,
            exclude=self._excluded(ranker, case),
            allowed=case.allowed,
        )

    def _excluded(self, ranker: BundleRanker, case: _Case) -> list[NDArray[np.int64]]:
        """Return what may not be returned: denied, and seen in history and window."""
        ask, profile, session = case.ask, case.views.profile, case.views.session
        excluded = [ranker.catalogue.numbers(ask.deny_item_ids)]
        if ask.exclude_seen:
            if profile is not None and profile.seen is not None:
                excluded.append(profile.seen.item_nos)
            if session is not None:
                excluded.append(session.seen)
            if ask.subject.inline_events is not None:
                # The window may hold fewer events than the visitor sent.
                events = ask.subject.inline_events.events
                seen = [e.item_id for e in events if self._seen_mask >> e.action & 1]
                excluded.append(ranker.catalogue.numbers(seen))
        return excluded


async def _filtered(ranker: BundleRanker, asks: Sequence[Ask]) -> list[NDArray[np.bool_] | None]:
    if len(asks) == 1:
        return [await ranker.filters.allowed(asks[0].filter)]
    found = await ranker.filters.allowed_by_all([ask.filter for ask in asks])
    allowed = []
    for ask, one in zip(asks, found, strict=True):
        if isinstance(one, ServiceError):
            raise located(one, ask.subject.where)
        allowed.append(one)
    return allowed


def _degradations(ask: Ask, views: Views, *, has_neighbours: bool) -> list[Degradation.ValueType]:
    """Say what is missing of a user's views."""
    profile, session = views.profile, views.session
    missing: list[Degradation.ValueType] = []
    inline = ask.subject.inline_events
    if inline is None and profile is None:
        missing.append(Degradation.DEGRADATION_PROFILE_UNAVAILABLE)
    if session is None:
        missing.append(Degradation.DEGRADATION_SESSION_UNAVAILABLE)
    elif session.stale:
        missing.append(Degradation.DEGRADATION_SESSION_STALE)
    if profile is not None and profile.vector is not None and profile.stale:
        missing.append(Degradation.DEGRADATION_PROFILE_STALE)
    seen = None if profile is None else profile.seen
    is_of_now = profile is not None and profile.is_of_now
    knows_seen = inline is not None or (is_of_now and seen is not None and seen.is_complete)
    # Seen items are excluded, and their neighbours are looked up.
    needs_seen = ask.exclude_seen or (has_neighbours and profile is not None)
    if ask.k and needs_seen and not knows_seen:
        missing.append(Degradation.DEGRADATION_SEEN_INCOMPLETE)
    if inline is None:
        is_unknown = profile is not None and profile.num_events == 0
    else:
        is_unknown = not inline.events
    if is_unknown and (session is None or session.vector is None):
        missing.append(Degradation.DEGRADATION_USER_UNKNOWN)
    elif profile is not None and profile.vector is None:
        missing.append(Degradation.DEGRADATION_NO_PROFILE)
    return missing


def _explained(ranker: BundleRanker, case: _Case, outcome: Outcome) -> Answer:
    ask, ranked = case.ask, outcome.ranked
    items = _items(ranker, ranked)
    degradations = case.degradations
    if ask.k and ranked.fallback:
        degradations.append(Degradation.DEGRADATION_POPULARITY_FALLBACK)
    if len(items) < ask.k:
        degradations.append(Degradation.DEGRADATION_PAGE_NOT_FILLED)
    for degradation in degradations:
        count("degradations", kind=Degradation.Name(degradation).removeprefix("DEGRADATION_"))
    profile, session = case.views.profile, case.views.session
    return Answer(
        bundle_id=ranker.space.bundle_id,
        items=items,
        interests=_interests(ranker, ask, outcome),
        fusion_weight=0.0 if ranked.alpha is None else float(ranked.alpha.mean(dtype=np.float64)),
        origin=ranked.origin,
        degradations=degradations,
        profile_age_us=_age_us(ask, None if profile is None else profile.last_event_us),
        session_age_us=_age_us(ask, None if session is None else session.last_event_us),
    )


def _items(ranker: BundleRanker, ranked: Ranked) -> list[RankedItem]:
    columns = (ranked.ids, ranked.scores, ranked.short_scores, ranked.long_scores)
    items = []
    for item_no, score, short_score, long_score in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        item = ranker.catalogue.get(item_no)
        if item is not None:  # else it was deleted since the search
            items.append(RankedItem(item, score, short_score, long_score))
    return items


def _interests(ranker: BundleRanker, ask: Ask, outcome: Outcome) -> list[tuple[str, float]]:
    if outcome.interests is None:
        return []
    return top_interests(outcome.interests, ranker.manifest.categories, ask.num_interests)


def _age_us(ask: Ask, last_event_us: int | None) -> int | None:
    """Return the age of an event at the request's own time; 0 for a later event."""
    return None if last_event_us is None else max(ask.as_of_us - last_event_us, 0)
