"""What every engine of the index promises, and how a bundle's engine is chosen."""

from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.store import load_bundle
from groundswell.retrieval.engine import Engine
from groundswell.retrieval.engines import ENGINES, open_engine, open_index
from groundswell.retrieval.ivf import IvfEngine
from tests.support.bundles import tiny_bundle

N, D = 2_000, 16
VECTORS = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
QUERIES = np.random.default_rng(1).standard_normal((20, D)).astype(np.float32)


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    path = tmp_path_factory.mktemp("engine") / "index"
    built = ENGINES[request.param].build(VECTORS)
    if isinstance(built, IvfEngine):
        built.depth = 6
    built.write(path)
    return open_engine(path, (N, D), request.param)


def best(query: NDArray[np.float32], passing: NDArray[np.bool_], k: int) -> list[int]:
    rows: list[int] = np.argsort(np.where(passing, -(VECTORS @ query), np.inf))[:k].tolist()
    return rows


def within(engine: Engine, passing: NDArray[np.bool_]) -> faiss.IDSelector:
    return faiss.IDSelectorBitmap(np.packbits(passing[engine.rows], bitorder="little"))


def test_an_engine_keeps_the_vectors_that_it_was_built_of(engine: Engine) -> None:
    assert sorted(engine.rows.tolist()) == list(range(N))
    assert np.array_equal(engine.vectors, VECTORS[engine.rows])


@pytest.mark.parametrize("share", [1.0, 0.5, 0.15])
def test_a_search_returns_the_best_rows_that_pass(engine: Engine, share: float) -> None:
    passing = np.random.default_rng(2).random(N) < share
    # More than are asked for, since an engine that is not exact has the order about right.
    scores, found = engine.search(QUERIES, 40, within(engine, passing), share)
    num_right = 0
    for query, some, positions in zip(QUERIES, scores, found, strict=True):
        rows = engine.rows[positions]
        assert passing[rows].all()
        assert (np.diff(some) <= 0).all()
        if not isinstance(engine, IvfEngine):  # whose codes give the scores about right
            np.testing.assert_allclose(some, VECTORS[rows] @ query, rtol=1e-5)
        num_right += len(set(rows.tolist()) & set(best(query, passing, 10)))
        assert not engine.is_exact or rows[:10].tolist() == best(query, passing, 10)
    assert num_right >= 0.95 * 10 * len(QUERIES)


def test_without_a_selection_every_position_may_be_returned(engine: Engine) -> None:
    _, found = engine.search(QUERIES, 40, None, 1.0)
    everything = np.ones(N, bool)
    num_right = sum(
        len(set(engine.rows[positions].tolist()) & set(best(query, everything, 10)))
        for query, positions in zip(QUERIES, found, strict=True)
    )
    assert num_right >= 0.95 * 10 * len(QUERIES)


def test_positions_that_are_not_found_are_minus_one(engine: Engine) -> None:
    passing = np.arange(N) < 3
    _, [found] = engine.search(QUERIES[:1], 10, within(engine, passing), 3 / N)
    assert set(engine.rows[found[found >= 0]].tolist()) <= {0, 1, 2}
    assert (found[3:] == -1).all()


def test_a_region_has_most_of_the_nearest_by_cosine(engine: Engine) -> None:
    num_right, num_read = 0, 0
    for query in QUERIES:
        direction = np.append(query[:-1], np.float32(0))
        region = engine.region(direction, 1.0)
        if region is None:
            return
        assert len(np.unique(region)) == len(region)
        num_read += len(region)
        cosines = VECTORS @ direction / np.linalg.norm(VECTORS[:, :-1], axis=1)
        nearest = np.argsort(-cosines)[:10]
        num_right += len(set(engine.rows[region].tolist()) & set(nearest.tolist()))
    assert num_right / (10 * len(QUERIES)) > 1.4 * num_read / (N * len(QUERIES))


def test_an_engine_is_extended_by_more_vectors(engine: Engine) -> None:
    more = 1.1 * QUERIES
    extended = engine.extended(more)
    assert extended is not None
    assert np.array_equal(extended.vectors[:N], engine.vectors)
    _, found = extended.search(QUERIES, 40, None, 1.0)
    assert all(N + n in positions for n, positions in enumerate(found))
    assert len(engine.vectors) == N


def test_an_engine_is_rebuilt_of_other_vectors(engine: Engine) -> None:
    others = VECTORS[:500] + np.float32(1)
    rebuilt = engine.rebuilt(others)
    assert type(rebuilt) is type(engine)
    assert np.array_equal(rebuilt.vectors, others[rebuilt.rows])
    _, found = rebuilt.search(others[:20], 10, None, 1.0)
    assert (found >= 0).all()


@pytest.mark.parametrize("kind", ENGINES)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, kind: str) -> None:
    ENGINES[kind].build(VECTORS).write(tmp_path / "index")
    for other in ENGINES.keys() - {kind}:
        with pytest.raises(BundleError, match="index") as caught:
            open_engine(tmp_path / "index", (N, D), other)
        assert caught.value.reason == "BUNDLE_CORRUPT"


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_without_a_kind_the_file_says_which_it_is(tmp_path: Path, kind: str) -> None:
    ENGINES[kind].build(VECTORS).write(tmp_path / "index")
    assert isinstance(open_engine(tmp_path / "index", (N, D)), ENGINES[kind])


def test_the_kind_of_a_newer_release_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="unknown kind: warp") as caught:
        open_engine(tmp_path / "index", (N, D), "warp")
    assert caught.value.reason == "BUNDLE_FORMAT"


def test_a_bundle_is_searched_by_the_engine_that_its_manifest_names(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    bundle = load_bundle(tmp_path)
    assert bundle.manifest.index_kind == "flat"
    assert np.array_equal(open_index(bundle).vectors, bundle.item_vectors)
