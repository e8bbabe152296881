"""How well vectors rank the held-out events: what early stopping and the fusion are chosen by."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundswell.trainer.data import VALIDATION, Prepared

_BATCH = 256
_K = 10


class Score(NamedTuple):
    """Means over the validation targets."""

    ndcg: float
    """NDCG@10."""
    hit_rate: float
    """HR@10."""


class Validation:
    """The validation targets of a prepared log, ranked among all items with an event.

    What the user had before is excluded; a target among it is left out. Ties count against it.
    """

    def __init__(self, prepared: Prepared, most: int | None = None) -> None:
        """With `most` a seeded sample of so many targets: enough to see a better epoch by."""
        self._prepared = prepared
        events = np.flatnonzero(prepared.target == VALIDATION)
        if most is not None and len(events) > most:
            events = np.sort(np.random.default_rng(0).choice(events, most, replace=False))
        begins = prepared.offsets[prepared.users[events]]
        fresh = [
            begin < event and prepared.items[event] not in prepared.items[begin:event]
            for begin, event in zip(begins.tolist(), events.tolist(), strict=True)
        ]
        self.events: NDArray[np.int64] = events[np.array(fresh, bool)]
        """[n] positions in [0, E)."""
        self.targets = torch.from_numpy(prepared.items[self.events].astype(np.int64))
        """[n] items."""
        counts = np.bincount(prepared.items, minlength=prepared.num_items)
        self._no_candidate = torch.from_numpy(counts == 0)

    def __bool__(self) -> bool:
        return len(self.events) > 0

    def score(self, users_nd: Tensor, items_Nd: Tensor) -> Score:
        """Rank by users [n, d] · items [N, d], in the order of `events`."""
        gains, hits = [], []
        for start in range(0, len(self.events), _BATCH):
            events = self.events[start : start + _BATCH]
            scores_BN = (users_nd[start : start + _BATCH] @ items_Nd.T).cpu()
            scores_BN[:, self._no_candidate] = -torch.inf
            targets_B1 = self.targets[start : start + _BATCH, None]
            own_B1 = scores_BN.gather(1, targets_B1)
            for row, event in enumerate(events.tolist()):
                begin = self._prepared.offsets[self._prepared.users[event]]
                scores_BN[row, self._prepared.items[begin:event].astype(np.int64)] = -torch.inf
            better_B = (scores_BN >= own_B1).sum(1) - 1
            hit_B = (better_B < _K).double()
            hits.append(hit_B)
            gains.append(hit_B / torch.log2(better_B.double() + 2))
        return Score(torch.cat(gains).mean().item(), torch.cat(hits).mean().item())


class Best:
    """Keeps the state of the best epoch, and says when to stop."""

    def __init__(self, patience: int, state: Callable[[], dict[str, Tensor]]) -> None:
        self.score = -math.inf
        self.epoch = 0
        self._patience = patience
        self._state = state
        self.kept: dict[str, Tensor] = {}

    def is_over(self, epoch: int, score: float) -> bool:
        """Take note of an epoch; True when there has been no better one for too long."""
        if score > self.score:
            self.score, self.epoch = score, epoch
            self.kept = {name: value.detach().clone() for name, value in self._state().items()}
        return epoch - self.epoch >= self._patience
