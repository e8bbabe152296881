"""A bundle opened on a log: the ranker's own pipeline over the log's items."""

from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.text_cache import TextCache
from groundswell.ranker_service.bundle_rows import BundleRows
from groundswell.ranker_service.pipeline import Pipeline, Ranked
from groundswell.ranker_service.stages.fuse import Fusion, FusionWeightOrigin
from groundswell.ranker_service.stages.neighbours import NeighbourLookup, NumberedNeighbours
from groundswell.retrieval.engines import open_index
from groundswell.retrieval.exhaustive import ExhaustiveIndex
from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.neighbours import Sparse
from groundswell.retrieval.scan import SCANNED_UP_TO
from groundswell.trainer.dataset.prepared import TEXT_VECTORS, Prepared
from groundswell.trainer.evaluation.bundle_items import (
    BundleItems,
    Candidates,
    bundle_items,
    rows_of,
)
from groundswell.trainer.evaluation.models import BundleModels
from groundswell.trainer.evaluation.ranks import LIST_LENGTH, RankedTargets, Scores, by_pipeline

_BATCH = 512
_REMEMBERED = 2 * _BATCH
_MOST_SEARCHED = 1_000


class FusedUsers(NamedTuple):
    """What is served for each of n events before any item is looked at."""

    vectors: NDArray[np.float32]
    """[n, d] the fused vector; zeros where nothing is known."""
    known: NDArray[np.bool_]
    """[n] False where nothing is known of the user: popularity ranks then."""
    weights: NDArray[np.float32]
    """[n] the mean fusion weight; NaN where there are not both vectors."""


class OpenedBundle:
    """Ranks the candidates for the users of n events as the ranker does, with one bundle.

    Gathering and filtering need servers, so their results are made from the log. Retrieval scores
    every candidate; `index_figures` says what the bundle's own index loses.
    """

    def __init__(
        self,
        bundle: Bundle,
        prepared: Prepared,
        candidates: Candidates,
        events: NDArray[np.int64],
    ) -> None:
        cache = prepared.folder / TEXT_VECTORS
        encoder = bundle.text_encoder()
        encode = TextCache(cache, encoder, bundle.manifest.text.fingerprint).encode
        self.bundle = bundle
        self.items = bundle_items(bundle, prepared, candidates, encode)
        self._models = BundleModels(bundle, prepared, events, self.items.vectors, encode)
        self._candidates = candidates
        self._num_events = len(events)
        index = item_index(bundle, prepared, candidates, self.items)
        neighbours = log_neighbours(bundle, prepared)
        fusion = Fusion(bundle.fusion_model(), bundle.manifest.fusion)
        self._served = Pipeline(fusion, neighbours, index, self.items.popularity)
        self._exact = Pipeline(fusion, neighbours, ExhaustiveIndex(index), self.items.popularity)

    def scores(self, model: str) -> Scores:
        """Score all candidates for some of the events with one of `models.MODELS`."""
        k = len(self._candidates)
        return by_pipeline(
            self._exact, lambda some: self._models.inputs(model, some, k), self._candidates
        )

    @cached_property
    def fused(self) -> FusedUsers:
        """The fused vectors that are served by default."""
        found: list[Ranked] = []
        for start in range(0, self._num_events, _BATCH):
            found += self._exact.rank(self._models.inputs("fused", slice(start, start + _BATCH), 0))
        nothing = np.zeros(self.bundle.manifest.dimension, np.float32)
        return FusedUsers(
            np.stack([nothing if one.user is None else one.user for one in found]),
            np.array([one.user is not None for one in found]),
            np.array([_weight(one) for one in found], np.float32),
        )

    def index_figures(
        self, ranked: RankedTargets, seen: list[NDArray[np.int64]]
    ) -> dict[str, object]:
        """Return what share of the best items the bundle's index finds, of evenly spread events.

        `ranked` are the targets as "fused" ranks them, and `seen` [n] the items that are excluded
        for each. In the form of the JSON's "index".
        """
        step = -(-self._num_events // _MOST_SEARCHED)
        shares = []
        for start in range(0, self._num_events, step * _BATCH):
            some = slice(start, start + step * _BATCH, step)
            inputs = self._models.inputs("fused", some, LIST_LENGTH, seen[some])
            found = self._served.rank(inputs)
            sizes = np.count_nonzero(ranked.lists[some] >= 0, axis=1).tolist()
            for one, bar, size in zip(found, ranked.bars[some], sizes, strict=True):
                if not one.fallback and size > 0:
                    shares.append(np.count_nonzero(one.scores >= bar) / size)
        return {
            "kind": self.bundle.manifest.index_kind,
            "searches": len(shares),
            f"recall@{LIST_LENGTH}": float(np.mean(shares)) if shares else None,
        }


def item_index(
    bundle: Bundle, prepared: Prepared, candidates: Candidates, items: BundleItems
) -> ItemIndex:
    """Open the bundle's index over the candidates; those new to the bundle are added to it."""
    rows = rows_of(bundle, prepared)
    known = candidates.items[rows[candidates.items] >= 0]
    new = candidates.items[rows[candidates.items] < 0]
    ids = np.full(len(bundle.item_ids), -1, np.int64)
    ids[rows[known]] = known
    index = ItemIndex(open_index(bundle), ids, scanned_up_to=SCANNED_UP_TO)
    if len(new):
        index.put(new, items.vectors[new])
    return index


def log_neighbours(bundle: Bundle, prepared: Prepared) -> NeighbourLookup | None:
    """Open the bundle's neighbours by the numbers of the prepared items; None without any."""
    rows = BundleRows(len(bundle.item_ids))
    rows.put(np.arange(prepared.num_items), rows_of(bundle, prepared))
    neighbours = NumberedNeighbours.of(bundle, rows)
    return None if neighbours is None else _Remembered(neighbours)


class _Remembered:
    """Looks the same items up once: several models read one window or one history."""

    def __init__(self, neighbours: NeighbourLookup) -> None:
        self._short = lru_cache(_REMEMBERED)(
            lambda ids: neighbours.short(np.frombuffer(ids, np.int64))
        )
        self._long = lru_cache(_REMEMBERED)(
            lambda ids: neighbours.long(np.frombuffer(ids, np.int64))
        )

    def short(self, window: NDArray[np.int64]) -> Sparse:
        return self._short(window.tobytes())

    def long(self, history: NDArray[np.int64]) -> Sparse:
        return self._long(history.tobytes())


def _weight(ranked: Ranked) -> float:
    is_mixed = ranked.origin in (FusionWeightOrigin.LEARNED, FusionWeightOrigin.CONSTANT)
    return float(ranked.alpha.mean()) if is_mixed and ranked.alpha is not None else np.nan
