"""Popular items are those of all that pass, though most calls look at the first of them alone."""

import numpy as np
import pytest

from groundswell.ranker_service.stages import retrieve
from groundswell.ranker_service.stages.retrieve import PopularItems
from groundswell.retrieval.flat import FlatEngine
from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.item_index import ItemIndex

N, ROOM = 300, 320


@pytest.mark.parametrize("seed", range(10))
def test_the_most_popular_items_that_can_be_found_come_first(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieve, "_NUM_FIRST", 40)
    rng = np.random.default_rng(seed)
    index = ItemIndex(FlatEngine.build(rng.standard_normal((N, 3)).astype(np.float32)))
    values = np.concatenate([rng.integers(0, 30, N), np.zeros(ROOM - N)]).astype(np.float64)
    popular = PopularItems(values)
    there = np.arange(ROOM + 5) < N
    for _ in range(4):
        gone, hidden, new = (
            rng.choice(N, 20, replace=False),
            rng.choice(N, 3, replace=False),
            rng.integers(N, 325),
        )
        index.remove(gone)
        index.hide(hidden, np.ones(3, dtype=bool))
        index.put(np.array([new]), np.ones((1, 3), np.float32))
        there[[*gone, *hidden]] = False
        there[new] = True
        for k, num_seen, share in [
            (5, 0, 1.0),
            (5, 60, 1.0),
            (9, 10, 0.05),
            (50, 0, 1.0),
            (0, 3, 1.0),
        ]:
            seen = rng.choice(ROOM + 5, num_seen, replace=False)
            within = rng.random(ROOM + 5) < share
            passing = there & within
            passing[seen] = False
            ids = np.flatnonzero(passing)
            due = ids[np.lexsort((ids, -np.pad(values, (0, 5))[ids]))][:k]
            hits = popular.best(index, k, seen, None if share == 1 else IdSet.of(within))
            assert hits.ids.tolist() == due.tolist()
            assert hits.scores.tolist() == np.pad(values, (0, 5))[due].tolist()
