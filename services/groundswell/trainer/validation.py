"""How well vectors rank the held-out events: what early stopping and the fusion are chosen by."""

import math
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from groundswell.trainer.data import VALIDATION, Prepared
from groundswell.trainer.loss import is_large

_BATCH = 256
_BLOCK_ITEMS = 2**13
"""Of a large catalogue: scores that fit the processor's cache are counted several times faster."""
_MOST_SCORES = 2**31
_K = 10


def most_targets(num_items: int) -> int | None:
    """Return how many targets of a large catalogue may be ranked; None: any number.

    Fusion ranks them dozens of times, each time among all items.
    """
    return _MOST_SCORES // num_items if is_large(num_items) else None


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
        found = [torch.empty(0, dtype=torch.int64)]
        for start in range(0, len(self.events), _BATCH):
            some = slice(start, start + _BATCH)
            sparse = None if source is None else source[some]
            found.append(self._ranks(some, users_nd[some], items_Nd, sparse))
        return torch.cat(found)

    def _ranks(
        self, some: slice, users_Bd: Tensor, items_Nd: Tensor, source: sp.csr_array | None
    ) -> Tensor:
        """[B] ranks of some events' targets: how many items score as much, block by block."""
        targets_B = self.targets[some]
        rows_B = torch.arange(len(targets_B))
        seen_rows, seen_items = self._seen(self.events[some])
        own_B1: Tensor | None = None
        block = _BLOCK_ITEMS if is_large(len(items_Nd)) else len(items_Nd)
        if len(items_Nd) > block:
            own_B1 = (users_Bd @ items_Nd[targets_B].T).cpu().diagonal()[:, None]
            if source is not None:
                targets = self._prepared.items[self.events[some]]
                own = np.asarray(source[np.arange(len(targets)), targets]).reshape(-1, 1)
                own_B1 = (own_B1 + torch.from_numpy(own)).to(own_B1.dtype)
        added = None if source is None else source.tocsc()
        ranks_B = torch.zeros(len(targets_B), dtype=torch.int64)
        for begin in range(0, len(items_Nd), block):
            end = min(begin + block, len(items_Nd))
            scores_Bk = (users_Bd @ items_Nd[begin:end].T).cpu()
            if added is not None:
                here = added[:, begin:end].tocoo()
                scores_Bk.numpy()[here.row, here.col] += here.data
            scores_Bk[:, self._no_candidate[begin:end]] = -torch.inf
            if own_B1 is None:
                own_B1 = scores_Bk.gather(1, targets_B[:, None])
            here = (seen_items >= begin) & (seen_items < end)
            scores_Bk[seen_rows[here], seen_items[here] - begin] = -torch.inf
            here = (targets_B >= begin) & (targets_B < end)
            # A target is no worse than itself, however products of different shapes are rounded.
            scores_Bk[rows_B[here], targets_B[here] - begin] = torch.inf
            ranks_B += (scores_Bk >= own_B1).sum(1)
        return ranks_B

    def _seen(self, events: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return what users had before each event: places in `events`, and items."""
        begins = self._prepared.offsets[self._prepared.users[events]]
        lengths = events - begins
        rows = np.repeat(np.arange(len(events)), lengths)
        number = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        items = self._prepared.items[begins[rows] + number].astype(np.int64)
        return torch.from_numpy(rows), torch.from_numpy(items)

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
        """With `most` a seeded sample of so many targets: enough to see a better epoch by.

        Of a large catalogue it is a sample in any case, see `most_targets`.
        """
        events = np.flatnonzero(prepared.target == VALIDATION)
        limits = [limit for limit in (most, most_targets(prepared.num_items)) if limit is not None]
        most = min(limits, default=None)
        if most is not None and len(events) > most:
            events = np.sort(np.random.default_rng(0).choice(events, most, replace=False))
        super().__init__(prepared, events)


class Best:
    """Keeps a module's state of the best epoch, and says when to stop."""

    def __init__(self, patience: int, module: nn.Module) -> None:
        self.score = -math.inf
        self.epoch = 0
        self._patience = patience
        self._module = module
        self.kept: dict[str, Tensor] = {}

    def is_over(self, epoch: int, score: float) -> bool:
        """Take note of an epoch; True when there has been no better one for too long."""
        if score > self.score:
            self.score, self.epoch = score, epoch
            for name, value in self._module.state_dict().items():
                # In its place where there is one: the state may be as large as the catalogue.
                if name in self.kept:
                    self.kept[name].copy_(value)
                else:
                    self.kept[name] = value.detach().clone()
        return epoch - self.epoch >= self._patience

    def restore(self) -> None:
        """Put the module back into its best state."""
        self._module.load_state_dict(self.kept)
