"""Users before given events, and how well they rank when fused by given weights."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundswell.features.fusion import fused, mean_weight
from groundswell.models.fusion import FusionGate
from groundswell.trainer.neighbours.cooccurrence import NeighbourScores
from groundswell.trainer.ranking.metrics import gains
from groundswell.trainer.ranking.validation import K, Ranking


class EncodedUsers(NamedTuple):
    """What the trained encoders and neighbours give for the users of n events."""

    short_vectors: Tensor
    """[n, d]"""
    long_vectors: Tensor
    """[n, d]"""
    gate_features: Tensor
    """[n, G]"""
    neighbour_scores: NeighbourScores
    """[n, N] by window and by history."""

    def take(self, rows_b: Tensor) -> "EncodedUsers":
        """Return some of the users."""
        return EncodedUsers(
            self.short_vectors[rows_b],
            self.long_vectors[rows_b],
            self.gate_features[rows_b],
            self.neighbour_scores.take(rows_b.cpu().numpy()),
        )


def alphas_of(gate: FusionGate, users: EncodedUsers) -> Tensor:
    """[n, d] the fusion weights of a gate, whose features are clamped as in serving."""
    low, high = gate.low_G, gate.low_G + gate.range_G
    clamped = users.gate_features.clamp(low, high)
    alphas: Tensor = gate(users.short_vectors, users.long_vectors, clamped)
    return alphas


@torch.no_grad()
def fused_gains(
    alphas_nd: Tensor, users: EncodedUsers, items_Id: Tensor, positions: Ranking
) -> NDArray[np.float64]:
    """[n] what each position adds to the NDCG@10 when its user is fused by weights [n, 1 or d]."""
    users_nd = fused(alphas_nd, users.short_vectors, users.long_vectors)
    weights_n1 = mean_weight(alphas_nd).double().cpu().numpy()
    added = fused(weights_n1, *users.neighbour_scores)
    return gains(positions.ranks(users_nd, items_Id, added), K)


def smooth_best(scores: list[float]) -> int:
    """Return the best place of a grid: a point counts as the mean around it, since one above its
    neighbours is noise."""
    padded = np.pad(np.array(scores), 1, mode="edge")
    smooth: NDArray[np.float64] = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return int(np.argmax(smooth))
