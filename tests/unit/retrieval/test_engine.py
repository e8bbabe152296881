"""What every engine of the index promises, and how a bundle's engine is chosen."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.store import load_bundle
from groundswell.retrieval.engine import (
    ENGINES,
    EXACT_UP_TO,
    Engine,
    kind_for,
    open_engine,
    open_index,
)
from tests.support.bundles import tiny_bundle

N, D = 2_000, 16
VECTORS = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
QUERIES = np.random.default_rng(1).standard_normal((20, D)).astype(np.float32)


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    path = tmp_path_factory.mktemp("engine") / "index"
    ENGINES[request.param].build(VECTORS, path)
    return open_engine(path, (N, D), request.param)


def best(query: NDArray[np.float32], passing: NDArray[np.bool_], k: int) -> list[int]:
    rows: list[int] = np.argsort(np.where(passing, -(VECTORS @ query), np.inf))[:k].tolist()
    return rows


def test_an_engine_keeps_the_vectors_that_it_was_built_of(engine: Engine) -> None:
    assert np.array_equal(engine.vectors, VECTORS)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.15])
def test_a_search_returns_the_best_rows_that_pass(engine: Engine, share: float) -> None:
    passing = np.random.default_rng(2).random(N) < share
    found = 0
    for query in QUERIES:
        scores, rows = engine.search(query, 10, passing)
        assert passing[rows].all()
        np.testing.assert_allclose(scores, VECTORS[rows] @ query, rtol=1e-5)
        found += len(set(rows.tolist()) & set(best(query, passing, 10)))
        assert not engine.is_exact or rows.tolist() == best(query, passing, 10)
    assert found >= 0.95 * 10 * len(QUERIES)


def test_rows_that_are_not_found_are_minus_one(engine: Engine) -> None:
    passing = np.arange(N) < 3
    _, rows = engine.search(QUERIES[0], 10, passing)
    assert set(rows[rows >= 0].tolist()) <= {0, 1, 2}
    assert (rows[3:] == -1).all()


@pytest.mark.parametrize("kind", ENGINES)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, kind: str) -> None:
    ENGINES[kind].build(VECTORS, tmp_path / "index")
    for other in ENGINES.keys() - {kind}:
        with pytest.raises(BundleError, match=f"no {other} index") as caught:
            open_engine(tmp_path / "index", (N, D), other)
        assert caught.value.reason == "BUNDLE_CORRUPT"


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_without_a_kind_the_file_says_which_it_is(tmp_path: Path, kind: str) -> None:
    ENGINES[kind].build(VECTORS, tmp_path / "index")
    assert isinstance(open_engine(tmp_path / "index", (N, D)), ENGINES[kind])


def test_the_kind_of_a_newer_release_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="unknown kind: warp") as caught:
        open_engine(tmp_path / "index", (N, D), "warp")
    assert caught.value.reason == "BUNDLE_FORMAT"


def test_large_catalogues_get_a_graph() -> None:
    assert (kind_for(EXACT_UP_TO), kind_for(EXACT_UP_TO + 1)) == ("flat", "hnsw")


def test_a_bundle_is_searched_by_the_engine_that_its_manifest_names(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    bundle = load_bundle(tmp_path)
    assert bundle.manifest.index_kind == "flat"
    assert np.array_equal(open_index(bundle).vectors, bundle.item_vectors)
