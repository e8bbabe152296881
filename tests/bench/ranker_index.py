"""The lines "ranker.index": a search of a million items against an exact one and other libraries.

Queries are fused vectors as they are served. How hard they are, the exact search says: `gap` is how
far the tenth item's score is above the hundredth's, in standard deviations of all scores.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import hnswlib
import numpy as np
from numpy.typing import NDArray
from usearch.index import Index as UsearchIndex

from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.ivf import IvfEngine
from groundswell.retrieval.query import Query
from tests.bench.harness import Line
from tests.bench.large import BuiltIndex, built_index, exact_best, milliseconds, recall

_K = 10
_NUM_QUERIES = 300
_LINKS, _BUILD_DEPTH = 16, 100
_DEPTHS = (64, 128, 256, 512, 1_024)
_RECALL = 0.98

Find = Callable[[NDArray[np.float32]], list[int]]


def measure(folder: Path) -> list[Line]:
    """Measure the curve over sizes, and one million items against everything else."""
    del folder
    lines = [line for size in (10_000, 100_000) for line in _against_exact(size, f".{size}")]
    lines += _against_exact(1_000_000, "")
    return [*lines, *_hardness(), *_peers()]


def _against_exact(num_items: int, suffix: str) -> Iterator[Line]:
    built = built_index(num_items)
    queries = built.catalogue.queries[:_NUM_QUERIES]
    index = ItemIndex(built.engine)
    flat = faiss.IndexFlatIP(queries.shape[1])
    flat.add(built.catalogue.vectors)
    sides: dict[str, Callable[[NDArray[np.float32]], object]] = {
        "ours": lambda query: index.search([Query(query[None], _K)]),
        "exact": lambda query: flat.search(query[None], _K),
    }
    times = milliseconds(sides, queries)
    hits = index.search([Query(query[None], _K) for query in queries])
    found = recall([one.ids.tolist() for one in hits], exact_best(built.catalogue, queries, _K)[1])
    ours, exact = np.median(times["ours"]), np.median(times["exact"])
    name = f"ranker.index{suffix}"
    lines = [
        Line(name, ours / exact, f"× an exact search of {exact:.2f} ms, one thread"),
        Line(f"{name}.p99", np.percentile(times["ours"], 99) / exact, "× an exact search's median"),
        Line(f"{name}.recall@10", found, f"of {num_items:,} items").at_least(_RECALL),
        Line(f"{name}.build_s", built.build_s, "s, two threads"),
    ]
    if num_items == 1_000_000:
        lines[0], lines[3] = lines[0].at_most(0.12), lines[3].at_most(180)
    yield from lines
    if isinstance(built.engine, IvfEngine):
        # Apart from the exact search, which leaves nothing of either in the processor's cache.
        sides = {"ours": sides["ours"], "faiss": _faiss_alone(built.engine)}
        times = milliseconds(sides, queries)
        ratio = float(np.median(times["ours"]) / np.median(times["faiss"]))
        yield Line(f"{name}.faiss", ratio, "× FAISS alone").at_most(1.2)
        yield Line(f"{name}.depth", built.figures["index.depth"], "cells read")


def _faiss_alone(engine: IvfEngine) -> Find:
    """Search the same cells to the same depth, and score as many exactly, all by FAISS."""
    flat = faiss.IndexFlatIP(engine.vectors.shape[1])
    flat.add(engine.vectors)
    refined = faiss.IndexRefine(engine.index, flat)
    parameters = faiss.IndexRefineSearchParameters(
        k_factor=6, base_index_params=faiss.SearchParametersIVF(nprobe=engine.depth)
    )
    return lambda query: refined.search(query[None], _K, params=parameters)


def _hardness() -> Iterator[Line]:
    catalogue = built_index(1_000_000).catalogue
    queries = catalogue.queries[:_NUM_QUERIES]
    scores, _ = exact_best(catalogue, queries, 100)
    spread = (catalogue.vectors[:20_000] @ queries.T).std(0)
    gap = float(np.mean((scores[:, 9] - scores[:, 99]) / spread))
    top = float(np.mean(scores[:, 9] / spread))
    yield Line("ranker.index.gap", gap, f"deviations; the tenth score is {top:.1f} above 0")


def _peers() -> Iterator[Line]:
    built = built_index(1_000_000)
    index = ItemIndex(built.engine)

    def ours(query: NDArray[np.float32]) -> list[int]:
        [hits] = index.search([Query(query[None], _K)])
        ids: list[int] = hits.ids.tolist()
        return ids

    for name, build in (("hnswlib", _hnswlib), ("usearch", _usearch)):
        started = time.perf_counter()
        at_depth = build(built.catalogue.vectors)
        build_s = time.perf_counter() - started
        yield from _peer(f"ranker.index.{name}", built, ours, at_depth, build_s)


def _peer(
    name: str, built: BuiltIndex, ours: Find, at_depth: Callable[[int], Find], build_s: float
) -> Iterator[Line]:
    """Compare with a library at the least depth of which the recall is as asked, or the most."""
    queries = built.catalogue.queries[:_NUM_QUERIES]
    best = exact_best(built.catalogue, queries, _K)[1]
    for depth in _DEPTHS:
        find = at_depth(depth)
        found = recall([find(query) for query in queries], best)
        if found >= _RECALL:
            break
    times = milliseconds({"ours": ours, "theirs": find}, queries)
    theirs = np.median(times["theirs"])
    unit = f"× {name.rpartition('.')[2]} at depth {depth}: {theirs:.2f} ms"
    yield Line(name, np.median(times["ours"]) / theirs, unit)
    yield Line(f"{name}.recall@10", found, f"built in {build_s:.0f} s")


def _hnswlib(vectors: NDArray[np.float32]) -> Callable[[int], Find]:
    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    index.init_index(len(vectors), ef_construction=_BUILD_DEPTH, M=_LINKS)
    index.add_items(vectors, num_threads=2)
    index.set_num_threads(1)

    def at_depth(depth: int) -> Find:
        index.set_ef(depth)
        return lambda query: index.knn_query(query[None], _K)[0][0].tolist()

    return at_depth


def _usearch(vectors: NDArray[np.float32]) -> Callable[[int], Find]:
    index = UsearchIndex(
        ndim=vectors.shape[1],
        metric="ip",
        dtype="f32",
        connectivity=_LINKS,
        expansion_add=_BUILD_DEPTH,
    )
    index.add(np.arange(len(vectors)), vectors, threads=2)

    def at_depth(depth: int) -> Find:
        index.expansion_search = depth  # type: ignore[misc,unused-ignore]  # it has a setter
        return lambda query: index.search(query, _K, threads=1).keys.tolist()

    return at_depth
