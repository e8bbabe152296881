"""Chooses how the views are fused: the best constant, a learned gate, and which of them serves."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundswell.artifacts.manifest import FusionSpec
from groundswell.features.gate import GATE_FEATURES
from groundswell.models.fusion import FusionGate, fuse
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.loss import next_item_loss, sample_negatives, sampled_loss
from groundswell.trainer.run import Run
from groundswell.trainer.validation import Best, Validation

NAME = "gate"
_GRID = np.linspace(0, 1, 21)
_SHIFTS = np.linspace(-2, 2, 17)
_FEWEST_POSITIONS = 100
"""A gate is not learned from fewer."""
_BATCH = 256
_EPOCHS = 40
_LEARNING_RATE = 2e-3
_WEIGHT_DECAY = 1e-4
_CONSTANT_WITHOUT_VALIDATION = 0.7


class Views(NamedTuple):
    """Both views of n positions, and what the gate knows besides."""

    short: Tensor
    """[n, d]"""
    long: Tensor
    """[n, d]"""
    features: Tensor
    """[n, 3]"""


class Fused(NamedTuple):
    """The outcome."""

    gate: FusionGate
    spec: FusionSpec
    metrics: dict[str, float]

    @torch.inference_mode()
    def users(self, views: Views) -> Tensor:
        """[n, d] fused as the servers do by default."""
        alphas = _alphas(self.gate, views)
        if self.spec.mode == "constant":
            alphas = torch.full_like(alphas, self.spec.constant_alpha)
        return fuse(alphas, views.short, views.long)


def train_fusion(
    train: Views,
    targets_n: Tensor,
    held_out: Views,
    items_Id: Tensor,
    validation: Validation,
    run: Run,
) -> Fused:
    """Tune the constant on validation, train gates on frozen views, keep the best as default.

    The gates learn from `train`, positions that the views were not trained on. Without validation
    the constant is a default and nothing is learned.
    """
    alpha, constant = _tune_constant(held_out, items_Id, validation)
    low, high = _ranges(train)
    chosen = _gate(run.config, alpha, per_dimension=False, low=low, high=high).to(run.device)
    metrics: dict[str, float] = {}
    best = constant
    mode: Literal["learned", "constant"] = "constant"
    if validation:
        metrics["validation.constant.ndcg@10"] = constant
        for kind in _kinds(run.config.gate) if len(targets_n) >= _FEWEST_POSITIONS else ():
            gate = _gate(run.config, alpha, kind == "per-dimension", low, high).to(run.device)
            _train_gate(gate, train, targets_n, held_out, items_Id, validation, run)
            ndcg = _shift(gate, held_out, items_Id, validation)
            metrics[f"validation.{kind}.ndcg@10"] = ndcg
            if ndcg >= best or run.config.gate == kind:
                chosen, best, mode = gate, ndcg, "learned"
    spec = FusionSpec(
        mode=mode, constant_alpha=alpha, gate_low=_triple(low), gate_high=_triple(high)
    )
    fused = Fused(chosen.eval(), spec, metrics)
    if validation:
        metrics["validation.fused.alpha"] = float(_served_alphas(fused, held_out).mean())
        metrics["validation.fused.ndcg@10"] = best
    return fused


def _kinds(gate: str) -> tuple[str, ...]:
    if gate == "best":
        return ("scalar", "per-dimension")
    return () if gate == "constant" else (gate,)


def _gate(
    config: TrainConfig, alpha: float, per_dimension: bool, low: Tensor, high: Tensor
) -> FusionGate:
    gate = FusionGate(
        config.dimension,
        len(GATE_FEATURES),
        width=config.gate_width,
        per_dimension=per_dimension,
        alpha=alpha,
        dropout=config.dropout,
    )
    gate.fit(low, high)
    return gate


def _ranges(train: Views) -> tuple[Tensor, Tensor]:
    if len(train.features) == 0:
        return torch.zeros(len(GATE_FEATURES)), torch.ones(len(GATE_FEATURES))
    return train.features.amin(0), train.features.amax(0)


def _tune_constant(views: Views, items_Id: Tensor, validation: Validation) -> tuple[float, float]:
    if not validation:
        return _CONSTANT_WITHOUT_VALIDATION, 0.0
    scores = []
    for alpha in _GRID.tolist():
        users_nd = alpha * views.short + (1 - alpha) * views.long
        scores.append(validation.score(users_nd, items_Id).ndcg)
    place, ndcg = _smooth_best(scores)
    return round(float(_GRID[place]), 2), ndcg


def _train_gate(
    gate: FusionGate,
    train: Views,
    targets_n: Tensor,
    held_out: Views,
    items_Id: Tensor,
    validation: Validation,
    run: Run,
) -> None:
    """Train until the held-out targets' likelihood has its best: unlike NDCG, which lives by the
    few targets in reach, it hears from every position."""
    optimizer = torch.optim.Adam(gate.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    best = Best(run.config.patience, gate.state_dict)
    validation_targets_n = validation.targets.to(run.device)
    with run.stage(NAME, _EPOCHS) as stage:
        for epoch in range(1, _EPOCHS + 1):
            gate.train()
            losses = []
            for batch in torch.randperm(len(targets_n)).split(_BATCH):
                views = Views(*(x[batch] for x in train))
                users_nd = fuse(gate(*views), views.short, views.long)
                loss = _loss(users_nd, targets_n[batch], items_Id, run)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            gate.eval()
            with torch.inference_mode():
                users_nd = fuse(_alphas(gate, held_out), held_out.short, held_out.long)
                held_out_loss = _mean_loss(users_nd, validation_targets_n, items_Id, run)
            stage.report(epoch, float(np.mean(losses)), None)
            if best.is_over(epoch, -held_out_loss):
                break
    gate.load_state_dict(best.kept)
    run.epochs[NAME] = best.epoch


def _shift(gate: FusionGate, held_out: Views, items_Id: Tensor, validation: Validation) -> float:
    """Move all of a gate's weights up or down as validation prefers, as the constant is tuned."""
    start = gate.out.bias.detach().clone()
    scores = []
    for shift in _SHIFTS.tolist():
        with torch.no_grad():
            gate.out.bias.copy_(start + shift)
            users_nd = fuse(_alphas(gate, held_out), held_out.short, held_out.long)
            scores.append(validation.score(users_nd, items_Id).ndcg)
    place, ndcg = _smooth_best(scores)
    with torch.no_grad():
        gate.out.bias.copy_(start + _SHIFTS[place].item())
    return ndcg


