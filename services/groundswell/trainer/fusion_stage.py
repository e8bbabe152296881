"""Chooses how the views are fused: the best constant, a learned gate, and which of them serves."""

from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from groundswell.artifacts.manifest import FusionSpec
from groundswell.features.gate import GATE_FEATURES
from groundswell.models.fusion import FusionGate, fuse
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.loss import sample_negatives
from groundswell.trainer.neighbours import Sources
from groundswell.trainer.run import Run
from groundswell.trainer.validation import Best, Validation

NAME = "gate"
_GRID = np.linspace(0, 1, 21)
_SHIFTS = np.linspace(-2, 2, 17)
_WEIGHTS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""Of a source of neighbours beside its view's scores."""
_FEWEST_POSITIONS = 100
"""A gate is not learned from fewer."""
_BATCH = 128
_EPOCHS = 40
_LEARNING_RATE = 1e-2
_WEIGHT_DECAY = 1e-4
_CONSTANT_WITHOUT_VALIDATION = 0.7
_START_FROM = 0.3


class Views(NamedTuple):
    """Both views of n positions, and what the gate knows besides."""

    short: Tensor
    """[n, d]"""
    long: Tensor
    """[n, d]"""
    features: Tensor
    """[n, 3]"""
    sources: Sources
    """Of both, weighed."""

    def take(self, rows_b: Tensor) -> "Views":
        """Return some of the positions."""
        sources = self.sources.take(rows_b.cpu().numpy())
        return Views(self.short[rows_b], self.long[rows_b], self.features[rows_b], sources)


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


def weigh_sources(
    views: Views, items_Id: Tensor, validation: Validation
) -> tuple[tuple[float, float], dict[str, float]]:
    """Return the weights of the short-term and of the long-term source that validation prefers,
    each for its own view alone, and what they reach. Without validation there are none."""
    if not validation:
        return (0.0, 0.0), {}
    chosen = []
    metrics = {}
    for name, users_nd, source in (
        ("short", views.short, views.sources.short),
        ("long", views.long, views.sources.long),
    ):
        scores = [validation.score(users_nd, items_Id, source * w).ndcg for w in _WEIGHTS]
        place = int(np.argmax(scores))
        chosen.append(_WEIGHTS[place])
        metrics[f"validation.{name}.ndcg@10"] = scores[place]
        metrics[f"validation.{name}-without-neighbours.ndcg@10"] = scores[0]
    return (chosen[0], chosen[1]), metrics


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


def _tune_constant(views: Views, items_Id: Tensor, validation: Validation) -> tuple[float, float]:
    if not validation:
        return _CONSTANT_WITHOUT_VALIDATION, 0.0
    scores = []
    for alpha in _GRID.tolist():
        alphas_n1 = torch.full((len(views.short), 1), alpha, device=views.short.device)
        scores.append(_ndcg(alphas_n1, views, items_Id, validation))
    place, ndcg = _smooth_best(scores)
    return round(float(_GRID[place]), 2), ndcg


def _ndcg(alphas_nd: Tensor, views: Views, items_Id: Tensor, validation: Validation) -> float:
    """NDCG@10 on validation of both views and their sources, fused."""
    source = _fused_source(alphas_nd, views.sources)
    return validation.score(fuse(alphas_nd, views.short, views.long), items_Id, source).ndcg


def _fused_source(alphas_nd: Tensor, sources: Sources) -> sp.csr_array:
    alphas_n1 = alphas_nd.mean(-1, keepdim=True).double().cpu().numpy()
    return sources.short.multiply(alphas_n1) + sources.long.multiply(1 - alphas_n1)


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
    # How sure a view is of itself says nothing of how well it ranks. A scale of its own for each,
    # which no ranking sees, keeps the gate from turning down the one that is too sure.
    log_scales_2 = torch.zeros(2, device=run.device, requires_grad=True)
    optimizer = torch.optim.Adam(
        [
            {"params": gate.parameters(), "weight_decay": _WEIGHT_DECAY},
            {"params": [log_scales_2]},
        ],
        lr=_LEARNING_RATE,
    )
    best = Best(run.config.patience, gate.state_dict)
    validation_targets_n = validation.targets.to(run.device)
    with run.stage(NAME, _EPOCHS) as stage:
        for epoch in range(1, _EPOCHS + 1):
            gate.train()
            losses = []
            for batch in torch.randperm(len(targets_n), device=run.device).split(_BATCH):
                loss = _loss(gate, log_scales_2, train.take(batch), targets_n[batch], items_Id, run)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            gate.eval()
            stage.report(epoch, float(np.mean(losses)), None)
            held_out_loss = _mean_loss(
                gate, log_scales_2, held_out, validation_targets_n, items_Id, run
            )
            if best.is_over(epoch, -held_out_loss):
                break
    gate.load_state_dict(best.kept)
    run.epochs[NAME] = best.epoch


