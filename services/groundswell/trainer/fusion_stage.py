"""Chooses how the views are fused: the best constant, a learned gate, and which of them serves."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundswell.artifacts.manifest import FusionSpec
from groundswell.features.gate import GATE_FEATURES
from groundswell.models.fusion import FusionGate, fuse
from groundswell.trainer.loss import next_item_loss, sample_negatives, sampled_loss
from groundswell.trainer.run import Run
from groundswell.trainer.validation import Best, Validation

NAME = "gate"
_GRID = np.linspace(0, 1, 21)
_BATCH = 512
_EPOCHS = 12
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
    """Tune the constant on validation, train the gate on frozen views, keep the better as default.

    Without validation the constant is a default and nothing is learned.
    """
    config = run.config
    alpha, constant = _tune_constant(held_out, items_Id, validation)
    gate = FusionGate(
        config.dimension,
        len(GATE_FEATURES),
        width=config.gate_width,
        per_dimension=config.gate == "per-dimension",
        alpha=alpha,
        dropout=config.dropout,
    ).to(run.device)
    low, high = train.features.amin(0), train.features.amax(0)
    gate.fit(low, high)
    metrics: dict[str, float] = {}
    learned = -1.0
    if validation:
        metrics["validation.constant.ndcg@10"] = constant
        if config.gate != "constant":
            learned = _train_gate(gate, train, targets_n, held_out, items_Id, validation, run)
            metrics["validation.learned.ndcg@10"] = learned
    spec = FusionSpec(
        mode="learned" if learned >= constant else "constant",
        constant_alpha=alpha,
        gate_low=_triple(low),
        gate_high=_triple(high),
    )
    fused = Fused(gate.eval(), spec, metrics)
    if validation:
        metrics["validation.fused.alpha"] = float(_served_alphas(fused, held_out).mean())
        metrics["validation.fused.ndcg@10"] = max(learned, constant)
    return fused


def _tune_constant(views: Views, items_Id: Tensor, validation: Validation) -> tuple[float, float]:
    if not validation:
        return _CONSTANT_WITHOUT_VALIDATION, 0.0
    scores = {}
    for alpha in _GRID.tolist():
        users_nd = alpha * views.short + (1 - alpha) * views.long
        scores[round(alpha, 2)] = validation.score(users_nd, items_Id).ndcg
    # One grid point above its neighbours is noise: a point counts as the mean around it.
    values = np.array(list(scores.values()))
    padded = np.pad(values, 1, mode="edge")
    smooth: NDArray[np.float64] = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    best = int(np.argmax(smooth))
    return list(scores)[best], float(values[best])


def _train_gate(
    gate: FusionGate,
    train: Views,
    targets_n: Tensor,
    held_out: Views,
    items_Id: Tensor,
    validation: Validation,
    run: Run,
) -> float:
    optimizer = torch.optim.Adam(gate.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    best = Best(run.config.patience, gate.state_dict)
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
                ndcg = validation.score(users_nd, items_Id).ndcg
            stage.report(epoch, float(np.mean(losses)), ndcg)
            if best.is_over(epoch, ndcg):
                break
    gate.load_state_dict(best.kept)
    run.epochs[NAME] = best.epoch
    return best.ndcg


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
