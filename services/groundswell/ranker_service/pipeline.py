"""Ranks items for users: fuse → neighbours → retrieve → interests, on plain inputs.

This is the part of a recommendation between gathering and explaining (see `recommender`).
Evaluation runs it too, on inputs that it makes from a log.

Shapes: B users, d dimensions, k items. Ids are the index's own: item numbers in the service, items
of a prepared log in evaluation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.features.fusion import fuse
from groundswell.features.gate import GateFeatures, stacked_logarithms
from groundswell.ranker_service.stages.fuse import FusedVectors, Fusion, FusionWeightOrigin
from groundswell.ranker_service.stages.interests import interests_of
from groundswell.ranker_service.stages.retrieve import NO_HITS, Retrieval, popular
from groundswell.retrieval.item_index import NO_IDS, Hits, Query
from groundswell.retrieval.neighbours import NOTHING, Sparse

_INPUT_BYTES = 4_000
"""The bytes of an input besides the ids in it: two vectors, and the objects."""


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
    allowed: NDArray[np.bool_] | None = None
    """Indexed by id: True where an item may be returned; ids past its end may not. None: all."""

    @property
    def num_bytes(self) -> int:
        """The memory it takes while it waits."""
        return _INPUT_BYTES + sum(ids.nbytes for ids in (self.window, self.history, *self.exclude))


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


class NeighbourLookup(Protocol):
    """Gives neighbour scores, each at least 0, to items that follow those of a user."""

    def short(self, window: NDArray[np.int64]) -> Sparse:
        """Return n_s of ids; see `RankInput.window`."""

    def long(self, history: NDArray[np.int64]) -> Sparse:
        """Return n_l of ids; see `RankInput.history`."""


class Pipeline:
    """Ranks with one bundle's fusion, neighbours, index and popularity. Thread-safe.

    Without `neighbours` no item has neighbour scores, and without `interest_head` no user has
    interests. `popularity` is indexed by id; an id past its end has 0.
    """

    def __init__(
        self,
        fusion: Fusion,
        neighbours: NeighbourLookup | None,
        retrieval: Retrieval,
        popularity: NDArray[np.float64],
        interest_head: OnnxModel | None = None,
    ) -> None:
        self._fusion = fusion
        self._neighbours = neighbours
        self._retrieval = retrieval
        self._popularity = popularity
        self._interest_head = interest_head

    def rank(self, inputs: Sequence[RankInput]) -> list[Ranked]:
        """Rank for each user, in the order of `inputs`."""
        if not inputs:
            return []
        fused = self._fuse(inputs)
        users = fused.known_users()
        added = [self._look_up(*each) for each in zip(inputs, fused.alphas, strict=True)]
        hits = self._retrieve(inputs, fused, users, added)
        interests = interests_of(self._interest_head, users)
        return [
            _ranked(fused, b, *each)
            for b, each in enumerate(zip(users, hits, interests, strict=True))
        ]

    def _fuse(self, inputs: Sequence[RankInput]) -> FusedVectors:
        return self._fusion.fuse(
            self._stacked([one.short_vector for one in inputs]),
            self._stacked([one.long_vector for one in inputs]),
            np.array([one.short_vector is not None for one in inputs], dtype=bool),
            np.array([one.long_vector is not None for one in inputs], dtype=bool),
            stacked_logarithms([one.gate_features for one in inputs]),
            np.array(
                [np.nan if one.fusion_weight is None else one.fusion_weight for one in inputs]
            ),
        )

    def _look_up(self, one: RankInput, alpha: NDArray[np.float32]) -> tuple[Sparse, ...]:
        """Return the neighbour scores of both parts, weighed as the vectors are."""
        if self._neighbours is None or one.k == 0:
            return ()
        short = NOTHING if one.short_vector is None else self._neighbours.short(one.window)
        long = NOTHING if one.long_vector is None else self._neighbours.long(one.history)
        weighed = fuse(float(alpha.mean(dtype=np.float64)), short.scores, long.scores)
        return Sparse(short.rows, weighed[0]), Sparse(long.rows, weighed[1])

    def _retrieve(
        self,
        inputs: Sequence[RankInput],
        fused: FusedVectors,
        users: Sequence[NDArray[np.float32] | None],
        added: Sequence[tuple[Sparse, ...]],
    ) -> list[Hits]:
        """Search with both parts of each user, so that each score comes with its two parts."""
        excluded = [np.concatenate([NO_IDS, *one.exclude]) for one in inputs]
        searched = [b for b, one in enumerate(inputs) if one.k > 0 and users[b] is not None]
        queries = [
            Query(
                np.stack([fused.short_parts[b], fused.long_parts[b]]),
                inputs[b].k,
                excluded[b],
                inputs[b].allowed,
                added[b],
            )
            for b in searched
        ]
        found = dict(zip(searched, self._retrieval.search(queries), strict=True))
        for b, one in enumerate(inputs):
            if users[b] is None:
                limits = (one.k, excluded[b], one.allowed)
                found[b] = popular(self._retrieval, self._popularity, *limits)
        return [found.get(b, NO_HITS) for b in range(len(inputs))]

    def _stacked(self, vectors: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32]:
        stacked = np.zeros((len(vectors), self._retrieval.dimension), np.float32)
        for b, vector in enumerate(vectors):
            if vector is not None:
                stacked[b] = vector
        return stacked


def _ranked(
    fused: FusedVectors,
    b: int,
    user: NDArray[np.float32] | None,
    hits: Hits,
    interests: NDArray[np.float32] | None,
) -> Ranked:
    return Ranked(
        ids=hits.ids,
        scores=hits.scores,
        short_scores=hits.part_scores[:, 0],
        long_scores=hits.part_scores[:, 1],
        alpha=None if user is None else fused.alphas[b],
        origin=fused.origins[b],
        user=user,
        fallback=user is None,
        interests=interests,
    )
