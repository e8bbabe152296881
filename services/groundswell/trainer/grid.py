"""Compares settings: one training for each combination and seed, by validation alone."""

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console

from groundswell.artifacts.manifest import Manifest
from groundswell.artifacts.store import BundleStore
from groundswell.trainer.config import TrainConfig, parse_config
from groundswell.trainer.dataset.prepared import Prepared
from groundswell.trainer.errors import DataError
from groundswell.trainer.loop import checkpoint
from groundswell.trainer.ranking.validation import Validation
from groundswell.trainer.train import train

FIRST = "as given"
"""The name of the first row."""
MODELS = ("short", "long", "fused")
"""What is compared by its validation NDCG@10."""
_NAME_LENGTH = 12
_ERRORS = 2.0


class Row(NamedTuple):
    """One combination of settings; the first one of a grid is what the others are compared with."""

    settings: tuple[str, ...]
    ndcg: dict[str, list[float]]
    """By model of `MODELS`, validation NDCG@10 of each seed."""
    seconds: list[float]
    """Of each seed's training."""
    bundles: list[Path]
    """Of each seed's training, the folder that holds its bundle."""

    @property
    def name(self) -> str:
        """What people call it."""
        return ", ".join(self.settings) or FIRST

    def above(self, other: "Row", model: str) -> tuple[float, float | None]:
        """Return how much a model's mean is above another row's, and the standard error of that.

        Trainings of one seed are a pair; the error is None where there is but one.
        """
        more = np.subtract(self.ndcg[model], other.ndcg[model])
        error = float(more.std(ddof=1) / len(more) ** 0.5) if len(more) > 1 else None
        return float(more.mean()), error


def combinations(tried: Sequence[str]) -> list[tuple[str, ...]]:
    """Turn `KEY=VALUE,VALUE` texts into all combinations of their values, after the empty one.

    Raises DataError where a text is none, or names a key that another one names.
    """
    values: dict[str, list[str]] = {}
    for text in tried:
        key, separator, listed = text.partition("=")
        found = list(dict.fromkeys(value.strip() for value in listed.split(",")))
        if not separator or not all(found):
            raise DataError(f"--try {text}: it must be KEY=VALUE,VALUE")
        if key in values:
            raise DataError(f"--try {key} is there twice: give all its values at once")
        values[key] = found
    pairs = [[f"{key}={value}" for value in listed] for key, listed in values.items()]
    return [(), *itertools.product(*pairs)] if pairs else [()]


def try_settings(
    prepared: Prepared,
    folder: Path,
    fixed: Sequence[str],
    tried: Sequence[str],
    seeds: Sequence[int],
    device: str,
    console: Console,
) -> list[Row]:
    """Train each combination of `tried` with each seed, on top of the `fixed` settings.

    The first row has the `fixed` settings alone. Every training leaves its bundle in a folder of
    its own under `folder`; one that is there already is not trained again, and one that was
    interrupted goes on, so the same call resumes a grid. Test events are read by none of it.
    Raises DataError where there is nothing to compare by, and for a wrong setting before anything
    is trained; and what `train` raises.
    """
    if not Validation(prepared.for_training()):
        raise DataError(f"{prepared.folder} has no validation events to compare settings by")
    configs = {settings: parse_config([*fixed, *settings]) for settings in combinations(tried)}
    fingerprint = prepared.fingerprint()
    rows: list[Row] = []
    for number, (settings, config) in enumerate(configs.items(), 1):
        row = Row(settings, {model: [] for model in MODELS}, [], [])
        for seed in seeds:
            title = f"{number} of {len(configs)}: {row.name}, seed {seed}"
            console.print(title, markup=False, highlight=False)
            bundles = folder / _name(fingerprint, config, seed)
            manifest = _trained(prepared, bundles, config, seed, device, console)
            for model, values in row.ndcg.items():
                values.append(manifest.metrics[f"validation.{model}.ndcg@10"])
            row.seconds.append(manifest.training["seconds"])
            row.bundles.append(bundles)
        rows.append(row)
    return rows


def verdict(rows: Sequence[Row]) -> str:
    """Say which row's fused ranking is best, and whether the difference is more than chance."""
    first, *others = rows
    best = max(rows, key=lambda row: float(np.mean(row.ndcg["fused"])))
    if best is first:
        return "nothing is above the first row"
    more, error = best.above(first, "fused")
    found = f"{best.name} is best, {more:+.4f} above the first row"
    if error is None:
        return f"{found}; with one seed this may be chance"
    if more > _ERRORS * error:
        return f"{found}: more than two standard errors, of the best of {len(others)}"
    return f"{found}: within two standard errors, so the first row may as well stay"


def _name(fingerprint: str, config: TrainConfig, seed: int) -> str:
    """Name a training by its data and all its settings: with other defaults it is another one."""
    content = json.dumps([fingerprint, asdict(config), seed], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:_NAME_LENGTH]


def _trained(
    prepared: Prepared, bundles: Path, config: TrainConfig, seed: int, device: str, console: Console
) -> Manifest:
    """Return the manifest of one training's bundle, trained now or before."""
    bundles.mkdir(parents=True, exist_ok=True)
    store = BundleStore(bundles)
    bundle_id = store.current()
    if bundle_id is None:
        resume = (bundles / checkpoint.FILE).exists()
        bundle_id = train(prepared, bundles, config, device, seed, console, resume=resume)
    return store.load(bundle_id).manifest
