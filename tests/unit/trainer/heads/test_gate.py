"""A gate that learns by likelihood hears the same of all items as of negatives that are all."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from rich.console import Console

from groundswell.features.gate import NUM_GATE_FEATURES
from groundswell.models.fusion import FusionGate
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.dataset.prepared import VALIDATION
from groundswell.trainer.heads import gate as gate_training
from groundswell.trainer.heads.fusing import EncodedUsers
from groundswell.trainer.loop.run import open_run
from groundswell.trainer.neighbours.cooccurrence import NeighbourScores
from groundswell.trainer.ranking.validation import Validation
from tests.unit.trainer.memory import random_log


def test_negatives_of_a_large_catalogue_count_with_their_neighbours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prepared = random_log(users=40, items=30)
    validation = Validation(prepared)
    n, num_items = len(validation.events), prepared.num_items
    assert (prepared.target == VALIDATION).sum() >= n > 10
    rng = np.random.default_rng(0)

    def added() -> sp.csr_array:
        drawn = sp.random_array((n, num_items), density=0.3, rng=rng, dtype=np.float32)
        return drawn.tocsr()

    torch.manual_seed(0)
    users = EncodedUsers(
        torch.randn(n, 4),
        torch.randn(n, 4),
        torch.rand(n, NUM_GATE_FEATURES),
        NeighbourScores(added(), added()),
    )
    items_Id = torch.randn(num_items, 4)

    def losses() -> list[float]:
        with open_run(TrainConfig(), "cpu", 0, tmp_path, Console(quiet=True)) as run:
            gate = FusionGate(
                4, NUM_GATE_FEATURES, width=3, per_dimension=True, alpha=0.5, dropout=0.0
            )
            gate_training.train_by_likelihood(
                gate, users, validation.targets, users, items_Id, validation, run
            )
            return run.curves["gate-per-dimension"]["loss"]

    due = losses()
    monkeypatch.setattr(gate_training, "sample_negatives", lambda count, _: torch.arange(count))
    assert len(due) > 3
    assert losses() == pytest.approx(due, abs=2e-4)