@torch.no_grad()
def _shift(gate: FusionGate, held_out: Views, items_Id: Tensor, validation: Validation) -> float:
    """Move all of a gate's weights up or down as validation prefers, as the constant is tuned."""
    start = gate.out.bias.detach().clone()
    scores = []
    for shift in _SHIFTS.tolist():
        gate.out.bias.copy_(start + shift)
        scores.append(_ndcg(_alphas(gate, held_out), held_out, items_Id, validation))
    place, ndcg = _smooth_best(scores)
    gate.out.bias.copy_(start + _SHIFTS[place].item())
    return ndcg


def _smooth_best(scores: list[float]) -> tuple[int, float]:
    """Return the best place of a grid and its score: a point counts as the mean around it, since
    one above its neighbours is noise."""
    padded = np.pad(np.array(scores), 1, mode="edge")
    smooth: NDArray[np.float64] = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    best = int(np.argmax(smooth))
    return best, float(smooth[best])


@torch.no_grad()
def _mean_loss(
    gate: FusionGate,
    log_scales_2: Tensor,
    views: Views,
    targets_n: Tensor,
    items_Id: Tensor,
    run: Run,
) -> float:
    rows = torch.arange(len(targets_n), device=run.device)
    losses = [
        _loss(gate, log_scales_2, views.take(some), targets_n[some], items_Id, run).item()
        * len(some)
        for some in rows.split(_BATCH)
    ]
    return sum(losses) / len(targets_n)


def _loss(
    gate: FusionGate,
    log_scales_2: Tensor,
    views: Views,
    targets_n: Tensor,
    items_Id: Tensor,
    run: Run,
) -> Tensor:
    """Cross-entropy of the fused scores over all items, or over shared negatives."""
    alphas_nd = gate(views.short, views.long, views.features)
    users_nd = fuse(alphas_nd, views.short, views.long)
    alphas_n1 = alphas_nd.mean(-1, keepdim=True)
    scale_n1 = (torch.cat([alphas_n1, 1 - alphas_n1], 1) @ log_scales_2).exp()[:, None]

    def source(rows: NDArray[np.int64] | slice, columns: NDArray[np.int64] | slice) -> Tensor:
        short, long = (
            torch.from_numpy(np.asarray(_dense(x[rows, columns])))
            .to(run.device)
            .reshape(len(users_nd), -1)
            for x in views.sources
        )
        mixed: Tensor = alphas_n1 * short + (1 - alphas_n1) * long
        return mixed

    negatives = sample_negatives(len(items_Id), run.config.negatives)
    everything = slice(None)
    if negatives is None:
        logits = users_nd @ items_Id.T + source(everything, everything)
        return F.cross_entropy(scale_n1 * logits, targets_n)
    targets, drawn = targets_n.cpu().numpy(), negatives.numpy()
    positive_n1 = (users_nd * items_Id[targets_n]).sum(-1, keepdim=True)
    positive_n1 = positive_n1 + source(np.arange(len(targets)), targets)
    negatives_md = items_Id[negatives.to(run.device)]
    negative_nm = users_nd @ negatives_md.T + source(everything, drawn)
    is_target_nm = targets_n[:, None] == negatives.to(run.device)[None, :]
    logits = torch.cat([positive_n1, negative_nm.masked_fill(is_target_nm, -torch.inf)], 1)
    return F.cross_entropy(scale_n1 * logits, torch.zeros_like(targets_n))


def _dense(values: Any) -> Any:
    return values.toarray() if sp.issparse(values) else values


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
