"""The lines "ranker.upsert": searches of a million items while 100,000 of them change."""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.query import Query
from tests.bench.harness import Line
from tests.bench.large import LargeCatalogue, built_index

_K = 10
_ALONE_S = 10.0
_NUM_CHANGES, _PER_MESSAGE = 100_000, 20
_EVERY_S = 0.005
_DELETING = 10
"""Every tenth message deletes its items instead."""
_SEED = 7


def measure(folder: Path) -> list[Line]:
    """Measure searches alone and while another thread changes items; then look for those."""
    del folder
    catalogue = built_index(1_000_000).catalogue
    index = ItemIndex(built_index(1_000_000).engine)
    until = time.perf_counter() + _ALONE_S
    alone_ms, _ = _search(index, catalogue, lambda: time.perf_counter() < until)
    changes = np.random.default_rng(_SEED).permutation(1_000_000)[:_NUM_CHANGES]
    messages = changes.reshape(-1, _PER_MESSAGE)
    writer = Thread(target=_change, args=(index, catalogue, messages))
    started = time.perf_counter()
    writer.start()
    while_ms, num_failed = _search(index, catalogue, writer.is_alive)
    took_s = time.perf_counter() - started
    index.finish_merge()
    deleted = messages[::_DELETING].ravel()
    changed = np.setdiff1d(changes, deleted)[:500]
    back = sum(len(_found(index, catalogue.vectors[one]) & {int(one)}) for one in deleted[:500])
    missing = sum(one not in _found(index, -catalogue.vectors[one]) for one in changed.tolist())
    p50, p99 = (float(np.percentile(while_ms, p) / np.percentile(alone_ms, p)) for p in (50, 99))
    return [
        Line("ranker.upsert", p50, f"× alone, {_NUM_CHANGES / took_s:,.0f} changes/s"),
        Line("ranker.upsert.p99", p99, f"× alone, {np.percentile(alone_ms, 99):.2f} ms").at_most(2),
        Line("ranker.upsert.failed", num_failed, f"of {len(while_ms):,} searches").at_most(0),
        Line("ranker.upsert.back", back, "deleted items that were found").at_most(0),
        Line("ranker.upsert.missing", missing, "of 500 changed items, not found").at_most(5),
    ]


def _search(
    index: ItemIndex, catalogue: LargeCatalogue, go_on: Callable[[], bool]
) -> tuple[NDArray[np.float64], int]:
    times, num_failed = [], 0
    while go_on():
        for vector in catalogue.queries[:20]:
            started = time.perf_counter()
            [hits] = index.search([Query(vector[None], _K)])
            times.append((time.perf_counter() - started) * 1e3)
            num_failed += len(hits.ids) < _K
    return np.array(times), num_failed


def _change(index: ItemIndex, catalogue: LargeCatalogue, messages: NDArray[np.int64]) -> None:
    """Delete some items and turn others round, as fast as a follower would get them."""
    for number, ids in enumerate(messages):
        if number % _DELETING == 0:
            index.remove(ids)
        else:
            index.put(ids, -catalogue.vectors[ids])
        time.sleep(_EVERY_S)


def _found(index: ItemIndex, vector: NDArray[np.float32]) -> set[int]:
    return set(index.similar(vector, _K).ids.tolist())
