"""Which index a bundle gets, and what is written down of it."""

from pathlib import Path

import numpy as np
import pytest

from groundswell.retrieval import engines
from groundswell.retrieval.engines import build_index, open_engine
from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.query import Query

N, D = 20_000, 16
RNG = np.random.default_rng(0)
CENTRES = 4 * RNG.standard_normal((200, D))
VECTORS = (CENTRES[RNG.integers(200, size=N)] + RNG.standard_normal((N, D))).astype(np.float32)
QUERIES = (CENTRES[RNG.integers(200, size=300)] + RNG.standard_normal((300, D))).astype(np.float32)


def test_a_small_catalogue_is_searched_exactly(tmp_path: Path) -> None:
    assert build_index(VECTORS, tmp_path / "index", QUERIES) == ("flat", {})


def test_a_large_catalogue_gets_cells_as_deep_as_real_queries_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "EXACT_UP_TO", N - 1)
    kind, figures = build_index(VECTORS, tmp_path / "index", QUERIES[:150])
    assert kind == "ivf"
    assert figures["index.recall@10"] >= 0.985
    assert 1 < figures["index.depth"] <= 0.6 * N / 256
    index = ItemIndex(open_engine(tmp_path / "index", VECTORS.shape, kind))
    asked = QUERIES[150:]
    best = np.argsort(-(asked @ VECTORS.T), axis=1)[:, :10]
    found = index.search([Query(query[None], 10) for query in asked])
    shares = [np.isin(b, hits.ids).mean() for b, hits in zip(best, found, strict=True)]
    assert np.mean(shares) >= 0.97


def test_where_all_cells_do_not_suffice_the_index_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "EXACT_UP_TO", 1_999)
    monkeypatch.setattr(engines, "_NUM_FOUND", 10)  # nothing makes up for an error of the codes
    without_structure = np.random.default_rng(1).standard_normal((2_000, D)).astype(np.float32)
    assert build_index(without_structure, tmp_path / "index") == ("flat", {})
