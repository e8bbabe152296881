"""Trains gates on views that stand still: by what each weight gains, or by likelihood."""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from groundswell.models.fusion import FusionGate, fuse
from groundswell.trainer.heads.fusing import Views, alphas_of, fused_gains, smooth_best
from groundswell.trainer.loop.early_stopping import EarlyStopping
from groundswell.trainer.loop.losses import sample_negatives
from groundswell.trainer.loop.run import Run
from groundswell.trainer.ranking.metrics import gains
from groundswell.trainer.ranking.validation import K, Validation

SCALAR = "gate"
PER_DIMENSION = "gate-per-dimension"
_SHIFTS = np.linspace(-2, 2, 17)
_BATCH = 128
_EPOCHS = 40
_LEARNING_RATE = 1e-2
_WEIGHT_DECAY = 1e-4
_SCALAR_LEARNING_RATE = 5e-2
_SCALAR_STEPS = 400
_SCALAR_PATIENCE = 100


def train_scalar(
    gate: FusionGate,
    train: Views,
    ranks_nA: NDArray[np.int64],
    held_out: Views,
    held_out_ranks_nA: NDArray[np.int64],
    run: Run,
) -> None:
    """Train a gate on what each weight gains at each position.

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
    gains_nA = torch.from_numpy(gains(ranks_nA)).float().to(run.device)
    held_out_gains_nA = torch.from_numpy(gains(held_out_ranks_nA, K)).float().to(run.device)
    stopping = EarlyStopping(_SCALAR_PATIENCE, gate)
    with run.stage(SCALAR, _SCALAR_STEPS) as stage:
        for step in range(1, _SCALAR_STEPS + 1):
            gate.train()
            loss = -_at_weights(gains_nA, alphas_of(gate, train)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            gate.eval()
            with torch.no_grad():
                ndcg = _at_weights(held_out_gains_nA, alphas_of(gate, held_out)).mean().item()
            stage.report(step, loss.item(), ndcg)
            stopping.update(step, ndcg)
            if stopping.should_stop:
                break
    stopping.restore_best()
    run.epochs[SCALAR] = stopping.best_epoch


def _at_weights(gains_nA: Tensor, alphas_nd: Tensor) -> Tensor:
    """[n] gains at weights between the points of the grid."""
    place_n1 = alphas_nd[:, :1] * (gains_nA.shape[1] - 1)
    below_n1 = place_n1.detach().long().clamp(max=gains_nA.shape[1] - 2)
    part_n1 = place_n1 - below_n1
    low_n1, high_n1 = gains_nA.gather(1, below_n1), gains_nA.gather(1, below_n1 + 1)
    return (low_n1 + part_n1 * (high_n1 - low_n1)).squeeze(1)


def train_by_likelihood(
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
    stopping = EarlyStopping(run.config.patience, gate)
    validation_targets_n = validation.targets.to(run.device)
    with run.stage(PER_DIMENSION, _EPOCHS) as stage:
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
            stopping.update(epoch, -held_out_loss)
            if stopping.should_stop:
                break
    stopping.restore_best()
    run.epochs[PER_DIMENSION] = stopping.best_epoch


@torch.no_grad()
def shift_to_validation(
    gate: FusionGate, held_out: Views, items_Id: Tensor, validation: Validation
) -> None:
    """Move all of a gate's weights up or down as validation prefers, as the constant is tuned."""
    start = gate.out.bias.detach().clone()
    scores = []
    for shift in _SHIFTS.tolist():
        gate.out.bias.copy_(start + shift)
        gains_n = fused_gains(alphas_of(gate, held_out), held_out, items_Id, validation)
        scores.append(gains_n.mean().item())
    gate.out.bias.copy_(start + _SHIFTS[smooth_best(scores)].item())


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
    # Copies: SciPy indexes by no array whose memory is PyTorch's.
    targets, drawn = targets_n.cpu().numpy().copy(), negatives.numpy().copy()
    positive_n1 = (users_nd * items_Id[targets_n]).sum(-1, keepdim=True)
    positive_n1 = positive_n1 + source(np.arange(len(targets)), targets)
    negatives_md = items_Id[negatives.to(run.device)]
    negative_nm = users_nd @ negatives_md.T + source(everything, drawn)
    is_target_nm = targets_n[:, None] == negatives.to(run.device)[None, :]
    logits = torch.cat([positive_n1, negative_nm.masked_fill(is_target_nm, -torch.inf)], 1)
    return F.cross_entropy(logits, torch.zeros_like(targets_n))


def _dense(values: Any) -> Any:
    return values.toarray() if sp.issparse(values) else values
