"""Chooses by validation how windows and histories are read for neighbour scores."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from torch import Tensor

from groundswell.artifacts.manifest import NeighbourSpec
from groundswell.features.fusion import fuse
from groundswell.trainer.inputs.training_log import TrainingLog
from groundswell.trainer.loop.losses import is_large
from groundswell.trainer.neighbours.cooccurrence import (
    DECAYS,
    HISTORY_DECAYS,
    WINDOW_LENGTH,
    NeighbourScores,
    NeighbourTable,
    Reading,
    following,
    history_scores,
    neighbour_table,
    window_scores,
    with_text_neighbours,
)
from groundswell.trainer.ranking.metrics import gains
from groundswell.trainer.ranking.validation import K, Part, Validation, is_clearly_better

_WEIGHTS = (0.0, *(2.0**power for power in range(-1, 7)))
_LESS = 2
"""How many weights below the best of a vector alone are tried in fusion."""
_CONSTANTS = (1.0, 0.85, 0.7, 0.55)
"""The fusion weights of that trial; with 1 no neighbour scores of a history can do harm."""
_ERRORS = 2.0
"""A weighing that is best alone is kept unless fusion loses by more standard errors than this."""


class Weighing(NamedTuple):
    """How neighbour scores are made and weighed, and how well they rank with their vector."""

    decay: float
    """The weight of each item relative to the next newer one."""
    weight: float
    ndcg: float = 0.0
    """NDCG@10 on validation."""
    ndcg_alone: float = 0.0
    """Without neighbour scores."""


class NeighbourTuning:
    """The neighbours of a log; their scores have weight 0 until `weigh` has chosen the weights."""

    def __init__(
        self, log: TrainingLog, window_length: int, texts_Nd: Callable[[], NDArray[np.float32]]
    ) -> None:
        """`texts_Nd` gives the vectors of all items' texts: an item without neighbours gets those
        of the items whose texts are near. In a large catalogue it gets none."""
        self._prepared = log.prepared
        # Events kept for the gate are not counted, as they are not for the encoders.
        self._similarities = following(log.prepared, log.is_target)
        if not is_large(log.prepared.num_items):
            self._similarities = with_text_neighbours(self._similarities, texts_Nd())
        self._length = min(WINDOW_LENGTH, window_length)
        self._short, self._long = Weighing(DECAYS[0], 0.0), Weighing(HISTORY_DECAYS[0], 0.0)

    def weigh(
        self, short_nd: Tensor, long_nd: Tensor, items_Id: Tensor, validation: Validation
    ) -> dict[str, float]:
        """Choose the decays and weights; return the NDCG@10 of each vector with and without its
        neighbour scores. The vectors are those before the events of validation."""
        events = validation.events
        short_by = {decay: self._window(events, decay) for decay in DECAYS}
        self._short = weigh_alone(short_nd, short_by, items_Id, validation)
        short = Part(short_nd, short_by[self._short.decay] * self._short.weight)
        del short_by
        long_by = {decay: self._history(events, decay) for decay in HISTORY_DECAYS}
        self._long = weigh_for_fusion(short, long_nd, long_by, items_Id, validation)
        return {
            "validation.short.ndcg@10": self._short.ndcg,
            "validation.short-without-neighbours.ndcg@10": self._short.ndcg_alone,
            "validation.long.ndcg@10": self._long.ndcg,
            "validation.long-without-neighbours.ndcg@10": self._long.ndcg_alone,
        }

    def before(self, events: NDArray[np.int64]) -> NeighbourScores:
        """Return the neighbour scores before each event."""
        short = self._window(events, self._short.decay)
        long = self._history(events, self._long.decay)
        return NeighbourScores(short, long).weighed(self._short.weight, self._long.weight)

    def table(self) -> NeighbourTable:
        """Return the neighbours as a bundle holds them."""
        return neighbour_table(self._similarities)

    def spec(self, count: int) -> NeighbourSpec:
        """Return what a bundle says of `count` neighbours."""
        return NeighbourSpec(
            count=count,
            window_length=self._length,
            decay=self._short.decay,
            short_weight=self._short.weight,
            history_decay=self._long.decay,
            long_weight=self._long.weight,
        )

    def _window(self, events: NDArray[np.int64], decay: float) -> sp.csr_array:
        reading = Reading(self._length, decay)
        return window_scores(self._prepared, self._similarities, events, reading)

    def _history(self, events: NDArray[np.int64], decay: float) -> sp.csr_array:
        return history_scores(self._prepared, self._similarities, events, decay)


def weigh_alone(
    users_nd: Tensor, by_decay: Mapping[float, sp.csr_array], items_Id: Tensor, held: Validation
) -> Weighing:
    """Return the decay and the weight with which a vector and its neighbour scores, [n, N] by each
    decay, rank best."""
    found = [
        one
        for decay, scores in by_decay.items()
        for one in _by_weight(users_nd, decay, scores, items_Id, held)
    ]
    return max(found, key=lambda one: one.ndcg)


def weigh_for_fusion(
    short: Part,
    long_nd: Tensor,
    by_decay: Mapping[float, sp.csr_array],
    items_Id: Tensor,
    held: Validation,
) -> Weighing:
    """Return the decay and the weight of the neighbour scores of histories, [n, N] by each decay.

    They are the best for the long-term vector alone, among those with which both vectors, fused by
    a constant, are not clearly worse than the best: neighbour scores that help the long-term vector
    most may only repeat the `short` part.
    """
    found: list[tuple[Weighing, NDArray[np.float64]]] = []
    for decay, scores in by_decay.items():
        alone = _by_weight(long_nd, decay, scores, items_Id, held)
        place = max(range(len(alone)), key=lambda number: alone[number].ndcg)
        tried = list(dict.fromkeys((alone[0], *alone[max(place - _LESS, 0) : place + 1])))
        shares = [
            np.hstack(fuse(alpha, np.ones(1), np.array([1.0, one.weight])))
            for one in tried
            for alpha in _CONSTANTS
        ]
        parts = [short, Part(long_nd), Part(None, scores)]
        gains_nA = gains(held.mixed_ranks(parts, np.array(shares), items_Id), K)
        for one, gains_nC in zip(tried, np.split(gains_nA, len(tried), axis=1), strict=True):
            found.append((one, gains_nC[:, gains_nC.mean(0).argmax()]))
    _, best_n = max(found, key=lambda one: float(one[1].mean()))
    as_good = [one for one, gains_n in found if not is_clearly_better(best_n, gains_n, _ERRORS)]
    return max(as_good, key=lambda one: one.ndcg)


def _by_weight(
    users_nd: Tensor, decay: float, scores: sp.csr_array, items_Id: Tensor, held: Validation
) -> list[Weighing]:
    """Return how a vector ranks with each weight of its neighbour scores."""
    shares_AP = np.stack([np.ones(len(_WEIGHTS)), np.array(_WEIGHTS)], axis=1)
    ranks_nA = held.mixed_ranks([Part(users_nd), Part(None, scores)], shares_AP, items_Id)
    ndcgs = gains(ranks_nA, K).mean(0).tolist()
    return [Weighing(decay, w, x, ndcgs[0]) for w, x in zip(_WEIGHTS, ndcgs, strict=True)]
