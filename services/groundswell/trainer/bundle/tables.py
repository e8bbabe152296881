"""Writes the tables of a bundle: items, their vectors, index, texts, popularity, neighbours.

I items, t text dimensions.
"""

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
import polars as pl
from numpy.typing import NDArray

from groundswell.artifacts import bundle as files
from groundswell.artifacts.bundle import Canary
from groundswell.artifacts.manifest import CanarySpec, FusionSpec
from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.artifacts.text_sample import write_text_sample
from groundswell.ranker_service.canary import canary_recall, fused
from groundswell.ranker_service.stages.fuse import Fusion
from groundswell.retrieval.engines import build_index, open_engine
from groundswell.trainer.dataset.prepared import TRAIN, Prepared

_ITEM_BATCH = 8_192
_MOST_QUERIES, _BEST, _MEAN_OF = 64, 10, 10


def write_items(
    folder: Path,
    prepared: Prepared,
    texts_It: NDArray[np.floating],
    queries_nd: NDArray[np.float32],
) -> tuple[str, dict[str, float]]:
    """Write the items in row order, their vectors by the exported head, index, and sample.

    Returns kind and figures of the index; see `build_index`, which searches it with `queries_nd`.
    """
    vectors = _vectors(OnnxModel(folder / files.ITEM_HEAD), texts_It)
    np.save(folder / files.ITEM_VECTORS, vectors)
    index = build_index(vectors, folder / files.INDEX, queries_nd)
    ids = pl.DataFrame({"item_id": prepared.item_ids})
    # polars reads a ~ at the start of a relative path as a home folder.
    ids.write_parquet((folder / files.ITEMS).absolute())
    counts = np.bincount(prepared.items[prepared.split_of == TRAIN], minlength=prepared.num_items)
    popular = ids.with_columns(popularity=counts.astype(np.float64))
    popular.write_parquet((folder / files.POPULARITY).absolute())
    write_text_sample(folder, prepared.titles, prepared.texts)
    return index


def write_canary(
    folder: Path,
    users: Sequence[NDArray[np.float32]],
    users_n: NDArray[np.integer],
    spec: FusionSpec,
    index_kind: str | None,
) -> CanarySpec | None:
    """Keep means of users as queries, with the best items of each; None with fewer than ten users.

    A bundle is copied where no erasure reaches it, so it must not hold a person's vectors: each
    query is the mean of ten or more users, each with one of their events. `users` are the short and
    long vectors and the gate features before n events, `users_n` the users that these are of.
    """
    _, one_each = np.unique(users_n, return_index=True)
    num = min(len(one_each) // _MEAN_OF, _MOST_QUERIES)
    if not num:
        return None
    vectors_Id = np.load(folder / files.ITEM_VECTORS)
    fusion = Fusion(OnnxModel(folder / files.FUSION), spec)
    # Those with the same best item are in one group: so the means differ as users do.
    order = one_each[
        np.argsort(_best([one[one_each] for one in users], fusion, vectors_Id, 1)[:, 0])
    ]
    groups = np.array_split(order, num)
    means = [np.stack([one[group].mean(0) for group in groups]) for one in users]
    canary = Canary._make([*means, _best(means, fusion, vectors_Id, _BEST)])
    canary.write(folder)
    engine = open_engine(folder / files.INDEX, vectors_Id.shape, index_kind)
    return CanarySpec(num=num, recall=canary_recall(canary, fusion, engine))


def write_neighbours(
    folder: Path, rows: NDArray[np.int32], similarities: NDArray[np.float16]
) -> None:
    """Write the neighbours of each item, [I, K] as `retrieval.neighbours` reads them."""
    np.save(folder / files.NEIGHBOUR_ROWS, rows)
    np.save(folder / files.NEIGHBOUR_SIMILARITIES, similarities)


def _best(
    users: Sequence[NDArray[np.float32]], fusion: Fusion, vectors_Id: NDArray[np.float32], k: int
) -> NDArray[np.int32]:
    """[n, k] the rows of the best items for users, by an exact search."""
    queries = np.ascontiguousarray(fused(fusion, *users))
    k = min(k, len(vectors_Id))
    _, best = faiss.knn(queries, vectors_Id, k, metric=faiss.METRIC_INNER_PRODUCT)
    rows: NDArray[np.int32] = best.astype(np.int32)
    return rows


def _vectors(head: OnnxModel, texts_It: NDArray[np.floating]) -> NDArray[np.float32]:
    rows = np.arange(len(texts_It), dtype=np.int64)
    parts = [slice(start, start + _ITEM_BATCH) for start in range(0, len(rows), _ITEM_BATCH)]
    return np.concatenate(
        [
            head.run(text_vectors=texts_It[p].astype(np.float32, copy=False), rows=rows[p])
            for p in parts
        ]
    )
