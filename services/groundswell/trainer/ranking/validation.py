"""Ranks validation targets by vectors and neighbours: early stopping and tuning go by it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundswell.trainer.dataset.prepared import VALIDATION, Prepared
from groundswell.trainer.loop.losses import is_large
from groundswell.trainer.ranking.metrics import gains
from groundswell.trainer.ranking.targets import events_before, is_new

_BATCH = 256
_BLOCK_ITEMS = 2**13
"""Of a large catalogue: scores that fit the processor's cache are counted several times faster."""
_MOST_SCORES = 2**31
K = 10
"""Of the NDCG that epochs, weights and settings are chosen by."""


def most_targets(num_items: int) -> int | None:
    """Return how many targets of a large catalogue may be ranked; None: any number.

    Fusion ranks them dozens of times, each time among all items.
    """
    return _MOST_SCORES // num_items if is_large(num_items) else None


class Part(NamedTuple):
    """A part of some events' scores: users · items, or neighbour scores, or their sum."""

    users: Tensor | None
    """[n, d]"""
    added: Any = None
    """[n, N], sparse."""

    def take(self, some: slice) -> "Part":
        """Return it of some of the events."""
        users, added = self
        return Part(None if users is None else users[some], None if added is None else added[some])

    def by_column(self) -> "Part":
        """Return it with neighbour scores that are fast to cut by items."""
        return self if self.added is None else self._replace(added=self.added.tocsc())

    def scores(self, items_Nd: Tensor, begin: int, end: int) -> Tensor:
        """[n, end - begin] scores of a range of the items [N, d]."""
        added: Any = None if self.added is None else self.added[:, begin:end]
        if self.users is None:
            return torch.from_numpy(added.toarray())
        found = (self.users @ items_Nd[begin:end].T).cpu()
        if added is not None:
            added = added.tocoo()
            found.numpy()[added.row, added.col] += added.data
        return found

    def scores_of(self, targets_n: Tensor, items_Nd: Tensor) -> Tensor:
        """[n] scores of one of the items for each event."""
        found = torch.zeros(len(targets_n))
        if self.users is not None:
            found += (self.users * items_Nd[targets_n.to(items_Nd.device)]).sum(-1).cpu()
        if self.added is not None:
            # A copy: SciPy indexes by no array whose memory is PyTorch's.
            targets = targets_n.numpy().copy()
            own = np.asarray(self.added[np.arange(len(targets)), targets]).ravel()
            found += torch.from_numpy(own)
        return found


