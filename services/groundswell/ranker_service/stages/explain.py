"""Explain stage: names the items and interests of a ranking, and says how it falls short."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundswell.ranker.v1.ranker_service_pb2 import Degradation
from groundswell.ranker_service.bundle_ranker import BundleRanker
from groundswell.ranker_service.catalogue import CatalogueItem
from groundswell.ranker_service.pipeline import Ranked
from groundswell.ranker_service.requests import Ask
from groundswell.ranker_service.stages.by_vector import ByVector
from groundswell.ranker_service.stages.fuse import FusionWeightOrigin
from groundswell.ranker_service.stages.gather import Gathered
from groundswell.ranker_service.stages.impressions import capped_items
from groundswell.ranker_service.stages.inputs import inputs_of
from groundswell.serving.attribution import AnswerInputs, Draw
from groundswell.serving.interests import top_interests
from groundswell.serving.telemetry import count

_NAMES = {n: name.removeprefix("DEGRADATION_") for name, n in Degradation.items()}


@dataclass(frozen=True)
class Recommendations:
    """What one user is recommended, and why."""

    bundle_id: str
    ranked: Ranked
    items: list[CatalogueItem | None]
    """[k'] the items of `ranked`; None for one that was deleted since the search."""
    interests: list[tuple[str, float]]
    """(category, probability), most probable first."""
    degradations: list[Degradation.ValueType]
    profile_age_us: int | None
    """How old the newest event of the long-term vector is; None without one."""
    session_age_us: int | None
    """The same of the short-term vector."""
    lineage: str = ""
    """The lineage of the catalogue that the items' numbers belong to."""
    unplaced: Sequence[str] = ()
    """Ids of pinned items that are not among the items."""
    full_categories: Sequence[str] = ()
    """The categories that a control let no more items of in."""
    by_vector: ByVector | None = None
    """What either vector alone gives; None unless it is asked for."""
    interests_by_vector: Sequence[list[tuple[str, float]]] = ()
    """As `interests`, by the short-term and by the long-term vector alone; with `by_vector`."""
    draw: Draw = Draw.NONE
    """How the fusion weight was chosen, if at random."""
    propensity: float = 0.0
    """The probability or the density with which it was drawn."""
    inputs: AnswerInputs | None = None
    """What the answer was made of."""
    request: bytes = b""
    """The hash of the request; see `Ask.request`."""
    variant: str = ""
    """The variant that made the answer; empty without one."""
    num_capped: int = 0
    """How many items were left out because the user was shown them too often."""
    is_oddly_empty: bool = False
    """Whether there are no items though neither request nor user took them all away."""

    @property
    def fusion_weight_origin(self) -> FusionWeightOrigin:
        """Where the fusion weight came from."""
        return FusionWeightOrigin.RANDOM if self.draw else self.ranked.origin

    @property
    def fusion_weight(self) -> float:
        """The mean of α over the dimensions; 0 for a fallback."""
        return self.ranked.fusion_weight


def explain(
    ranker: BundleRanker,
    ask: Ask,
    gathered: Gathered,
    ranked: Ranked,
    by_vector: ByVector | None = None,
) -> Recommendations:
    """Explain what a ranker gave one user; `by_vector` if either vector alone is asked for."""
    items = [ranker.items.get(item_no) for item_no in ranked.ids.tolist()]
    num_items = sum(item is not None for item in items)
    degradations = _degradations(ranker, ask, gathered, ranked, num_items)
    short, long = gathered.short, gathered.long
    # With one vector alone no weight has an effect.
    is_drawn = ranked.origin is FusionWeightOrigin.FORCED and ask.draw is not Draw.NONE
    return Recommendations(
        bundle_id=ranker.space.bundle_id,
        ranked=ranked,
        items=items,
        interests=_interests(ranker, ask, ranked.interests),
        degradations=degradations,
        profile_age_us=_age_us(ask, None if long is None else long.last_event_us),
        session_age_us=_age_us(ask, None if short is None else short.last_event_us),
        lineage=ranker.space.lineage,
        unplaced=_unplaced(ask, items),
        full_categories=_full_categories(ranker, ranked),
        by_vector=by_vector,
        interests_by_vector=tuple(
            _interests(ranker, ask, one) for one in (by_vector.interests() if by_vector else ())
        ),
        draw=ask.draw if is_drawn else Draw.NONE,
        propensity=ask.propensity if is_drawn else 0.0,
        inputs=inputs_of(ranker, ask, gathered, ranked, items, degradations)
        if ask.request
        else None,
        request=ask.request,
        variant=_variant(ranker, ask),
        num_capped=len(capped_items(ask, gathered)),
    )


def _degradations(
    ranker: BundleRanker, ask: Ask, gathered: Gathered, ranked: Ranked, num_items: int
) -> list[Degradation.ValueType]:
    """Return how an answer of `num_items` items falls short, and count it."""
    has_neighbours = ranker.manifest.neighbours is not None
    degradations = [
        *_degradations_of_gathered(ask, gathered, has_neighbours=has_neighbours),
        *_degradations_of_ranked(ask, ranked, num_items),
    ]
    for degradation in degradations:
        count("degradations", kind=_NAMES[degradation])
    return degradations


def _variant(ranker: BundleRanker, ask: Ask) -> str:
    """Return the name of an ask's variant, unless another bundle ranked in its place."""
    one = ask.variant
    is_own = one is not None and one.bundle in (None, ranker.space.bundle_id)
    return one.name if one is not None and is_own else ""


def _degradations_of_gathered(
    ask: Ask, gathered: Gathered, *, has_neighbours: bool
) -> Iterator[Degradation.ValueType]:
    """Say what the services did not know, or did not answer."""
    short, long = gathered.short, gathered.long
    is_visitor = ask.inline_events is not None
    if not is_visitor and long is None:
        yield Degradation.DEGRADATION_PROFILE_UNAVAILABLE
    if short is None:
        yield Degradation.DEGRADATION_SESSION_UNAVAILABLE
    elif short.stale:
        yield Degradation.DEGRADATION_SESSION_STALE
    if long is not None and long.vector is not None and long.stale:
        yield Degradation.DEGRADATION_PROFILE_STALE
    if ask.impressions is not None and gathered.shown is None:
        yield Degradation.DEGRADATION_IMPRESSIONS_UNAVAILABLE
    # Seen items are excluded, and their neighbours are looked up.
    needs_seen = ask.exclude_seen or (has_neighbours and long is not None)
    if ask.k and needs_seen and not (is_visitor or _knows_all_items(gathered)):
        yield Degradation.DEGRADATION_SEEN_INCOMPLETE
    if _is_unknown(ask, gathered):
        yield Degradation.DEGRADATION_USER_UNKNOWN
    elif long is not None and long.vector is None:
        yield Degradation.DEGRADATION_NO_PROFILE


def _knows_all_items(gathered: Gathered) -> bool:
    """Whether all items that the user has seen are known."""
    long = gathered.long
    if long is None or long.items is None:
        return False
    return long.is_of_now and long.items.is_complete


def _is_unknown(ask: Ask, gathered: Gathered) -> bool:
    """Whether nothing is known of a user, or a visitor sent nothing."""
    short, long = gathered.short, gathered.long
    if short is not None and short.vector is not None:
        return False
    if ask.inline_events is not None:
        return not ask.inline_events.events
    return long is not None and long.num_events == 0


def _degradations_of_ranked(
    ask: Ask, ranked: Ranked, num_items: int
) -> Iterator[Degradation.ValueType]:
    if ask.k and ranked.fallback and not ask.is_trending:
        yield Degradation.DEGRADATION_POPULARITY_FALLBACK
    if ask.k and ranked.among_popular and not (ranked.fallback or ask.is_trending):
        yield Degradation.DEGRADATION_INDEX_UNAVAILABLE
    if num_items < ask.k:
        yield Degradation.DEGRADATION_PAGE_NOT_FILLED


def _unplaced(ask: Ask, items: Sequence[CatalogueItem | None]) -> list[str]:
    if ask.controls is None:
        return []
    placed = {item.item_id for item in items if item is not None}
    return sorted(set(ask.controls.pins.values()) - placed)


def _full_categories(ranker: BundleRanker, ranked: Ranked) -> list[str]:
    if ranked.arranged is None:
        return []
    names = ranker.columns.category_names
    return sorted(names[number] for number in ranked.arranged.full_categories.tolist())


def _interests(
    ranker: BundleRanker, ask: Ask, probabilities: NDArray[np.float32] | None
) -> list[tuple[str, float]]:
    if probabilities is None:
        return []
    return top_interests(probabilities, ranker.manifest.categories, ask.num_interests)


def _age_us(ask: Ask, last_event_us: int | None) -> int | None:
    """Return the age of an event at the request's own time; 0 for a later event."""
    return None if last_event_us is None else max(ask.as_of_us - last_event_us, 0)
