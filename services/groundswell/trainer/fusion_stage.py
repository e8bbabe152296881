"""Chooses how the views are fused: the best constant, a learned gate, and which of them serves."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from groundswell.artifacts.manifest import FusionSpec
from groundswell.features.gate import GATE_FEATURES
from groundswell.models.fusion import FusionGate, fuse
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.loss import sample_negatives
from groundswell.trainer.neighbours import Sources
from groundswell.trainer.run import Run
from groundswell.trainer.validation import Best, Ranking, Validation, gains

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
_SCALAR_LEARNING_RATE = 5e-2
_SCALAR_STEPS = 400
_SCALAR_PATIENCE = 100


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
    place = _smooth_best(constants)
    alpha, constant = round(float(_GRID[place]), 2), constants[place]
    metrics = {"validation.constant.ndcg@10": constant}
    chosen = _gate(run.config, alpha, False, low, high)
    best, mode = constant, "constant"
    for kind in _kinds(run.config.gate) if len(positions.events) >= _FEWEST_POSITIONS else ():
        gate = _gate(run.config, alpha, kind == "per-dimension", low, high).to(run.device)
        if kind == "scalar":
            ranks_nA = _ranks(positions, train, items_Id)
            ndcg = _train_scalar(gate, train, ranks_nA, held_out, held_out_ranks_nA, run)
        else:
            _train_gate(gate, train, positions.targets, held_out, items_Id, validation, run)
            ndcg = _shift(gate, held_out, items_Id, validation)
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
        source = _fused_source(alphas_n1, views.sources)
        users_nd = fuse(alphas_n1, views.short, views.long)
        columns.append(positions.ranks(users_nd, items_Id, source))
    return torch.stack(columns, 1)


def _train_scalar(
    gate: FusionGate,
    train: Views,
    ranks_nA: Tensor,
    held_out: Views,
    held_out_ranks_nA: Tensor,
    run: Run,
) -> float:
    """Train a gate on what each weight gains at each position; return NDCG@10 on validation.

    The likelihood of a mixture depends on how sure each view is of itself, which says nothing of
    how well it ranks. The gain of every weight is known beforehand, so between two points of the
    grid it has a slope to follow, and the gate climbs what it is judged by. Training counts gains
    at any rank, since few targets are among the first ten.
    """
    # From some hundred positions the numbers of two vectors are learned by heart; what is known of
    # the request is not.
    nn.init.zeros_(gate.vectors.weight)
    learned = [p for name, p in gate.named_parameters() if not name.startswith("vectors.")]
    optimizer = torch.optim.Adam(learned, lr=_SCALAR_LEARNING_RATE)
    gains_nA = (1 / torch.log2(ranks_nA.double() + 1)).float().to(run.device)
    held_out_gains_nA = gains(held_out_ranks_nA).float().to(run.device)
    best = Best(_SCALAR_PATIENCE, gate.state_dict)
    with run.stage(NAME, _SCALAR_STEPS) as stage:
        for step in range(1, _SCALAR_STEPS + 1):
            gate.train()
            loss = -_at_weights(gains_nA, _alphas(gate, train)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            gate.eval()
            with torch.no_grad():
                ndcg = _at_weights(held_out_gains_nA, _alphas(gate, held_out)).mean().item()
            stage.report(step, loss.item(), ndcg)
            if best.is_over(step, ndcg):
                break
    gate.load_state_dict(best.kept)
    run.epochs[NAME] = best.epoch
    return best.score


def _at_weights(gains_nA: Tensor, alphas_nd: Tensor) -> Tensor:
    """[n] gains at weights between the points of the grid."""
    place_n1 = alphas_nd[:, :1] * (gains_nA.shape[1] - 1)
    below_n1 = place_n1.detach().long().clamp(max=gains_nA.shape[1] - 2)
    part_n1 = place_n1 - below_n1
    low_n1, high_n1 = gains_nA.gather(1, below_n1), gains_nA.gather(1, below_n1 + 1)
    return (low_n1 + part_n1 * (high_n1 - low_n1)).squeeze(1)


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
    optimizer = torch.optim.Adam(gate.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    best = Best(run.config.patience, gate.state_dict)
    validation_targets_n = validation.targets.to(run.device)
    with run.stage(NAME, _EPOCHS) as stage:
        for epoch in range(1, _EPOCHS + 1):
            gate.train()
            losses = []
            for batch in torch.randperm(len(targets_n), device=run.device).split(_BATCH):
                loss = _loss(gate, train.take(batch), targets_n[batch], items_Id, run)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            gate.eval()
            stage.report(epoch, float(np.mean(losses)), None)
            held_out_loss = _mean_loss(gate, held_out, validation_targets_n, items_Id, run)
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
    place = _smooth_best(scores)
    gate.out.bias.copy_(start + _SHIFTS[place].item())
    return scores[place]


def _smooth_best(scores: list[float]) -> int:
    """Return the best place of a grid: a point counts as the mean around it, since one above its
    neighbours is noise."""
    padded = np.pad(np.array(scores), 1, mode="edge")
    smooth: NDArray[np.float64] = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return int(np.argmax(smooth))


@torch.no_grad()
def _mean_loss(
    gate: FusionGate,
    views: Views,
    targets_n: Tensor,
    items_Id: Tensor,
    run: Run,
) -> float:
    rows = torch.arange(len(targets_n), device=run.device)
    losses = [
        _loss(gate, views.take(some), targets_n[some], items_Id, run).item() * len(some)
        for some in rows.split(_BATCH)
    ]
    return sum(losses) / len(targets_n)


def _loss(
    gate: FusionGate,
    views: Views,
    targets_n: Tensor,
    items_Id: Tensor,
    run: Run,
) -> Tensor:
    """Cross-entropy of the fused scores over all items, or over shared negatives."""
    alphas_nd = gate(views.short, views.long, views.features)
    users_nd = fuse(alphas_nd, views.short, views.long)
    alphas_n1 = alphas_nd.mean(-1, keepdim=True)

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
        return F.cross_entropy(logits, targets_n)
    targets, drawn = targets_n.cpu().numpy(), negatives.numpy()
    positive_n1 = (users_nd * items_Id[targets_n]).sum(-1, keepdim=True)
    positive_n1 = positive_n1 + source(np.arange(len(targets)), targets)
    negatives_md = items_Id[negatives.to(run.device)]
    negative_nm = users_nd @ negatives_md.T + source(everything, drawn)
    is_target_nm = targets_n[:, None] == negatives.to(run.device)[None, :]
    logits = torch.cat([positive_n1, negative_nm.masked_fill(is_target_nm, -torch.inf)], 1)
    return F.cross_entropy(logits, torch.zeros_like(targets_n))


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
