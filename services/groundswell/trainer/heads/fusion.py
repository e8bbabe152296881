"""Chooses how the views are fused: the best constant, a learned gate, and which of them serves."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundswell.artifacts.manifest import FusionSpec
from groundswell.features.gate import NUM_GATE_FEATURES
from groundswell.models.fusion import FusionGate, fuse
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.heads.fusing import Views, alphas_of, fused_gains, smooth_best
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


class Fused(NamedTuple):
    """The outcome."""

    gate: FusionGate
    spec: FusionSpec
    metrics: dict[str, float]

    @torch.inference_mode()
    def users(self, views: Views) -> Tensor:
        """[n, d] fused as the servers do by default."""
        alphas = alphas_of(self.gate, views)
        if self.spec.mode == "constant":
            alphas = torch.full_like(alphas, self.spec.constant_alpha)
        return fuse(alphas, views.short, views.long)


def train_fusion(
    positions: Ranking,
    train: Views,
    held_out: Views,
    items_Id: Tensor,
    validation: Validation,
    run: Run,
) -> Fused:
    """Tune the constant on validation, train gates on frozen views, keep the best as default.

    The gates learn from `train`, the views before `positions`, which the views were not trained on.
    Without validation the constant is a default and nothing is learned.

    What fuses by more rules must earn them: a constant serves when it is clearly better than the
    short-term view alone, a gate when it is clearly better than the constant. The best of twenty
    constants is above the last one by chance alone, and where a history says nothing new any other
    one loses.
    """
    low, high = _ranges(train)
    if not validation:
        gate = _gate(run.config, _CONSTANT_WITHOUT_VALIDATION, False, low, high)
        return Fused(gate.eval(), _spec("constant", _CONSTANT_WITHOUT_VALIDATION, low, high), {})
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
            ranks_nA = _ranks(positions, train, items_Id)
            train_scalar(gate, train, ranks_nA, held_out, held_out_ranks_nA, run)
        else:
            train_by_likelihood(gate, train, positions.targets, held_out, items_Id, validation, run)
            shift_to_validation(gate, held_out, items_Id, validation)
        gains_n = fused_gains(alphas_of(gate, held_out), held_out, items_Id, validation)
        metrics[f"validation.{kind}.ndcg@10"] = gains_n.mean().item()
        if is_clearly_better(gains_n, best_n) or run.config.gate == kind:
            chosen, best_n, mode = gate, gains_n, "learned"
    fused = Fused(chosen.eval(), _spec(mode, alpha, low, high), metrics)
    metrics["validation.fused.alpha"] = float(_served_alphas(fused, held_out).mean())
    metrics["validation.fused.ndcg@10"] = best_n.mean().item()
    return fused


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


def _ranges(train: Views) -> tuple[Tensor, Tensor]:
    if len(train.features) == 0:
        return torch.zeros(NUM_GATE_FEATURES), torch.ones(NUM_GATE_FEATURES)
    return train.features.amin(0), train.features.amax(0)


def _ranks(positions: Ranking, views: Views, items_Id: Tensor) -> NDArray[np.int64]:
    """[n, A] rank of each position's target with each constant of the grid."""
    sources = views.sources
    sides = [Part(views.short, sources.short), Part(views.long, sources.long)]
    return positions.mixed_ranks(sides, np.stack([_GRID, 1 - _GRID], axis=1), items_Id)


def _served_alphas(fused: Fused, views: Views) -> Tensor:
    if fused.spec.mode == "constant":
        return torch.tensor([fused.spec.constant_alpha])
    with torch.inference_mode():
        return alphas_of(fused.gate, views)
