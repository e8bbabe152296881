"""Counts what follows what, and weighs what it says beside each view's scores, by validation."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from torch import Tensor

from groundswell.artifacts.manifest import NeighbourSpec
from groundswell.trainer.neighbours import (
    DECAYS,
    HISTORY_DECAYS,
    WINDOW_LENGTH,
    NeighbourTable,
    Reading,
    Sources,
    following,
    history_source,
    neighbour_table,
    window_source,
)
from groundswell.trainer.sampling import TrainingLog
from groundswell.trainer.validation import Part, Validation, gains

_WEIGHTS = (0.0, *(2.0**power for power in range(-1, 7)))


class Weighing(NamedTuple):
    """How a view's source of neighbours counts beside its scores."""

    decay: float
    """Of its reading."""
    weight: float
    ndcg: float = 0.0
    """NDCG@10 on validation."""
    ndcg_alone: float = 0.0
    """Without the source."""


class SourcesStage:
    """The sources of neighbours of both views; they weigh nothing before they are weighed."""

    def __init__(self, log: TrainingLog, window_length: int) -> None:
        self._prepared = log.prepared
        # What is kept for the gate is not counted: its sources must know as little as its views.
        self._similarities = following(log.prepared, log.is_target)
        self._length = min(WINDOW_LENGTH, window_length)
        self._short, self._long = Weighing(DECAYS[0], 0.0), Weighing(HISTORY_DECAYS[0], 0.0)

    def weigh(
        self, short_nd: Tensor, long_nd: Tensor, items_Id: Tensor, validation: Validation
    ) -> dict[str, float]:
        """Choose how the sources are read and weighed, each for its own view alone; return what the
        views reach with and without them. Views are those before the events of validation."""
        events = validation.events
        short_by = {decay: self._window(events, decay) for decay in DECAYS}
        self._short = weigh_source(short_nd, short_by, items_Id, validation)
        del short_by
        long_by = {decay: self._history(events, decay) for decay in HISTORY_DECAYS}
        self._long = weigh_source(long_nd, long_by, items_Id, validation)
        return {
            "validation.short.ndcg@10": self._short.ndcg,
            "validation.short-without-neighbours.ndcg@10": self._short.ndcg_alone,
            "validation.long.ndcg@10": self._long.ndcg,
            "validation.long-without-neighbours.ndcg@10": self._long.ndcg_alone,
        }

    def before(self, events: NDArray[np.int64]) -> Sources:
        """Return what they add to the scores of both views before each event."""
        short = self._window(events, self._short.decay)
        long = self._history(events, self._long.decay)
        return Sources(short, long).weighed(self._short.weight, self._long.weight)

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
        return window_source(self._prepared, self._similarities, events, reading)

    def _history(self, events: NDArray[np.int64], decay: float) -> sp.csr_array:
        return history_source(self._prepared, self._similarities, events, decay)


def weigh_source(
    users_nd: Tensor, by_decay: Mapping[float, sp.csr_array], items_Id: Tensor, held: Validation
) -> Weighing:
    """Return the decay and the weight that validation prefers for a view's source, which is
    [n, N] by each decay."""
    shares_AP = np.stack([np.ones(len(_WEIGHTS)), np.array(_WEIGHTS)], axis=1)
    best: Weighing | None = None
    for decay, source in by_decay.items():
        ranks_nA = held.mixed_ranks([Part(users_nd), Part(None, source)], shares_AP, items_Id)
        ndcgs = gains(ranks_nA).mean(0).tolist()
        place = int(np.argmax(ndcgs))
        if best is None or ndcgs[place] > best.ndcg:
            best = Weighing(decay, _WEIGHTS[place], ndcgs[place], ndcgs[0])
    assert best is not None
    return best
