"""Ranks items for users: fuse → neighbours → retrieve (→ rerank) → interests, on plain inputs.

Only inputs with controls are reranked. This is the part of a recommendation between gathering and
explaining (see `recommender`). Evaluation runs it too, on inputs that it makes from a log.

Shapes: B users, d dimensions, k items. Ids are the index's own: item numbers in the service, items
of a prepared log in evaluation.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.features.fusion import fuse
from groundswell.features.gate import GateFeatures, stacked_logarithms
from groundswell.ranker_service.stages.candidates import UserSearch
from groundswell.ranker_service.stages.fuse import FusedVectors, Fusion, FusionWeightOrigin
from groundswell.ranker_service.stages.interests import interests_of
from groundswell.ranker_service.stages.item_ranks import ItemRanks, ranks_of
from groundswell.ranker_service.stages.neighbours import NeighbourLookup
from groundswell.ranker_service.stages.page_controls import (
    Arranged,
    Controls,
    ItemSpread,
    ScoreSpread,
    pull,
)
from groundswell.ranker_service.stages.rerank import ArrangedPage, rerank
from groundswell.ranker_service.stages.retrieve import NO_HITS, PopularItems, Retrieval
from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.neighbours import NOTHING, Sparse
from groundswell.retrieval.query import NO_IDS, Hits, Query

_INPUT_BYTES = 4_000
"""The bytes of an input besides the ids in it: two vectors, and the objects."""
_CONTROL_BYTES = 64_000
"""The bytes of a hundred candidates, which a page with controls chooses from."""


@dataclass(frozen=True)
class RankInput:
    """One user to rank items for."""

    k: int
    """How many items at most; every item of the index may be asked for. 0: the fusion alone."""
    short_vector: NDArray[np.float32] | None = None
    """[d] u_s; None without one."""
    long_vector: NDArray[np.float32] | None = None
    """[d] u_l; None without one."""
    window: NDArray[np.int64] = field(default_factory=NO_IDS.copy)
    """[n] ids of the window's items, oldest event first; one without neighbours adds nothing. Their
    neighbour scores belong to the short-term vector, and count only with it."""
    history: NDArray[np.int64] = field(default_factory=NO_IDS.copy)
    """[m] ids of the history's items, each once, ordered by most recent interaction, oldest first.
    Their neighbour scores belong to the long-term vector."""
    gate_features: GateFeatures = field(default_factory=GateFeatures)
    """Matter only with both vectors."""
    fusion_weight: float | None = None
    """Forces α, in [0, 1]; None: the bundle decides."""
    exclude: Sequence[NDArray[np.int64]] = ()
    """Ids never to return, in any number of arrays; unknown ones are ignored."""
    allowed: IdSet | None = None
    """The ids that may be returned; None: all."""
    controls: Controls | None = None
    """How the page is arranged; None: by the scores alone."""

    def without(self, ids: NDArray[np.int64]) -> "RankInput":
        """Return the same input that also excludes items, which no pin may bring back."""
        controls = self.controls
        if controls is not None:
            controls = replace(controls, never=(*controls.never, ids))
        return replace(self, exclude=(*self.exclude, ids), controls=controls)

    @property
    def num_bytes(self) -> int:
        """The memory it takes while it waits."""
        fixed = _INPUT_BYTES + (0 if self.controls is None else _CONTROL_BYTES)
        return fixed + sum(ids.nbytes for ids in (self.window, self.history, *self.exclude))


@dataclass(frozen=True)
class Ranked:
    """The items for one user, best first; of equal scores the lower id first."""

    ids: NDArray[np.int64]
    """[k'] with k' = min(k, items that pass)."""
    scores: NDArray[np.float32]
    """[k'] as `features.fusion` defines them; the popularity of a fallback."""
    short_scores: NDArray[np.float32]
    """[k'] the short-term part of the score; zeros for a fallback."""
    long_scores: NDArray[np.float32]
    """[k'] the long-term part; zeros for a fallback."""
    alpha: NDArray[np.float32] | None
    """[d] the fusion weight; None for a fallback."""
    origin: FusionWeightOrigin
    """Where the fusion weight came from."""
    user: NDArray[np.float32] | None
    """[d] the fused vector; None for a fallback."""
    fallback: bool
    """True: there was neither vector, these are popular items."""
    interests: NDArray[np.float32] | None = None
    """[C] probabilities of the categories; None for a fallback, or without categories."""
    arranged: Arranged | None = None
    """What the controls did, if any: the items are in its order, and scores have one more part."""
    popularity_scores: NDArray[np.float32] | None = None
    """[k'] of what is popular now; None where popularity adds nothing."""
    among_popular: bool = False
    """True: the index did not answer; the most popular items were compared."""
    fusion_weight: float = 0.0
    """The mean of α over the dimensions; 0 for a fallback."""


class Pipeline:
    """Ranks with one bundle's fusion, neighbours, index and popularity. Thread-safe.

    Without `neighbours` no item has neighbour scores, and without `interest_head` no user has
    interests. `popularity` is as in `PopularItems`. Controls measure scores by `spread`; without it
    the deviation counts as 1.
    """

    def __init__(
        self,
        fusion: Fusion,
        neighbours: NeighbourLookup | None,
        retrieval: Retrieval,
        popularity: NDArray[np.float64],
        interest_head: OnnxModel | None = None,
        spread: ItemSpread | None = None,
        popular_now: Sparse | None = None,
        stage: Callable[[str], AbstractContextManager[object]] = lambda _: nullcontext(),
    ) -> None:
        """`popular_now` is what popularity adds to scores, as a third part; None: nothing. Stages
        of `rank` run in what `stage` gives."""
        self._fusion = fusion
        self._neighbours = neighbours
        self._retrieval = retrieval
        self._popular = PopularItems(popularity)
        self._interest_head = interest_head
        self._spread = spread
        self._popular_now = popular_now
        self._stage = stage
        self._num_parts = 2 if popular_now is None else 3

    def rank(self, inputs: Sequence[RankInput]) -> list[Ranked]:
        """Rank for each user, in the order of `inputs`."""
        if not inputs:
            return []
        with self._stage("fuse"):
            fused = self._fuse(inputs)
            users = fused.known_users()
        with self._stage("neighbours"):
            added = [self._look_up(*each) for each in zip(inputs, fused.weights, strict=True)]
        with self._stage("retrieve"):
            pages = self._retrieve(inputs, fused, users, added)
        with self._stage("interests"):
            interests = interests_of(self._interest_head, users)
        return [
            _ranked(fused, b, *each, self._num_parts)
            for b, each in enumerate(zip(users, pages, interests, strict=True))
        ]

    def item_ranks(self, one: RankInput, item: int) -> ItemRanks | None:
        """Rank one item for a user by either vector alone and by both; controls do not count.

        None when the index has no vector of the item. Exact: every item is scored.
        """
        if not self._retrieval.known_vectors(np.array([item], np.int64)).any():
            return None
        by_vector = {
            "short": replace(one, long_vector=None, fusion_weight=None),
            "long": replace(one, short_vector=None, fusion_weight=None),
            "fused": one,
        }
        inputs = list(by_vector.values())
        fused = self._fuse(inputs)
        added = [self._look_up(*each) for each in zip(inputs, fused.weights, strict=True)]
        made = _queries(inputs, fused, added, self._num_parts)
        queries = zip(by_vector, made, fused.known_users(), strict=True)
        known = {name: query for name, query, user in queries if user is not None}
        ranks, num_items = ranks_of(self._retrieval, list(known.values()), item)
        of_vector = dict(zip(known, ranks, strict=True))
        short, long, both = (of_vector.get(name) for name in by_vector)
        return ItemRanks(short, long, both, num_items)

    def _fuse(self, inputs: Sequence[RankInput]) -> FusedVectors:
        return self._fusion.fuse(
            self._stacked([one.short_vector for one in inputs]),
            self._stacked([one.long_vector for one in inputs]),
            np.array([one.short_vector is not None for one in inputs], dtype=bool),
            np.array([one.long_vector is not None for one in inputs], dtype=bool),
            stacked_logarithms([one.gate_features for one in inputs]),
            np.array([one.fusion_weight for one in inputs], np.float64),  # None is NaN
        )

    def _look_up(self, one: RankInput, weight: float) -> tuple[Sparse, ...]:
        """Return the neighbour scores of both parts, weighed as the vectors are."""
        more = () if self._popular_now is None else (self._popular_now,)
        if one.k == 0:
            return ()
        if self._neighbours is None or (one.short_vector is None and one.long_vector is None):
            return (NOTHING, NOTHING, *more) if more else ()
        short = NOTHING if weight == 0 else self._neighbours.short(one.window)
        long = NOTHING if weight == 1 else self._neighbours.long(one.history)
        weighed = fuse(weight, short.scores, long.scores)
        return Sparse(short.rows, weighed[0]), Sparse(long.rows, weighed[1]), *more

    def _retrieve(
        self,
        inputs: Sequence[RankInput],
        fused: FusedVectors,
        users: Sequence[NDArray[np.float32] | None],
        added: Sequence[tuple[Sparse, ...]],
    ) -> list[tuple[Hits, Arranged | None]]:
        queries = _queries(inputs, fused, added, self._num_parts)
        plain = [b for b, one in enumerate(inputs) if one.k > 0 and one.controls is None]
        searched = [b for b in plain if users[b] is not None]
        hits = self._retrieval.search([queries[b] for b in searched])
        found = dict(zip(searched, hits, strict=True))
        for b in plain:
            if users[b] is None:
                limits = (inputs[b].k, queries[b].exclude, inputs[b].allowed)
                found[b] = self._popular.best(self._retrieval, *limits)
        pages: list[tuple[Hits, Arranged | None]] = [
            (found.get(b, NO_HITS), None) for b in range(len(inputs))
        ]
        for b, one in enumerate(inputs):
            if one.k > 0 and one.controls is not None:
                pages[b] = self._rerank(queries[b], users[b], one.controls, one.k)
        return pages

    def _rerank(
        self, query: Query, user: NDArray[np.float32] | None, controls: Controls, k: int
    ) -> ArrangedPage:
        """Arrange a user's page; likes and dislikes become a third part of the query."""
        liked, disliked = map(self._retrieval.known_vectors, (controls.liked, controls.disliked))
        pulled = pull(liked, disliked, user)
        if pulled is not None:
            added = (*query.added, NOTHING) if query.added else ()
            query = query._replace(parts=np.vstack([query.parts, pulled]), added=added)
        if user is None and pulled is None:
            values = self._popular.of(self._retrieval.passing_ids(NO_IDS, None))
            popular, spread = self._popular, ScoreSpread.of_values(values)
        else:
            popular, spread = None, self._spread_of(query.parts.sum(0))
        search = UserSearch(self._retrieval, query, popular, spread, self._num_parts)
        return rerank(search, controls, k)

    def _spread_of(self, user: NDArray[np.float32]) -> ScoreSpread:
        return ScoreSpread(0.0, 1.0) if self._spread is None else self._spread.of_user(user)

    def _stacked(self, vectors: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32]:
        nothing = np.zeros(self._retrieval.dimension, np.float32)
        return np.stack([nothing if vector is None else vector for vector in vectors])


def _queries(
    inputs: Sequence[RankInput],
    fused: FusedVectors,
    added: Sequence[tuple[Sparse, ...]],
    num_parts: int,
) -> list[Query]:
    """Search with the parts of each user; that of popularity has no vector."""
    padding = ((0, 0), (0, num_parts - 2), (0, 0))
    parts = np.pad(fused.parts, padding) if num_parts > 2 else fused.parts
    return [
        Query(parts[b], one.k, np.concatenate([NO_IDS, *one.exclude]), one.allowed, added[b])
        for b, one in enumerate(inputs)
    ]


def _ranked(
    fused: FusedVectors,
    b: int,
    user: NDArray[np.float32] | None,
    page: tuple[Hits, Arranged | None],
    interests: NDArray[np.float32] | None,
    num_parts: int,
) -> Ranked:
    hits, arranged = page
    parts = hits.part_scores
    return Ranked(
        ids=hits.ids,
        scores=hits.scores,
        short_scores=parts[:, 0],
        long_scores=parts[:, 1],
        popularity_scores=parts[:, 2] if num_parts == 3 and parts.shape[1] > 2 else None,
        alpha=None if user is None else fused.alphas[b],
        fusion_weight=0.0 if user is None else fused.weights[b],
        origin=fused.origins[b],
        user=user,
        # One more part is that of likes, which can rank without a vector.
        fallback=user is None and parts.shape[1] <= num_parts,
        interests=interests,
        arranged=arranged,
    )
