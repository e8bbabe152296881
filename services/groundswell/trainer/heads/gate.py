"""Trains fusion gates on frozen encoders: by what each weight gains, or by likelihood."""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from groundswell.features.fusion import fused, mean_weight, scores
from groundswell.models.fusion import FusionGate
from groundswell.trainer.heads.fusing import EncodedUsers, alphas_of, fused_gains, smooth_best
from groundswell.trainer.loop.early_stopping import EarlyStopping
from groundswell.trainer.loop.losses import sample_negatives
from groundswell.trainer.loop.run import Run
from groundswell.trainer.ranking.metrics import gains
from groundswell.trainer.ranking.validation import K, Validation

SCALAR = "gate"
PER_DIMENSION = "gate-per-dimension"
_Places = NDArray[np.int64] | slice
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
    train: EncodedUsers,
    ranks_nA: NDArray[np.int64],
    held_out: EncodedUsers,
    held_out_ranks_nA: NDArray[np.int64],
    run: Run,
) -> None:
    """Train a gate on what each weight gains at each position.

    The likelihood of a mixture depends on how confident the scores of each vector are, and not on
    how well they rank. The gain of every weight of a grid is known beforehand; interpolated between
    two points it has a slope, so the gate is trained on what it is judged by. Training counts gains
    at any rank, since few targets are among the first ten.
    """
    # A gate that reads the vectors overfits to some hundred positions; the features of the request
    # alone do not allow it.
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
    train: EncodedUsers,
    targets_n: Tensor,
    held_out: EncodedUsers,
    items_Id: Tensor,
    validation: Validation,
    run: Run,
) -> None:
    """Train until the likelihood of the held-out targets is at its best.

    NDCG@10 changes only for targets near the top ten; likelihood changes for every target, so it is
    less noisy.
    """
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
    gate: FusionGate, held_out: EncodedUsers, items_Id: Tensor, validation: Validation
) -> None:
    """Move all of a gate's weights up or down as validation prefers, as the constant is tuned."""
    start = gate.out.bias.detach().clone()
    found = []
    for shift in _SHIFTS.tolist():
        gate.out.bias.copy_(start + shift)
        gains_n = fused_gains(alphas_of(gate, held_out), held_out, items_Id, validation)
        found.append(gains_n.mean().item())
    gate.out.bias.copy_(start + _SHIFTS[smooth_best(found)].item())


@torch.no_grad()
def _mean_loss(
    gate: FusionGate,
    users: EncodedUsers,
    targets_n: Tensor,
    items_Id: Tensor,
    run: Run,
) -> float:
    rows = torch.arange(len(targets_n), device=run.device)
    losses = [
        _loss(gate, users.take(some), targets_n[some], items_Id, run).item() * len(some)
        for some in rows.split(_BATCH)
    ]
    return sum(losses) / len(targets_n)


def _loss(
    gate: FusionGate,
    users: EncodedUsers,
    targets_n: Tensor,
    items_Id: Tensor,
    run: Run,
) -> Tensor:
    """Cross-entropy of the scores over all items, or over shared negatives."""
    vectors = users.short_vectors, users.long_vectors
    alphas_nd = gate(*vectors, users.gate_features)

    def added(rows: _Places, columns: _Places) -> tuple[Tensor, Tensor]:
        short, long = (
            torch.from_numpy(_dense(x[rows, columns])).to(run.device).reshape(len(targets_n), -1)
            for x in users.neighbour_scores
        )
        return short, long

    negatives = sample_negatives(len(items_Id), run.config.negatives)
    everything = slice(None)
    if negatives is None:
        logits = scores(alphas_nd, vectors, items_Id, added(everything, everything))
        return F.cross_entropy(logits, targets_n)
    # Copies: SciPy indexes by no array whose memory is PyTorch's.
    targets, drawn = targets_n.cpu().numpy().copy(), negatives.numpy().copy()
    positive_n1 = (fused(alphas_nd, *vectors) * items_Id[targets_n]).sum(-1, keepdim=True)
    of_targets = added(np.arange(len(targets)), targets)
    positive_n1 = positive_n1 + fused(mean_weight(alphas_nd), *of_targets)
    negatives_md = items_Id[negatives.to(run.device)]
    negative_nm = scores(alphas_nd, vectors, negatives_md, added(everything, drawn))
    is_target_nm = targets_n[:, None] == negatives.to(run.device)[None, :]
    logits = torch.cat([positive_n1, negative_nm.masked_fill(is_target_nm, -torch.inf)], 1)
    return F.cross_entropy(logits, torch.zeros_like(targets_n))


def _dense(values: Any) -> NDArray[np.float32]:
    return np.asarray(values.toarray() if sp.issparse(values) else values)