def _smooth_best(scores: list[float]) -> tuple[int, float]:
    """Return the best place of a grid and its score: a point counts as the mean around it, since
    one above its neighbours is noise."""
    padded = np.pad(np.array(scores), 1, mode="edge")
    smooth: NDArray[np.float64] = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    best = int(np.argmax(smooth))
    return best, float(smooth[best])


def _mean_loss(users_nd: Tensor, targets_n: Tensor, items_Id: Tensor, run: Run) -> float:
    losses = [
        _loss(users, targets, items_Id, run).item() * len(targets)
        for users, targets in zip(users_nd.split(_BATCH), targets_n.split(_BATCH), strict=True)
    ]
    return sum(losses) / len(targets_n)


def _loss(users_nd: Tensor, targets_n: Tensor, items_Id: Tensor, run: Run) -> Tensor:
    negatives = sample_negatives(len(items_Id), run.config.negatives)
    if negatives is None:
        return next_item_loss(users_nd, targets_n, items_Id)
    negatives = negatives.to(run.device)
    is_target_nK = targets_n[:, None] == negatives[None, :]
    return sampled_loss(users_nd, items_Id[targets_n], items_Id[negatives], is_target_nK)


def _alphas(gate: FusionGate, views: Views) -> Tensor:
    low, high = gate.low_G, gate.low_G + gate.range_G
    alphas: Tensor = gate(views.short, views.long, views.features.clamp(low, high))
    return alphas


def _served_alphas(fused: Fused, views: Views) -> Tensor:
    if fused.spec.mode == "constant":
        return torch.tensor([fused.spec.constant_alpha])
    with torch.inference_mode():
        return _alphas(fused.gate, views)


def _triple(values: Tensor) -> tuple[float, float, float]:
    first, second, third = values.tolist()
    return first, second, third