class Ranking:
    """Some events' items, ranked among all items with an event.

    What the user had before is excluded; an event on such an item is left out, and so is a user's
    first. Ties count against a target.
    """

    def __init__(self, prepared: Prepared, events: NDArray[np.int64]) -> None:
        self._prepared = prepared
        has_past = events > prepared.offsets[prepared.users[events]]
        self.events: NDArray[np.int64] = events[has_past & is_new(prepared)[events]]
        """[n] positions in [0, E)."""
        self.targets = torch.from_numpy(prepared.items[self.events].astype(np.int64))
        """[n] items."""
        counts = np.bincount(prepared.items, minlength=prepared.num_items)
        self._no_candidate = torch.from_numpy(counts == 0)

    def __bool__(self) -> bool:
        return len(self.events) > 0

    def ranks(
        self, users_nd: Tensor, items_Nd: Tensor, added: sp.csr_array | None = None
    ) -> NDArray[np.int64]:
        """Rank by users [n, d] · items [N, d], plus neighbour scores `added` [n, N].

        Returns [n] ranks from 1, in the order of `events`.
        """
        return self.mixed_ranks([Part(users_nd, added)], np.ones((1, 1)), items_Nd)[:, 0]

    def mixed_ranks(
        self, parts: Sequence[Part], shares_AP: NDArray[np.floating], items_Nd: Tensor
    ) -> NDArray[np.int64]:
        """Rank by each of A mixtures of P parts, as `ranks` does: [n, A]."""
        found = [torch.empty((0, len(shares_AP)), dtype=torch.int64)]
        for start in range(0, len(self.events), _BATCH):
            some = slice(start, start + _BATCH)
            found.append(
                self._ranks(some, [part.take(some) for part in parts], shares_AP, items_Nd)
            )
        return torch.cat(found).numpy()

    def _ranks(
        self, some: slice, parts: list[Part], shares_AP: NDArray[np.floating], items_Nd: Tensor
    ) -> Tensor:
        """[B, A] ranks of some events' targets: how many items score as much, block by block."""
        targets_B = self.targets[some]
        rows_B = torch.arange(len(targets_B))
        seen_rows, seen_items = self._seen(self.events[some])
        own_PB: list[Tensor] = []
        block = _BLOCK_ITEMS if is_large(len(items_Nd)) else len(items_Nd)
        if len(items_Nd) > block:
            own_PB = [part.scores_of(targets_B, items_Nd) for part in parts]
        parts = [part.by_column() for part in parts]
        ranks_BA = torch.ones((len(targets_B), len(shares_AP)), dtype=torch.int64)
        for begin in range(0, len(items_Nd), block):
            end = min(begin + block, len(items_Nd))
            scores_PBk = [part.scores(items_Nd, begin, end) for part in parts]
            own_PB = own_PB or [x.gather(1, targets_B[:, None])[:, 0] for x in scores_PBk]
            counts_Bk = ~self._no_candidate[begin:end].repeat(len(targets_B), 1)
            here = (seen_items >= begin) & (seen_items < end)
            counts_Bk[seen_rows[here], seen_items[here] - begin] = False
            # A target is no worse than itself, however products of different shapes are rounded.
            here = (targets_B >= begin) & (targets_B < end)
            counts_Bk[rows_B[here], targets_B[here] - begin] = False
            for number, shares_P in enumerate(shares_AP.tolist()):
                own_B1 = _mixed(own_PB, shares_P)[:, None]
                ranks_BA[:, number] += (counts_Bk & (_mixed(scores_PBk, shares_P) >= own_B1)).sum(1)
        return ranks_BA

    def _seen(self, events: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return what users had before each event: places in `events`, and items."""
        before = events_before(self._prepared, events)
        items = self._prepared.items[before.columns].astype(np.int64)
        return torch.from_numpy(before.rows), torch.from_numpy(items)

    def ndcg(self, users_nd: Tensor, items_Nd: Tensor) -> float:
        """Return the NDCG@10 of users [n, d] · items [N, d]."""
        return float(gains(self.ranks(users_nd, items_Nd), K).mean())


def _mixed(values_P: list[Tensor], shares_P: list[float]) -> Tensor:
    mixed = values_P[0] * shares_P[0]
    for values, share in zip(values_P[1:], shares_P[1:], strict=True):
        mixed.add_(values, alpha=share)
    return mixed


def is_clearly_better(
    gains_n: NDArray[np.float64], others_n: NDArray[np.float64], errors: float = 1.0
) -> bool:
    """True when [n] gains are above others by more than so many standard errors of the difference.

    After Breiman et al. 1984, section 3.4.3: a difference within one standard error decides
    nothing. The best of many candidates can exceed another by more than one by chance.
    """
    more_n = gains_n - others_n
    if len(more_n) < 2:
        return False
    return bool(more_n.mean() > errors * more_n.std(ddof=1) / len(more_n) ** 0.5)


class Validation(Ranking):
    """The validation targets of a prepared log."""

    def __init__(self, prepared: Prepared, most: int | None = None) -> None:
        """With `most` a seeded sample of at most so many targets, which suffice to compare epochs.

        Of a large catalogue it is a sample in any case, see `most_targets`.
        """
        events = np.flatnonzero(prepared.target == VALIDATION)
        limits = [limit for limit in (most, most_targets(prepared.num_items)) if limit is not None]
        most = min(limits, default=None)
        if most is not None and len(events) > most:
            events = np.sort(np.random.default_rng(0).choice(events, most, replace=False))
        super().__init__(prepared, events)
