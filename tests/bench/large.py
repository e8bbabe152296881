"""Large catalogues for the bench: the vectors of the trained world, perturbed, and real queries."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.store import load_bundle
from groundswell.retrieval.engine import Engine
from groundswell.retrieval.engines import build_index, open_engine
from groundswell.trainer.dataset.prepared import TEST, VALIDATION, load_prepared
from groundswell.trainer.evaluation.bundle_items import Candidates
from groundswell.trainer.evaluation.opened import OpenedBundle
from tests.bench.world import PREPARED, world

_PERTURBED_BY = 0.5
"""Standard deviations of a dimension over the trained items."""
_NUM_QUERIES = 1_000
_BLOCK = 100_000
_SEED = 11


class LargeCatalogue(NamedTuple):
    """Items of a large catalogue, and users."""

    vectors: NDArray[np.float32]
    """[n, d]"""
    parents: NDArray[np.int64]
    """[n] rows of the trained items that they were made of."""
    categories: NDArray[np.int64]
    """[n] of the trained items that they were made of."""
    queries: NDArray[np.float32]
    """[q, d] fused as they are served, of held-out events; the second half chose the depth."""


def large_catalogue(num_items: int) -> LargeCatalogue:
    """Make a catalogue, always the same; a smaller one is the head of a larger one."""
    trained, queries = _trained()
    rng = np.random.default_rng(_SEED)
    scale = trained.std(0) * np.float32(_PERTURBED_BY)
    vectors = np.empty((num_items, trained.shape[1]), np.float32)
    parents = np.empty(num_items, np.int64)
    for start in range(0, num_items, _BLOCK):
        noise = rng.standard_normal((_BLOCK, trained.shape[1]), np.float32)
        chosen = rng.integers(len(trained), size=_BLOCK)
        some = slice(start, min(start + _BLOCK, num_items))
        size = some.stop - start
        vectors[some] = (trained[chosen] + noise * scale)[:size]
        parents[some] = chosen[:size]
    names = [categories[0] for _, _, categories in world().items]
    _, of_parent = np.unique(names, return_inverse=True)
    return LargeCatalogue(vectors, parents, of_parent[parents], queries)


def exact_best(
    catalogue: LargeCatalogue, queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scores [q, k] and items [q, k] of an exact search."""
    scores, best = faiss.knn(queries, catalogue.vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
    return scores, best


@cache
def _trained() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    bundle, prepared = load_bundle(world().bundles), load_prepared(PREPARED)
    held_out = np.flatnonzero(np.isin(prepared.split_of, (TEST, VALIDATION)))
    events = np.random.default_rng(_SEED).permutation(held_out)[:_NUM_QUERIES]
    fused = OpenedBundle(bundle, prepared, Candidates.of(prepared), np.sort(events)).fused
    queries = np.random.default_rng(_SEED).permutation(fused.vectors[fused.known])
    return np.array(bundle.item_vectors), np.ascontiguousarray(queries)


class BuiltIndex(NamedTuple):
    """The index of a large catalogue, as training builds it and a ranker opens it."""

    catalogue: LargeCatalogue
    kind: str
    engine: Engine
    figures: dict[str, float]
    build_s: float


def index_path(num_items: int) -> Path:
    """Name the file that `built_index` writes."""
    return PREPARED.parent / f"index-{num_items}"


@cache
def built_index(num_items: int) -> BuiltIndex:
    """Build it on all cores, with queries that the bench does not ask, and open it."""
    catalogue = large_catalogue(num_items)
    path = index_path(num_items)
    faiss.omp_set_num_threads(os.cpu_count())
    started = time.perf_counter()
    queries = catalogue.queries[len(catalogue.queries) // 2 :]
    kind, figures = build_index(catalogue.vectors, path, queries)
    build_s = time.perf_counter() - started
    faiss.omp_set_num_threads(1)
    engine = open_engine(path, catalogue.vectors.shape, kind)
    return BuiltIndex(catalogue, kind, engine, figures, build_s)


def milliseconds(
    sides: Mapping[str, Callable[[NDArray[np.float32]], object]], queries: NDArray[np.float32]
) -> dict[str, NDArray[np.float64]]:
    """Time sides query by query [q, d], in turns; the first tenth warms up."""
    times: dict[str, list[float]] = {key: [] for key in sides}
    order = list(sides)
    for query in queries:
        order = order[::-1]
        for key in order:
            started = time.perf_counter()
            sides[key](query)
            times[key].append((time.perf_counter() - started) * 1e3)
    return {key: np.array(taken[len(queries) // 10 :]) for key, taken in times.items()}


def recall(found: Sequence[Iterable[int]], best: NDArray[np.int64]) -> float:
    """Return what share of the best items of each query [q, k] was found."""
    shares = [np.isin(b, list(f)).mean() for f, b in zip(found, best, strict=True)]
    return float(np.mean(shares))
