"""Writes the tables of a bundle: items, their vectors, index, texts, popularity, neighbours.

I items, t text dimensions.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import faiss
import numpy as np
import polars as pl
from numpy.typing import NDArray

from groundswell.artifacts import bundle as files
from groundswell.artifacts.bundle import Canary
from groundswell.artifacts.manifest import CanarySpec
from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.artifacts.text_sample import write_text_sample
from groundswell.retrieval.engines import build_index
from groundswell.trainer.dataset.prepared import TRAIN, Prepared

_ITEM_BATCH = 8_192
_MOST_QUERIES, _BEST = 64, 10


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
    queries_nd: NDArray[np.float32],
    index_figures: Mapping[str, float],
) -> CanarySpec | None:
    """Keep some users as queries, with the best items of each; None without any user.

    `users` are short and long vectors and gate features, fused to `queries_nd`.
    """
    step = max(len(queries_nd) // _MOST_QUERIES, 1)
    queries = np.ascontiguousarray(queries_nd[::step][:_MOST_QUERIES])
    if not len(queries):
        return None
    vectors_Id = np.load(folder / files.ITEM_VECTORS)
    k = min(_BEST, len(vectors_Id))
    _, best = faiss.knn(queries, vectors_Id, k, metric=faiss.METRIC_INNER_PRODUCT)
    some = [one[::step][:_MOST_QUERIES] for one in users]
    Canary._make([*some, best.astype(np.int32)]).write(folder)
    return CanarySpec(num=len(queries), recall=index_figures.get("index.recall@10", 1.0))


def write_neighbours(
    folder: Path, rows: NDArray[np.int32], similarities: NDArray[np.float16]
) -> None:
    """Write the neighbours of each item, [I, K] as `retrieval.neighbours` reads them."""
    np.save(folder / files.NEIGHBOUR_ROWS, rows)
    np.save(folder / files.NEIGHBOUR_SIMILARITIES, similarities)


def _vectors(head: OnnxModel, texts_It: NDArray[np.floating]) -> NDArray[np.float32]:
    rows = np.arange(len(texts_It), dtype=np.int64)
    parts = [slice(start, start + _ITEM_BATCH) for start in range(0, len(rows), _ITEM_BATCH)]
    return np.concatenate(
        [
            head.run(text_vectors=texts_It[p].astype(np.float32, copy=False), rows=rows[p])
            for p in parts
        ]
    )
