"""The line "ranker.batch": how many users a second are searched for, their vectors given."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.query import Query
from tests.bench.harness import Line
from tests.bench.large import built_index, exact_best, recall

_K = 10
_BATCH = 256
_NUM_BATCHES = 16
_THREADS = 2


def measure(folder: Path) -> list[Line]:
    """Measure batches of as many users as a call has at most, on two threads."""
    del folder
    built = built_index(1_000_000)
    index, vectors = ItemIndex(built.engine), built.catalogue.queries[: 2 * _BATCH]
    queries = [Query(vector[None], _K) for vector in vectors[:_BATCH]]
    hits = index.search(queries)
    found = recall(
        [one.ids.tolist() for one in hits], exact_best(built.catalogue, vectors[:_BATCH], _K)[1]
    )
    with ThreadPoolExecutor(_THREADS) as threads:
        started = time.perf_counter()
        list(threads.map(lambda _: index.search(queries), range(_NUM_BATCHES)))
        took_s = time.perf_counter() - started
    per_s = _NUM_BATCHES * _BATCH / took_s
    return [
        Line("ranker.batch", per_s, "users/s, vectors given, two threads").at_least(3_000),
        Line(
            "ranker.batch.recall@10", found, f"of {len(np.unique(vectors, axis=0))} users"
        ).at_least(0.95),
    ]
