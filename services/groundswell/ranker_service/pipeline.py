"""Ranks items for users: neighbours → fuse → retrieve, on plain inputs. Evaluation runs it too.

Shapes: B users, d dimensions, k items. Ids are the index's own: item numbers in the service, items
of a prepared log in evaluation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from groundswell.features.fusion import fuse
from groundswell.features.gate import GateFeatures
from groundswell.ranker_service.fusion import FusedVectors, Fusion, FusionWeightOrigin
from groundswell.retrieval.item_index import Hits, Query
from groundswell.retrieval.neighbours import NOTHING, Sparse

_NO_IDS: NDArray[np.int64] = np.empty(0, np.int64)
_NO_HITS = Hits(_NO_IDS, np.empty(0, np.float32), np.empty((0, 2), np.float32))
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
    window: NDArray[np.int64] = field(default_factory=_NO_IDS.copy)
    """[n] ids of the window's items, oldest event first; one without neighbours adds nothing. Their
    neighbour scores belong to the short-term vector, and count only with it."""
    history: NDArray[np.int64] = field(default_factory=_NO_IDS.copy)
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


class NeighbourScores(Protocol):
    """Gives the items that a user's items are followed by a score each, at least 0."""

    def short(self, window: NDArray[np.int64]) -> Sparse:
        """Return n_s of ids; see `RankInput.window`."""

    def long(self, history: NDArray[np.int64]) -> Sparse:
        """Return n_l of ids; see `RankInput.history`."""


class Retrieval(Protocol):
    """Finds items; `retrieval.item_index.ItemIndex` is the one that serves."""

    @property
    def dimension(self) -> int:
        """d."""

    def search(self, queries: Sequence[Query]) -> list[Hits]:
        """Find the items with the largest score for each query."""

    def passing_ids(
        self, exclude: NDArray[np.int64], allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        """Return the ids that a search with these limits chooses from, in no order."""


class Pipeline:
    """Ranks with one bundle's fusion, neighbours, index and popularity. Thread-safe.

    Without `neighbours` no item has neighbour scores. `popularity` is indexed by id; an id past its
    end has 0.
    """

    def __init__(
        self,
        fusion: Fusion,
        neighbours: NeighbourScores | None,
        retrieval: Retrieval,
        popularity: NDArray[np.float64],
    ) -> None:
        self._fusion = fusion
        self._neighbours = neighbours
        self._retrieval = retrieval
        self._popularity = popularity

    def rank(self, inputs: Sequence[RankInput]) -> list[Ranked]:
        """Rank for each user, in the order of `inputs`."""
        if not inputs:
            return []
        fused = self._fuse(inputs)
        known = [b for b, one in enumerate(fused.origins) if one is not FusionWeightOrigin.NONE]
        searched = [b for b in known if inputs[b].k > 0]
        queries = [self._query(inputs[b], fused, b) for b in searched]
        hits = dict.fromkeys(known, _NO_HITS)
        hits.update(zip(searched, self._retrieval.search(queries), strict=True))
        return [
            _ranked(fused, b, hits[b]) if b in hits else self._popular(one)
            for b, one in enumerate(inputs)
        ]

    def _fuse(self, inputs: Sequence[RankInput]) -> FusedVectors:
        return self._fusion.fuse(
            self._stacked([one.short_vector for one in inputs]),
            self._stacked([one.long_vector for one in inputs]),
            np.array([one.short_vector is not None for one in inputs], dtype=bool),
            np.array([one.long_vector is not None for one in inputs], dtype=bool),
            GateFeatures.stack([one.gate_features for one in inputs]).logarithms(),
            np.array(
                [np.nan if one.fusion_weight is None else one.fusion_weight for one in inputs]
            ),
        )

    def _query(self, one: RankInput, fused: FusedVectors, b: int) -> Query:
        """Search with both parts of the user, so that each score comes with its two parts."""
        return Query(
            np.stack([fused.short_parts[b], fused.long_parts[b]]),
            one.k,
            np.concatenate([_NO_IDS, *one.exclude]),
            one.allowed,
            self._added(one, float(fused.alphas[b].mean(dtype=np.float64))),
        )

    def _added(self, one: RankInput, mean_alpha: float) -> tuple[Sparse, ...]:
        """Look up the neighbour scores of both parts, and weigh them as the vectors are."""
        if self._neighbours is None:
            return ()
        short = NOTHING if one.short_vector is None else self._neighbours.short(one.window)
        long = NOTHING if one.long_vector is None else self._neighbours.long(one.history)
        weighed = fuse(mean_alpha, short.scores, long.scores)
        return Sparse(short.rows, weighed[0]), Sparse(long.rows, weighed[1])

    def _popular(self, one: RankInput) -> Ranked:
        """Rank what passes by popularity: an answer for a user of whom nothing is known."""
        ids = self._retrieval.passing_ids(np.concatenate([_NO_IDS, *one.exclude]), one.allowed)
        popularity = np.zeros(len(ids))
        counted = ids < len(self._popularity)
        popularity[counted] = self._popularity[ids[counted]]
        if one.k < len(ids):
            # Sorting a whole catalogue for one page would take longer than any search.
            last = len(ids) - max(one.k, 1)
            threshold = np.partition(popularity, last)[last]
            ids, popularity = ids[popularity >= threshold], popularity[popularity >= threshold]
        order = np.lexsort((ids, -popularity))[: one.k]
        nothing = np.zeros(len(order), np.float32)
        return Ranked(
            ids=ids[order],
            scores=popularity[order].astype(np.float32),
            short_scores=nothing,
            long_scores=nothing,
            alpha=None,
            origin=FusionWeightOrigin.NONE,
            user=None,
            fallback=True,
        )

    def _stacked(self, vectors: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32]:
        stacked = np.zeros((len(vectors), self._retrieval.dimension), np.float32)
        for b, vector in enumerate(vectors):
            if vector is not None:
                stacked[b] = vector
        return stacked


def _ranked(fused: FusedVectors, b: int, hits: Hits) -> Ranked:
    return Ranked(
        ids=hits.ids,
        scores=hits.scores,
        short_scores=hits.part_scores[:, 0],
        long_scores=hits.part_scores[:, 1],
        alpha=fused.alphas[b],
        origin=fused.origins[b],
        user=fused.user[b],
        fallback=False,
    )
