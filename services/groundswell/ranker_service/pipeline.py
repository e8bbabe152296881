"""Rank users' items: fuse → retrieve → rank, on plain inputs; the trainer's evaluation runs it too.

Shapes: B users, d dimensions, k items. Ids are the index's own: item numbers in the service, a
bundle's rows in the evaluation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from groundswell.features.gate import GATE_FEATURES
from groundswell.ranker_service.fusion import AlphaSource, Fused, Fusion
from groundswell.retrieval.item_index import Hits, ItemIndex, Query
from groundswell.retrieval.neighbours import NOTHING, Sparse

_NO_HITS = Hits(np.empty(0, np.int64), np.empty(0, np.float32), np.empty((0, 2), np.float32))


@dataclass(frozen=True)
class RankInput:
    """One user to rank items for."""

    k: int
    """How many items at most; every item of the index may be asked for. 0: the fusion alone."""
    short: NDArray[np.float32] | None = None
    """[d] the short-term vector u_s; None without one."""
    long: NDArray[np.float32] | None = None
    """[d] the long-term vector u_l; None without one."""
    short_source: Sparse | None = None
    """What else speaks for items by the short-term view, at least 0 each; as ids, each once. It is
    weighed as the view is, and without its vector it counts for nothing."""
    long_source: Sparse | None = None
    """The same of the long-term view."""
    gate_features: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros(len(GATE_FEATURES), np.float32)
    )
    """[3] as `features.gate` makes them; clamped here. Matters only with both vectors."""
    fusion_weight: float | None = None
    """Forces α, in [0, 1]; None: the bundle decides."""
    exclude: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Ids never to return; unknown ones are ignored."""
    allowed: NDArray[np.bool_] | None = None
    """Indexed by id: True where an item may be returned; ids past its end may not. None: all."""


@dataclass(frozen=True)
class Ranked:
    """The items for one user, best first; of equal scores the lower id first."""

    ids: NDArray[np.int64]
    """[k'] with k' = min(k, items that pass)."""
    scores: NDArray[np.float32]
    """[k'] u·v + ᾱ · short source + (1 − ᾱ) · long source, ᾱ being the mean of α over the
    dimensions; the popularity of a fallback."""
    short_scores: NDArray[np.float32]
    """[k'] (α ∘ u_s)·v + ᾱ · short source; zeros for a fallback."""
    long_scores: NDArray[np.float32]
    """[k'] ((1 − α) ∘ u_l)·v + (1 − ᾱ) · long source; zeros for a fallback."""
    alpha: NDArray[np.float32] | None
    """[d] the fusion weight; None for a fallback."""
    source: AlphaSource
    """Where the fusion weight came from."""
    user: NDArray[np.float32] | None
    """[d] the fused vector u; None for a fallback."""
    fallback: bool
    """True: neither vector was there, these are popular items."""


class Pipeline:
    """Ranks with one bundle's fusion, index and popularity. Thread-safe.

    `popularity` is indexed by id; an id past its end has 0.
    """

    def __init__(self, fusion: Fusion, index: ItemIndex, popularity: NDArray[np.float64]) -> None:
        self._fusion = fusion
        self._index = index
        self._popularity = popularity

    def rank(self, inputs: Sequence[RankInput]) -> list[Ranked]:
        """Rank for each user, in the order of `inputs`."""
        if not inputs:
            return []
        fused = self._fuse(inputs)
        known = [b for b, source in enumerate(fused.sources) if source is not AlphaSource.NONE]
        searched = [b for b in known if inputs[b].k > 0]
        hits = dict.fromkeys(known, _NO_HITS)
        hits.update(zip(searched, self._retrieve(inputs, fused, searched), strict=True))
        return [
            self._ranked(fused, b, hits[b]) if b in hits else self._popular(one)
            for b, one in enumerate(inputs)
        ]

    def _fuse(self, inputs: Sequence[RankInput]) -> Fused:
        return self._fusion.fuse(
            self._stacked([one.short for one in inputs]),
            self._stacked([one.long for one in inputs]),
            np.array([one.short is not None for one in inputs], dtype=bool),
            np.array([one.long is not None for one in inputs], dtype=bool),
            np.stack([one.gate_features for one in inputs]),
            np.array(
                [np.nan if one.fusion_weight is None else one.fusion_weight for one in inputs]
            ),
        )

    def _retrieve(
        self, inputs: Sequence[RankInput], fused: Fused, searched: Sequence[int]
    ) -> list[Hits]:
        """Search with both parts of u, so that each item's score comes with its two parts."""
        queries = []
        for b in searched:
            one, parts = inputs[b], np.stack([fused.short_parts[b], fused.long_parts[b]])
            added = _weighed_sources(one, float(fused.alphas[b].mean(dtype=np.float64)))
            queries.append(Query(parts, one.k, one.exclude, one.allowed, added))
        return self._index.search(queries)

    @staticmethod
    def _ranked(fused: Fused, b: int, hits: Hits) -> Ranked:
        return Ranked(
            ids=hits.ids,
            scores=hits.scores,
            short_scores=hits.part_scores[:, 0],
            long_scores=hits.part_scores[:, 1],
            alpha=fused.alphas[b],
            source=fused.sources[b],
            user=fused.user[b],
            fallback=False,
        )

    def _popular(self, one: RankInput) -> Ranked:
        """Rank by popularity what passes: an answer for someone of whom nothing is known."""
        ids = self._index.passing_ids(one.exclude, one.allowed)
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
            source=AlphaSource.NONE,
            user=None,
            fallback=True,
        )

    def _stacked(self, vectors: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32]:
        stacked = np.zeros((len(vectors), self._index.dimension), np.float32)
        for b, vector in enumerate(vectors):
            if vector is not None:
                stacked[b] = vector
        return stacked


def _weighed_sources(one: RankInput, alpha: float) -> tuple[Sparse, ...]:
    """Return both sources with their views' weights, or none; with one view alone α is 1 or 0."""
    if one.short_source is None and one.long_source is None:
        return ()
    return (
        _scaled(one.short_source, alpha),
        _scaled(one.long_source, 1 - alpha),
    )


def _scaled(source: Sparse | None, weight: float) -> Sparse:
    if source is None or weight == 0:
        return NOTHING
    return Sparse(source.rows, np.float32(weight) * source.scores)
