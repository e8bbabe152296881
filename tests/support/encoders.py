"""Trains both user encoders alone, on random text vectors: seconds, and no text encoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from groundswell.trainer.config import parse_config
from groundswell.trainer.dataset.prepared import Prepared
from groundswell.trainer.encoders.training import new_encoders, train_jointly, train_profile
from groundswell.trainer.inputs.histories import cut_chunks
from groundswell.trainer.inputs.training_log import TrainingLog
from groundswell.trainer.loop.checkpoint import Checkpoints
from groundswell.trainer.loop.distributed import ALONE, Processes
from groundswell.trainer.loop.run import open_run
from groundswell.trainer.ranking.validation import Validation

SETTINGS = (
    *("dimension=16", "width=16", "num_blocks=1", "window_length=12", "chunk_length=4"),
    *("max_epochs=3", "patience=6", "precision=float32"),
)


class InterruptionError(Exception):
    """Stands for whatever ends a run."""


class Outcome(NamedTuple):
    """What a run ends with."""

    weights: dict[str, Tensor]
    epochs: dict[str, int]
    losses: dict[str, list[float]]
    seconds: dict[str, list[float]]
    draws: tuple[float, float]
    """What the generators would give next."""


def made_up(count: int) -> NDArray[np.float32]:
    """[count, t] vectors of texts."""
    return np.random.default_rng(count).normal(size=(count, 8)).astype(np.float32)


def train_encoders(
    validation: Validation,
    prepared: Prepared,
    folder: Path,
    settings: Sequence[str] = SETTINGS,
    *,
    resume: bool = False,
    checkpoints: type[Checkpoints] = Checkpoints,
    processes: Processes = ALONE,
    negatives: torch.Generator | None = None,
) -> Outcome:
    """Train both stages of the user encoders. `negatives`, where given, are drawn apart."""
    config = parse_config(settings)
    # A resumed run must not owe its random numbers to the seed.
    seed = 99 if resume else 1
    with open_run(config, "cpu", seed, folder / "logs", Console(quiet=True), processes) as run:
        run.negatives = negatives or run.negatives
        kept = checkpoints(folder, run, resume=resume)
        kept.belongs_to({"learning_rate": config.learning_rate, "the log": "a"})
        training = new_encoders(TrainingLog(prepared), made_up(prepared.num_items), run)
        train_jointly(training, validation, 0, kept)
        chunks = cut_chunks(prepared, config.chunk_length)
        texts = made_up(len(chunks.texts))
        encoders = train_profile(training, validation, chunks, texts, kept)
        return Outcome(
            {name: value.clone() for name, value in encoders.model.state_dict().items()},
            run.epochs,
            {stage: curve["loss"] for stage, curve in run.curves.items()},
            {stage: curve["seconds"] for stage, curve in run.curves.items()},
            (torch.rand(()).item(), run.rng.random()),
        )
