"""Milvus behind the seam of the engines: its suite, an index over it, and what outages do."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pymilvus import MilvusClient

from groundswell.artifacts.store import load_bundle
from groundswell.ranker_service import bundle_ranker
from groundswell.ranker_service.bundle_ranker import BundleRanker, ItemChanges
from groundswell.ranker_service.catalogue import CatalogueItem
from groundswell.ranker_service.pipeline import RankInput
from groundswell.ranker_service.settings import RankerSettings
from groundswell.retrieval import milvus_vectors
from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.milvus import MilvusEngine
from groundswell.retrieval.query import Query
from tests.support.bundles import ITEMS, tiny_bundle
from tests.support.milvus import Milvus, milvus
from tests.support.processes import SECRET
from tests.support.waiting import eventually
from tests.unit.retrieval.test_engine import (
    QUERIES,
    VECTORS,
    D,
    N,
    test_a_region_has_most_of_the_nearest_by_cosine,
    test_a_search_returns_the_best_rows_that_pass,
    test_an_engine_is_extended_by_more_vectors,
    test_an_engine_is_rebuilt_of_other_vectors,
    test_an_engine_keeps_the_vectors_that_it_was_built_of,
    test_positions_that_are_not_found_are_minus_one,
    test_without_a_selection_every_position_may_be_returned,
)

__all__ = [
    "test_a_region_has_most_of_the_nearest_by_cosine",
    "test_a_search_returns_the_best_rows_that_pass",
    "test_an_engine_is_extended_by_more_vectors",
    "test_an_engine_is_rebuilt_of_other_vectors",
    "test_an_engine_keeps_the_vectors_that_it_was_built_of",
    "test_positions_that_are_not_found_are_minus_one",
    "test_without_a_selection_every_position_may_be_returned",
]

_PATIENT_S = 60.0
"""The small Milvus is slow, and so is a machine that runs tests."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Milvus]:
    with milvus(tmp_path_factory.mktemp("milvus")) as running:
        yield running


@pytest.fixture(scope="module")
def engine(server: Milvus) -> MilvusEngine:
    made = MilvusEngine.of(VECTORS, server.address, timeout_s=_PATIENT_S)
    assert made.is_up
    return made


def test_an_index_over_milvus_follows_the_catalogue(engine: MilvusEngine) -> None:
    index, rng = ItemIndex(engine), np.random.default_rng(3)
    vectors = dict(enumerate(VECTORS))
    gone = rng.choice(N, 100, replace=False)
    index.remove(gone)
    changed = rng.choice(np.setdiff1d(np.arange(N), gone), 50, replace=False)
    others = 1.5 * rng.standard_normal((50, D)).astype(np.float32)
    index.put(changed, others)
    vectors |= dict(zip(changed.tolist(), others, strict=True))
    for query in QUERIES[:5]:
        allowed, exclude = IdSet.of(rng.random(N) < 0.4), rng.choice(N, 30, replace=False)
        [hits] = index.search([Query(query[None], 10, exclude, allowed)])
        may_be = np.setdiff1d(allowed.ids, np.concatenate([gone, exclude]))
        best = sorted(may_be.tolist(), key=lambda item: -float(vectors[item] @ query))[:10]
        assert hits.ids.tolist() == best
    assert index.num_fallbacks == 0


def test_without_milvus_popular_items_are_compared_until_it_is_back(server: Milvus) -> None:
    vectors = VECTORS[:300].copy()
    engine = MilvusEngine.of(vectors, server.address, timeout_s=_PATIENT_S)
    server.kill()
    for query in QUERIES[:2]:
        scores, [found] = engine.search(query[None], 10, None, 1.0)
        assert found.tolist() == np.argsort(-(vectors @ query))[:10].tolist()
        assert (np.diff(scores[0]) <= 0).all()
    assert (engine.num_fallbacks, engine.is_up) == (2, False)
    assert engine.region(QUERIES[0], 1.0) is None
    # One that is opened meanwhile answers too, and finds Milvus later.
    opened = MilvusEngine.of(vectors + np.float32(1), server.address, timeout_s=_PATIENT_S)
    assert not opened.is_up
    server.start()
    eventually(lambda: engine.is_up and opened.is_up, timeout_s=_PATIENT_S)
    _, [found] = engine.search(QUERIES[:1], 10, None, 1.0)
    assert found.tolist() == np.argsort(-(vectors @ QUERIES[0]))[:10].tolist()
    assert engine.num_fallbacks == 2


def test_a_milvus_that_hangs_delays_nobody_and_fails_no_search(server: Milvus) -> None:
    vectors = VECTORS[:200].copy()
    engine = MilvusEngine.of(vectors, server.address)
    due = np.argsort(-(vectors @ QUERIES[0]))[:10].tolist()
    dropped, freed = engine.rebuilt(vectors[:50]), engine.rebuilt(vectors[:60])
    assert engine.is_up and dropped.is_up and freed.is_up
    client, name = MilvusClient(uri=server.address.uri), dropped._stored.name
    del dropped
    eventually(lambda: not client.has_collection(name), timeout_s=_PATIENT_S)
    with server.hung():
        for _ in range(2):
            _, [found] = engine.search(QUERIES[:1], 10, None, 1.0)
            assert found.tolist() == due
        assert (engine.num_fallbacks, engine.is_up) == (2, False)
        begin = time.monotonic()
        del freed
        assert time.monotonic() - begin < 1
        opened = MilvusEngine.of(vectors + np.float32(2), server.address)
        assert not opened.is_up
    eventually(lambda: engine.is_up and opened.is_up, timeout_s=_PATIENT_S)


def test_rows_that_others_delete_or_add_are_noticed_and_mended(
    server: Milvus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus_vectors, "_CHECK_S", 0.0)
    vectors = VECTORS[:250].copy()
    engine = MilvusEngine.of(vectors, server.address, timeout_s=_PATIENT_S)
    client, name = MilvusClient(uri=server.address.uri), engine._stored.name
    client.delete(name, ids=list(range(0, 250, 2)))
    large = np.full(D, 50, np.float32)
    client.upsert(name, [{"position": n, "vector": large, "direction": large} for n in (-5, 10**6)])

    def positions() -> list[int]:
        rows = client.query(
            name, filter="", output_fields=["position"], limit=1_000, consistency_level="Strong"
        )
        return sorted(row["position"] for row in rows)

    assert len(positions()) == 127
    _, [found] = engine.search(large[None], 10, None, 1.0)
    assert set(found.tolist()) <= set(range(250))
    eventually(lambda: engine.is_up and positions() == list(range(250)), timeout_s=_PATIENT_S)


async def test_a_ranker_says_when_milvus_did_not_answer(
    server: Milvus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_ranker, "SCANNED_UP_TO", 0)
    bundle = load_bundle(tiny_bundle(tmp_path))
    settings = RankerSettings(secret=SECRET, bundles=tmp_path, milvus_address=server.address.uri)
    ranker = BundleRanker(bundle, settings)
    items = [
        CatalogueItem(n, item_id, title, categories, {}, available=True)
        for n, (item_id, title, categories) in enumerate(ITEMS)
    ]
    ranker.change(ItemChanges(items, list(bundle.item_vectors), np.empty(0, np.int64)))
    asked = RankInput(k=5, short_vector=np.ones(bundle.manifest.dimension, np.float32))
    server.kill()
    [without] = await ranker.rank([asked])
    assert without.among_popular and len(without.ids) == 5
    await ranker.close()
