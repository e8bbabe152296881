"""Chooses how the views are fused: the best constant, a learned gate, and which of them serves."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from groundswell.artifacts.manifest import FusionSpec
from groundswell.features.gate import GATE_FEATURES
from groundswell.models.fusion import FusionGate, fuse
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.fusing import Views, alphas_of, fused_source, smooth_best
from groundswell.trainer.gate_training import (
    shift_to_validation,
    train_by_likelihood,
    train_scalar,
)
from groundswell.trainer.neighbours import Reading
from groundswell.trainer.run import Run
from groundswell.trainer.validation import Ranking, Validation, gains

_GRID = np.linspace(0, 1, 21)
_WEIGHTS = (0.0, *(2.0**power for power in range(-1, 7)))
"""Of a source of neighbours beside its view's scores."""
_FEWEST_POSITIONS = 100
"""A gate is not learned from fewer."""
_CONSTANT_WITHOUT_VALIDATION = 0.7
_START_FROM = 0.3


class Fused(NamedTuple):
    """The outcome."""

    gate: FusionGate
    spec: FusionSpec
    metrics: dict[str, float]

    @property
    def ndcg(self) -> float:
        """NDCG@10 on validation; 0 without one."""
        return self.metrics.get("validation.fused.ndcg@10", 0.0)

    @torch.inference_mode()
    def users(self, views: Views) -> Tensor:
        """[n, d] fused as the servers do by default."""
        alphas = alphas_of(self.gate, views)
        if self.spec.mode == "constant":
            alphas = torch.full_like(alphas, self.spec.constant_alpha)
        return fuse(alphas, views.short, views.long)


class Weighing(NamedTuple):
    """How the sources of neighbours count beside their views' scores."""

    window: Reading
    """By the short-term source."""
    short: float
    long: float


def weigh_sources(
    views: Views, short_by: Mapping[Reading, sp.csr_array], items_Id: Tensor, held: Validation
) -> tuple[Weighing, dict[str, float]]:
    """Return the reading and the weights that validation prefers, and what they reach: of the
    short-term source [n, N] by each reading, and of the long-term one, each for its own view alone.
    Without validation they weigh nothing."""
    if not held:
        return Weighing(next(iter(short_by)), 0.0, 0.0), {}

    def best(users_nd: Tensor, source: sp.csr_array) -> tuple[float, float, float]:
        """Return the best score, its weight, and the score without the source."""
        scores = [held.score(users_nd, items_Id, source * w).ndcg for w in _WEIGHTS]
        place = int(np.argmax(scores))
        return scores[place], _WEIGHTS[place], scores[0]

    found = {reading: best(views.short, source) for reading, source in short_by.items()}
    window = max(found, key=lambda reading: found[reading])
    short_ndcg, short, short_alone = found[window]
    long_ndcg, long, long_alone = best(views.long, views.sources.long)
    metrics = {
        "validation.short.ndcg@10": short_ndcg,
        "validation.short-without-neighbours.ndcg@10": short_alone,
        "validation.long.ndcg@10": long_ndcg,
        "validation.long-without-neighbours.ndcg@10": long_alone,
    }
    return Weighing(window, short, long), metrics


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
    """
    low, high = _ranges(train)
    if not validation:
        gate = _gate(run.config, _CONSTANT_WITHOUT_VALIDATION, False, low, high)
        return Fused(gate.eval(), _spec("constant", _CONSTANT_WITHOUT_VALIDATION, low, high), {})
    held_out_ranks_nA = _ranks(validation, held_out, items_Id)
    constants = gains(held_out_ranks_nA).mean(0).tolist()
    place = smooth_best(constants)
    alpha, constant = round(float(_GRID[place]), 2), constants[place]
    metrics = {"validation.constant.ndcg@10": constant}
    chosen = _gate(run.config, alpha, False, low, high)
    best, mode = constant, "constant"
    for kind in _kinds(run.config.gate) if len(positions.events) >= _FEWEST_POSITIONS else ():
        gate = _gate(run.config, alpha, kind == "per-dimension", low, high).to(run.device)
        if kind == "scalar":
            ranks_nA = _ranks(positions, train, items_Id)
            ndcg = train_scalar(gate, train, ranks_nA, held_out, held_out_ranks_nA, run)
        else:
            train_by_likelihood(gate, train, positions.targets, held_out, items_Id, validation, run)
            ndcg = shift_to_validation(gate, held_out, items_Id, validation)
        metrics[f"validation.{kind}.ndcg@10"] = ndcg
        if ndcg >= best or run.config.gate == kind:
            chosen, best, mode = gate, ndcg, "learned"
    fused = Fused(chosen.eval(), _spec(mode, alpha, low, high), metrics)
    metrics["validation.fused.alpha"] = float(_served_alphas(fused, held_out).mean())
    metrics["validation.fused.ndcg@10"] = best
    return fused


def _spec(mode: str, alpha: float, low: Tensor, high: Tensor) -> FusionSpec:
    return FusionSpec.model_validate(
        {
            "mode": mode,
            "constant_alpha": alpha,
            "gate_low": _triple(low),
            "gate_high": _triple(high),
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
        len(GATE_FEATURES),
        width=config.gate_width,
        per_dimension=per_dimension,
        alpha=start,
        dropout=config.dropout,
    )
    gate.fit(low, high)
    return gate


def _ranges(train: Views) -> tuple[Tensor, Tensor]:
    if len(train.features) == 0:
        return torch.zeros(len(GATE_FEATURES)), torch.ones(len(GATE_FEATURES))
    return train.features.amin(0), train.features.amax(0)


def _ranks(positions: Ranking, views: Views, items_Id: Tensor) -> Tensor:
    """[n, A] rank of each position's target with each constant of the grid."""
    columns = []
    for alpha in _GRID.tolist():
        alphas_n1 = torch.full((len(views.short), 1), alpha, device=views.short.device)
        source = fused_source(alphas_n1, views.sources)
        users_nd = fuse(alphas_n1, views.short, views.long)
        columns.append(positions.ranks(users_nd, items_Id, source))
    return torch.stack(columns, 1)


def _served_alphas(fused: Fused, views: Views) -> Tensor:
    if fused.spec.mode == "constant":
        return torch.tensor([fused.spec.constant_alpha])
    with torch.inference_mode():
        return alphas_of(fused.gate, views)


def _triple(values: Tensor) -> tuple[float, float, float]:
    first, second, third = values.tolist()
    return first, second, third
