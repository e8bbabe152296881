"""FAISS beside the other libraries that bring threads of their own: right results, no crash."""

import subprocess
import sys

import pytest

_SEARCH = """
from threading import Thread

import numpy as np
from groundswell.retrieval.flat import FlatEngine
from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.query import Query

rng = np.random.default_rng(0)
vectors = rng.standard_normal((5_000, 32)).astype(np.float32)
index = ItemIndex(FlatEngine.build(vectors))


def search():
    for query in rng.standard_normal((20, 1, 32)).astype(np.float32):
        [hits] = index.search([Query(query, 10)])
        assert hits.ids.tolist() == np.argsort(-(vectors @ query[0]))[:10].tolist()


def search_in_threads():
    found = []

    def run():
        search()
        found.append(True)

    threads = [Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
"""

_TRAIN = """
import torch

model = torch.nn.Linear(32, 32)
for _ in range(20):
    loss = model(torch.randn(64, 32)).square().mean()
    loss.backward()
assert torch.isfinite(model.weight.grad).all()
"""


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("first", ["torch", "faiss"])
def test_faiss_and_torch_work_in_one_process_whichever_is_loaded_first(first: str) -> None:
    parts = [_TRAIN, _SEARCH] if first == "torch" else [_SEARCH, _TRAIN]
    done = run("\n".join([*parts, "search_in_threads()", _TRAIN, "search_in_threads()"]))
    assert done.returncode == 0, done.stderr


def test_the_ranker_process_loads_neither_torch_nor_sql_and_sets_its_thread_numbers() -> None:
    code = """
import os, sys
for name in list(os.environ):
    if name.endswith("_THREADS"):
        del os.environ[name]
import groundswell.ranker_service.__main__
loaded = {"torch", "transformers", "sqlalchemy", "tokenizers"} & set(sys.modules)
assert not loaded, loaded
import faiss, polars
assert faiss.omp_get_max_threads() == 1
assert polars.thread_pool_size() == 1
"""
    done = run(code)
    assert done.returncode == 0, done.stderr
