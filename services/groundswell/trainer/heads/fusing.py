"""Both views of a user and their sources, put together by given weights."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundswell.models.fusion import FusionGate, fuse
from groundswell.trainer.neighbours.cooccurrence import Sources
from groundswell.trainer.ranking.metrics import gains
from groundswell.trainer.ranking.validation import K, Ranking


class Views(NamedTuple):
    """Both views of n positions, and what the gate knows besides."""

    short: Tensor
    """[n, d]"""
    long: Tensor
    """[n, d]"""
    features: Tensor
    """[n, 3]"""
    sources: Sources
    """Of both."""

    def take(self, rows_b: Tensor) -> "Views":
        """Return some of the positions."""
        sources = self.sources.take(rows_b.cpu().numpy())
        return Views(self.short[rows_b], self.long[rows_b], self.features[rows_b], sources)


def alphas_of(gate: FusionGate, views: Views) -> Tensor:
    """[n, d] what a gate weighs the short-term view with, its features clamped as in serving."""
    low, high = gate.low_G, gate.low_G + gate.range_G
    alphas: Tensor = gate(views.short, views.long, views.features.clamp(low, high))
    return alphas


def fused_source(alphas_nd: Tensor, sources: Sources) -> sp.csr_array:
    """Return [n, N] both sources, weighed as their views are."""
    alphas_n1 = alphas_nd.mean(-1, keepdim=True).double().cpu().numpy()
    return sources.short.multiply(alphas_n1) + sources.long.multiply(1 - alphas_n1)


@torch.no_grad()
def fused_gains(
    alphas_nd: Tensor, views: Views, items_Id: Tensor, positions: Ranking
) -> NDArray[np.float64]:
    """[n] what each position adds to the NDCG@10 of both views and their sources, fused with
    weights [n, 1 or d]."""
    source = fused_source(alphas_nd, views.sources)
    users_nd = fuse(alphas_nd, views.short, views.long)
    return gains(positions.ranks(users_nd, items_Id, source), K)


def smooth_best(scores: list[float]) -> int:
    """Return the best place of a grid: a point counts as the mean around it, since one above its
    neighbours is noise."""
    padded = np.pad(np.array(scores), 1, mode="edge")
    smooth: NDArray[np.float64] = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return int(np.argmax(smooth))
