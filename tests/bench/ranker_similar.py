"""The line "ranker.similar": the items nearest to one of a million, against a search."""

from pathlib import Path

import numpy as np

from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.query import Query
from tests.bench.harness import Line
from tests.bench.large import built_index, milliseconds, recall

_K = 10
_NUM_ITEMS = 200


def measure(folder: Path) -> list[Line]:
    """Measure the latency as a ratio, and the recall against comparing all items."""
    del folder
    built = built_index(1_000_000)
    index, vectors = ItemIndex(built.engine), built.catalogue.vectors
    asked = vectors[:_NUM_ITEMS]
    times = milliseconds(
        {
            "similar": lambda vector: index.similar(vector, _K),
            "search": lambda vector: index.search([Query(vector[None], _K)]),
        },
        asked,
    )
    content = vectors[:, :-1] / np.linalg.norm(vectors[:, :-1], axis=1, keepdims=True)
    cosines = content[:_NUM_ITEMS] @ content.T
    best = np.argpartition(-cosines, _K - 1)[:, :_K]
    found = [index.similar(vector, _K).ids.tolist() for vector in asked]
    ratio = float(np.median(times["similar"]) / np.median(times["search"]))
    return [
        Line("ranker.similar", ratio, "× a search, at 1,000,000 items").at_most(2),
        Line("ranker.similar.recall@10", recall(found, best), "of the nearest by cosine"),
    ]
