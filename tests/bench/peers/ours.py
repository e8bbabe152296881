"""Trains and evaluates this project's models by its own commands, from an empty text cache."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundswell.artifacts.store import load_bundle
from groundswell.trainer.dataset.prepared import EVENTS, ITEMS, META, USERS
from tests.support.cli import COMMAND

FIXED = {"dimension": 64, "width": 64, "num_blocks": 2, "batch_windows": 32}
"""What both sides have in common, whatever the defaults are."""

MODELS = ("fused", "short")
"""Which of our models are reported."""

_CAME_WITH_PREPARE = (EVENTS, ITEMS, USERS, META)


@dataclass(frozen=True)
class Curve:
    """One stage of a training run, by epochs."""

    loss: Sequence[float]
    ndcg: Sequence[float | None]
    """Validation NDCG@10."""
    seconds: Sequence[float]
    """Since training began, at the end of the epoch, its validation included."""


@dataclass(frozen=True)
class Ours:
    """What came of one run."""

    config: Mapping[str, Any]
    window_length: int
    curves: Mapping[str, Curve]
    """By stage."""
    validation: Mapping[str, float]
    """By model: validation NDCG@10 of what is served."""
    seconds: float
    """Of the whole training."""
    figures: Mapping[str, Any]
    """What `evaluate --json` wrote."""


def train_and_evaluate(
    data: Path, folder: Path, seed: int, settings: Iterable[str], timeout_s: float
) -> Ours:
    """Train on a copy of `data` in `folder`, which knows no text's vector yet.

    Raises CalledProcessError or TimeoutExpired when a command fails or takes too long.
    """
    prepared, bundles, figures = folder / "prepared", folder / "bundles", folder / "figures.json"
    prepared.mkdir()
    for name in _CAME_WITH_PREPARE:
        shutil.copy(data / name, prepared)
    fixed = [f"{name}={value}" for name, value in FIXED.items()]
    changes = [f"--set={setting}" for setting in (*fixed, *settings)]
    known = ("--data", prepared)
    groundswell(
        "train", *known, "--bundles", bundles, "--seed", seed, *changes, timeout_s=timeout_s
    )
    results = ("--bundle", bundles, "--json", figures)
    groundswell("evaluate", *known, *results, timeout_s=timeout_s)
    manifest = load_bundle(bundles).manifest
    training = manifest.training
    return Ours(
        config=training["config"],
        window_length=manifest.window_length,
        curves=_curves(training),
        validation={model: manifest.metrics[f"validation.{model}.ndcg@10"] for model in MODELS},
        seconds=training["seconds"],
        figures=json.loads(figures.read_text()),
    )


def groundswell(*arguments: str | int | Path, timeout_s: float) -> None:
    """Run one of the project's commands. Raises CalledProcessError when it fails."""
    # Only the comparison goes to stdout.
    command = [*COMMAND, *map(str, arguments)]
    subprocess.run(command, stdout=sys.stderr, timeout=timeout_s, check=True)


def _curves(training: Mapping[str, Any]) -> dict[str, Curve]:
    """Return those of the stages that validate after every epoch, which the gate does not."""
    found: Mapping[str, Mapping[str, Any]] = training["curves"]
    return {
        stage: Curve(curve["loss"], curve["ndcg"], curve["seconds"])
        for stage, curve in found.items()
        if len(curve["ndcg"]) == len(curve["seconds"])
    }
