"""How well vectors rank the held-out events: what early stopping and the fusion are chosen by."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
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


class Ranking:
    """Some events' items, ranked among all items with an event.

    What the user had before is excluded; an event on such an item is left out, and so is a user's
    first. Ties count against a target.
    """

    def __init__(self, prepared: Prepared, events: NDArray[np.int64]) -> None:
        self._prepared = prepared
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

    def ranks(
        self, users_nd: Tensor, items_Nd: Tensor, source: sp.csr_array | None = None
    ) -> Tensor:
        """Rank by users [n, d] · items [N, d], plus a `source` [n, N], in the order of `events`.

        Returns [n] ranks from 1.
        """
        found = []
        for start in range(0, len(self.events), _BATCH):
            events = self.events[start : start + _BATCH]
            scores_BN = (users_nd[start : start + _BATCH] @ items_Nd.T).cpu()
            if source is not None:
                scores_BN += torch.from_numpy(source[start : start + _BATCH].toarray())
            scores_BN[:, self._no_candidate] = -torch.inf
            own_B1 = scores_BN.gather(1, self.targets[start : start + _BATCH, None])
            for row, event in enumerate(events.tolist()):
                begin = self._prepared.offsets[self._prepared.users[event]]
                scores_BN[row, self._prepared.items[begin:event].astype(np.int64)] = -torch.inf
            found.append((scores_BN >= own_B1).sum(1))
        return torch.cat(found) if found else torch.empty(0, dtype=torch.int64)

    def score(
        self, users_nd: Tensor, items_Nd: Tensor, source: sp.csr_array | None = None
    ) -> Score:
        """Return the means of what `ranks` finds."""
        ranks = self.ranks(users_nd, items_Nd, source)
        return Score(gains(ranks).mean().item(), (ranks <= _K).double().mean().item())


def gains(ranks: Tensor) -> Tensor:
    """[...] ranks from 1 → [...] what each adds to NDCG@10."""
    return (ranks <= _K) / torch.log2(ranks.double() + 1)


class Validation(Ranking):
    """The validation targets of a prepared log."""

    def __init__(self, prepared: Prepared, most: int | None = None) -> None:
        """With `most` a seeded sample of so many targets: enough to see a better epoch by."""
        events = np.flatnonzero(prepared.target == VALIDATION)
        if most is not None and len(events) > most:
            events = np.sort(np.random.default_rng(0).choice(events, most, replace=False))
        super().__init__(prepared, events)


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
