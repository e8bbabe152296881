"""Full size: MovieLens-100k with the default settings, over three seeds."""

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from groundswell.artifacts.store import load_bundle
from groundswell.trainer.config import TrainConfig
from groundswell.trainer.dataset.movielens import get_movielens
from groundswell.trainer.dataset.prepare import prepare
from groundswell.trainer.dataset.prepared import Prepared, load_prepared
from groundswell.trainer.dataset.splits import Split
from groundswell.trainer.evaluation.evaluate import evaluate
from groundswell.trainer.train import train

SEEDS = (0, 1, 2)
MODELS = ("popularity", "short", "long", "constant", "fused")
REPORT = Path("build/campaign/quality.json")
_NOISE = 0.015
"""943 users: a smaller difference of NDCG@10 means nothing."""


@pytest.fixture(scope="module")
def movielens(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("ml-100k")
    files = get_movielens(folder / "data")
    prepare(
        files.events,
        files.items,
        folder / "prepared",
        split=Split.LEAVE_ONE_OUT,
        order_only=False,
    )
    return load_prepared(folder / "prepared")


def test_the_vectors_recommend_as_well_as_they_must(movielens: Prepared, tmp_path: Path) -> None:
    figures: dict[str, dict[str, list[float]]] = {m: {"hr@10": [], "ndcg@10": []} for m in MODELS}
    for seed in SEEDS:
        train(movielens, tmp_path, TrainConfig(), "cpu", seed, Console())
        found = evaluate(load_bundle(tmp_path), movielens)
        for model, metrics in figures.items():
            for name, values in metrics.items():
                values.append(found["models"][model][name])
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps({"seeds": SEEDS, "models": figures}, indent=2))
    _print(figures)
    mean = {m: {n: float(np.mean(v)) for n, v in f.items()} for m, f in figures.items()}
    assert mean["fused"]["ndcg@10"] >= 0.120
    assert mean["fused"]["hr@10"] >= 0.225
    assert mean["fused"]["ndcg@10"] >= mean["short"]["ndcg@10"] - _NOISE
    assert mean["short"]["ndcg@10"] >= 2 * mean["popularity"]["ndcg@10"]
    assert mean["long"]["ndcg@10"] >= mean["popularity"]["ndcg@10"]


def _print(figures: dict[str, dict[str, list[float]]]) -> None:
    table = Table("model", "HR@10", "NDCG@10", title=f"MovieLens-100k, seeds {SEEDS}")
    for model, metrics in figures.items():
        cells = [f"{np.mean(v):.4f} ± {np.std(v, ddof=1):.4f}" for v in metrics.values()]
        table.add_row(model, *cells)
    Console().print(table)
