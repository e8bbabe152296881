"""What serves must have earned it on validation: the short-term vector alone is the simplest."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from groundswell.features.gate import NUM_GATE_FEATURES
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.heads.fusing import EncodedUsers
from groundswell.trainer.heads.fusion import TrainedFusion, train_fusion
from groundswell.trainer.loop.run import open_run
from groundswell.trainer.neighbours.cooccurrence import NeighbourScores
from groundswell.trainer.neighbours.tuning import weigh_alone, weigh_for_fusion
from groundswell.trainer.ranking.validation import Part, Validation
from tests.unit.trainer.memory import random_log

PREPARED = random_log(users=400)
VALIDATION = Validation(PREPARED)
n = len(VALIDATION.targets)
ITEMS_Id = torch.nn.functional.normalize(
    torch.randn(PREPARED.num_items, 16, generator=torch.Generator().manual_seed(0)), dim=1
)


def vectors(knows: Tensor, seed: int) -> Tensor:
    """[n, d] of users whose vectors know the target, and of others that are nothing but noise."""
    noise = torch.randn(n, 16, generator=torch.Generator().manual_seed(seed)) / 4
    return torch.where(knows[:, None], ITEMS_Id[VALIDATION.targets] * 2 + noise, noise)


def fused(
    short_knows: Tensor, long_knows: Tensor, folder: Path, loud: float = 0.0
) -> TrainedFusion:
    """Train on vectors of one noise, and hold those of another out.

    The second feature of the gate tells whose short-term vector knows the target. With `loud`,
    vectors that know nothing are long.
    """
    features = torch.zeros(n, NUM_GATE_FEATURES)
    features[:, 1] = short_knows.float()
    nothing = sp.csr_array((n, PREPARED.num_items), dtype=np.float32)

    def users(seed: int) -> EncodedUsers:
        short, long = vectors(short_knows, seed), vectors(long_knows, seed + 1)
        shout = loud * vectors(short_knows & False, seed + 2)
        short, long = short + shout * ~short_knows[:, None], long + shout * ~long_knows[:, None]
        return EncodedUsers(short, long, features, NeighbourScores(nothing, nothing))

    with open_run(TrainConfig(dimension=16), "cpu", 0, folder, Console(quiet=True)) as run:
        return train_fusion(VALIDATION, users(1), users(4), ITEMS_Id, VALIDATION, run)


def test_a_history_that_says_nothing_is_not_fused(tmp_path: Path) -> None:
    knows = torch.arange(n) % 4 > 0
    found = fused(knows, knows & False, tmp_path)
    assert (found.spec.mode, found.spec.constant_alpha) == ("constant", 1.0)
    assert found.metrics["validation.fused.ndcg@10"] == found.metrics["validation.constant.ndcg@10"]


def test_vectors_that_know_different_users_are_fused(tmp_path: Path) -> None:
    knows = torch.arange(n) % 2 == 0
    found = fused(knows, ~knows, tmp_path)
    assert 0.2 < found.metrics["validation.fused.alpha"] < 0.8


def test_a_gate_that_tells_which_vector_knows_serves(tmp_path: Path) -> None:
    knows = torch.arange(n) % 2 == 0
    found = fused(knows, ~knows, tmp_path, loud=3.0)
    assert found.spec.mode == "learned"
    reached = [found.metrics[f"validation.{kind}.ndcg@10"] for kind in ("fused", "constant")]
    assert reached[0] > reached[1] + 0.02


def test_the_reading_and_the_weight_that_help_most_are_chosen() -> None:
    users = vectors(torch.zeros(n, dtype=torch.bool), 1)
    rows = np.arange(n)
    of_targets = (np.ones(n, np.float32), (rows, VALIDATION.targets.numpy()))
    right = sp.csr_array(of_targets, shape=(n, PREPARED.num_items))
    wrong = sp.csr_array(np.roll(right.toarray(), 1, axis=0))
    found = weigh_alone(users, {0.5: wrong, 0.9: right}, ITEMS_Id, VALIDATION)
    assert found.decay == 0.9
    assert found.ndcg == pytest.approx(1.0)
    assert found.ndcg_alone < 0.6
    useless = weigh_alone(ITEMS_Id[VALIDATION.targets] * 9, {0.5: wrong}, ITEMS_Id, VALIDATION)
    assert useless.weight == 0.0


def test_of_histories_readings_that_fuse_alike_the_one_that_is_best_alone_is_chosen() -> None:
    rows, targets = np.arange(n), VALIDATION.targets.numpy()
    knows = torch.from_numpy(rows % 2 == 0)

    def added(known: NDArray[np.bool_]) -> sp.csr_array:
        values = (np.ones(known.sum(), np.float32), (rows[known], targets[known]))
        return sp.csr_array(values, shape=(n, PREPARED.num_items))

    # What the short-term vector knows, or also some of what it does not.
    by_decay = {0.9: added(rows % 2 == 0), 0.5: added((rows % 4 == 0) | (rows % 8 == 1))}
    noise = vectors(knows & False, 1)
    alone = weigh_alone(noise, by_decay, ITEMS_Id, VALIDATION)
    assert alone.decay == 0.9
    short = Part(3 * vectors(knows, 2))
    found = weigh_for_fusion(short, noise, by_decay, ITEMS_Id, VALIDATION)
    assert found.decay == 0.5
    assert 0 < found.ndcg < alone.ndcg
    nothing_else = weigh_for_fusion(short, noise, {0.9: by_decay[0.9]}, ITEMS_Id, VALIDATION)
    assert nothing_else.ndcg == alone.ndcg
