"""Chooses how the two vectors are fused: by the best constant or by a learned gate."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundswell.artifacts.manifest import FusionSpec
from groundswell.features.fusion import fuse, fused
from groundswell.features.gate import NUM_GATE_FEATURES
from groundswell.models.fusion import FusionGate
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.heads.fusing import EncodedUsers, alphas_of, fused_gains, smooth_best
from groundswell.trainer.heads.gate import (
    shift_to_validation,
    train_by_likelihood,
    train_scalar,
)
from groundswell.trainer.loop.run import Run
from groundswell.trainer.ranking.metrics import gains
from groundswell.trainer.ranking.validation import K, Part, Ranking, Validation, is_clearly_better

_GRID = np.linspace(0, 1, 21)
_FEWEST_POSITIONS = 100
"""A gate is not learned from fewer."""
_CONSTANT_WITHOUT_VALIDATION = 0.7
_START_FROM = 0.3


class TrainedFusion(NamedTuple):
    """A gate, how the bundle uses it, and the metrics of the choice."""

    gate: FusionGate
    spec: FusionSpec
    metrics: dict[str, float]

    @torch.inference_mode()
    def alphas(self, users: EncodedUsers) -> Tensor:
        """[n, 1 or d] the fusion weights that the servers use by default."""
        if self.spec.mode == "constant":
            return torch.full_like(users.gate_features[:, :1], self.spec.constant_alpha)
        return alphas_of(self.gate, users)

    @torch.inference_mode()
    def vectors(self, users: EncodedUsers) -> Tensor:
        """[n, d] fused as the servers do by default."""
        return fused(self.alphas(users), users.short_vectors, users.long_vectors)


def train_fusion(
    positions: Ranking,
    train: EncodedUsers,
    held_out: EncodedUsers,
    items_Id: Tensor,
    validation: Validation,
    run: Run,
) -> TrainedFusion:
    """Tune the constant on validation, train gates, keep the best as default.

    The gates learn from `train`, the users before `positions`; the encoders were not trained on
    those. Without validation the constant is a default and nothing is learned.

    The simpler rule serves unless another is clearly better: a constant needs to be clearly better
    than the short-term vector alone, a gate clearly better than the constant. The best of twenty
    constants exceeds the last one by chance alone.
    """
    low, high = _ranges(train)
    if not validation:
        gate = _gate(run.config, _CONSTANT_WITHOUT_VALIDATION, False, low, high)
        return TrainedFusion(
            gate.eval(), _spec("constant", _CONSTANT_WITHOUT_VALIDATION, low, high), {}
        )
    with run.work("constants"):
        held_out_ranks_nA = _ranks(validation, held_out, items_Id)
    constants_nA = gains(held_out_ranks_nA, K)
    place = smooth_best(constants_nA.mean(0).tolist())
    if not is_clearly_better(constants_nA[:, place], constants_nA[:, -1]):
        place = len(_GRID) - 1
    alpha, best_n = round(float(_GRID[place]), 2), constants_nA[:, place]
    metrics = {"validation.constant.ndcg@10": best_n.mean().item()}
    chosen, mode = _gate(run.config, alpha, False, low, high), "constant"
    for kind in _kinds(run.config.gate) if len(positions.events) >= _FEWEST_POSITIONS else ():
        gate = _gate(run.config, alpha, kind == "per-dimension", low, high).to(run.device)
        if kind == "scalar":
            with run.work("gate's targets"):
                ranks_nA = _ranks(positions, train, items_Id)
            train_scalar(gate, train, ranks_nA, held_out, held_out_ranks_nA, run)
        else:
            train_by_likelihood(gate, train, positions.targets, held_out, items_Id, validation, run)
            with run.work("gate's shift"):
                shift_to_validation(gate, held_out, items_Id, validation)
        gains_n = fused_gains(alphas_of(gate, held_out), held_out, items_Id, validation)
        metrics[f"validation.{kind}.ndcg@10"] = gains_n.mean().item()
        if is_clearly_better(gains_n, best_n) or run.config.gate == kind:
            chosen, best_n, mode = gate, gains_n, "learned"
    fusion = TrainedFusion(chosen.eval(), _spec(mode, alpha, low, high), metrics)
    metrics["validation.fused.alpha"] = float(fusion.alphas(held_out).mean())
    metrics["validation.fused.ndcg@10"] = best_n.mean().item()
    return fusion


def _spec(mode: str, alpha: float, low: Tensor, high: Tensor) -> FusionSpec:
    return FusionSpec.model_validate(
        {
            "mode": mode,
            "constant_alpha": alpha,
            "gate_low": low.tolist(),
            "gate_high": high.tolist(),
        }
    )


def _kinds(gate: str) -> tuple[str, ...]:
    if gate == "best":
        return ("scalar", "per-dimension")
    return () if gate == "constant" else (gate,)


def _gate(
    config: TrainConfig, alpha: float, per_dimension: bool, low: Tensor, high: Tensor
) -> FusionGate:
    # Near 0 or 1 a gate hardly moves.
    start = min(max(alpha, _START_FROM), 1 - _START_FROM)
    gate = FusionGate(
        config.dimension,
        NUM_GATE_FEATURES,
        width=config.gate_width,
        per_dimension=per_dimension,
        alpha=start,
        dropout=config.dropout,
    )
    gate.fit(low, high)
    return gate


def _ranges(train: EncodedUsers) -> tuple[Tensor, Tensor]:
    if len(train.gate_features) == 0:
        return torch.zeros(NUM_GATE_FEATURES), torch.ones(NUM_GATE_FEATURES)
    return train.gate_features.amin(0), train.gate_features.amax(0)


def constant_gains(
    positions: Ranking, users: EncodedUsers, items_Id: Tensor
) -> NDArray[np.float64]:
    """[n, A] what each position adds to the NDCG@10 with each constant of the grid."""
    return gains(_ranks(positions, users, items_Id), K)


def _ranks(positions: Ranking, users: EncodedUsers, items_Id: Tensor) -> NDArray[np.int64]:
    """[n, A] rank of each position's target with each constant of the grid."""
    vectors = users.short_vectors, users.long_vectors
    parts = [Part(*both) for both in zip(vectors, users.neighbour_scores, strict=True)]
    return positions.mixed_ranks(parts, np.stack(fuse(_GRID, 1.0, 1.0), axis=1), items_Id)
