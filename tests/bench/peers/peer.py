"""Runs one RecTools model in the environment that `make bench-peers` made for it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.bench.peers.ours import FIXED, Curve, Ours

PYTHON = Path(__file__).resolve().parents[3] / "build/peers/.venv/bin/python"
_SCRIPT = Path(__file__).with_name("rectools_side.py")

NAMES = {"sasrec": "SASRec", "bert4rec": "BERT4Rec", "esasrec": "eSASRec"}
RIVAL = "sasrec"
"""The one that our training time is held against."""

_LEARNING_RATE = 1e-3
_NEGATIVES = 256
_GRACE_S = 600.0


@dataclass(frozen=True)
class Bounds:
    """When a peer's training ends at the latest, and the threads that it has."""

    max_epochs: int
    patience: int
    """Epochs without a better validation NDCG@10."""
    max_seconds: float
    threads: int


@dataclass(frozen=True)
class Peer:
    """What came of one run."""

    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    curve: Curve
    best_epoch: int
    """From 1."""
    seconds: float
    """Of the whole training."""
    known_items: int
    """Items that it has learned, and can recommend: those in its windows."""
    validation_ranks: NDArray[np.int64]
    """[n] of the best epoch."""
    test_ranks: NDArray[np.int64]
    """[m] of the best epoch."""


def settings_of(name: str, ours: Ours, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Give a peer our sizes, window, batch and dropout; its own loss and learning rate.

    A batch is of sequences there as it is here; a longer history is several windows here, there
    its newest events are read and no more. `changes` wins over all of it.
    """
    settings = {
        "n_factors": FIXED["dimension"],
        "n_blocks": FIXED["num_blocks"],
        "n_heads": ours.config["num_heads"],
        "session_max_len": ours.window_length,
        "batch_size": ours.config["batch_windows"],
        "dropout_rate": ours.config["dropout"],
        "lr": _LEARNING_RATE,
        "loss": "softmax",
    }
    if name == "bert4rec":
        # One of the places is for the mask that is to be predicted.
        settings["session_max_len"] += 1
    if name == "esasrec":
        settings |= {"loss": "sampled_softmax", "n_negatives": _NEGATIVES}
    return settings | dict(changes)


def train(
    name: str,
    split: Mapping[str, Any],
    settings: Mapping[str, Any],
    bounds: Bounds,
    folder: Path,
    seed: int,
) -> Peer:
    """Train a model on what `split.job` described. Raises CalledProcessError when it fails."""
    job, result = folder / f"{name}.job.json", folder / f"{name}.result.json"
    told = {
        "model": name,
        "settings": settings,
        "max_epochs": bounds.max_epochs,
        "patience": bounds.patience,
        "max_seconds": bounds.max_seconds,
        "threads": bounds.threads,
        "seed": seed,
    }
    job.write_text(json.dumps({**told, **split}))
    subprocess.run(
        [PYTHON, _SCRIPT, job, result],
        stdout=sys.stderr,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        timeout=bounds.max_seconds + _GRACE_S,
        check=True,
    )
    found = json.loads(result.read_text())
    return Peer(
        settings=settings,
        versions=found["versions"],
        curve=Curve(**found["curve"]),
        best_epoch=found["best_epoch"],
        seconds=found["seconds"],
        known_items=found["known_items"],
        validation_ranks=np.array(found["validation_ranks"]),
        test_ranks=np.array(found["test_ranks"]),
    )
