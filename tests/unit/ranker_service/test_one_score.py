"""An item has one score: served on a page, evaluated over everything, and by training's formula."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.features.fusion import scores
from groundswell.features.gate import GateFeatures
from groundswell.ranker_service.pipeline import Pipeline, Ranked, RankInput
from groundswell.ranker_service.stages.fuse import Fusion
from groundswell.retrieval.exhaustive import ExhaustiveIndex
from groundswell.retrieval.neighbours import Sparse
from tests.support.indexes import opened
from tests.support.ranker import CONSTANT, LEARNED

D = 3


class RandomNeighbours:
    """Neighbour scores of many items, other ones for each window and history."""

    def __init__(self, num_items: int) -> None:
        self._num_items = num_items

    def short(self, window: NDArray[np.int64]) -> Sparse:
        return self._of(int(window.sum()))

    def long(self, history: NDArray[np.int64]) -> Sparse:
        return self._of(1_000 + int(history.sum()))

    def _of(self, seed: int) -> Sparse:
        rng = np.random.default_rng(seed)
        ids = rng.permutation(self._num_items)[: self._num_items // 2]
        return Sparse(ids.astype(np.int64), rng.random(len(ids)).astype(np.float32))


def dense(found: Sparse, num_items: int) -> torch.Tensor:
    values = np.zeros(num_items)
    values[found.rows] = found.scores
    return torch.from_numpy(values)


def trained(one: RankInput, ranked: Ranked, items: NDArray[np.float32]) -> torch.Tensor:
    """The scores by the function that training differentiates."""
    alpha = torch.from_numpy(np.asarray(ranked.alpha, np.float64))
    nothing = torch.zeros(D, dtype=torch.float64)
    short, long = (
        nothing if vector is None else torch.from_numpy(vector.astype(np.float64))
        for vector in (one.short_vector, one.long_vector)
    )
    neighbours = RandomNeighbours(len(items))
    added = (
        dense(neighbours.short(one.window), len(items)),
        dense(neighbours.long(one.history), len(items)),
    )
    return scores(alpha, (short, long), torch.from_numpy(items.astype(np.float64)), added)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 300),
    num_new=st.integers(0, 20),
    num_users=st.integers(1, 12),
    learned=st.booleans(),
    vectors=st.sampled_from(["both", "short", "long"]),
)
def test_served_evaluated_and_trained_scores_are_one(
    gate: OnnxModel, seed: int, n: int, num_new: int, num_users: int, learned: bool, vectors: str
) -> None:
    rng = np.random.default_rng(seed)
    items = rng.standard_normal((n + num_new, D)).astype(np.float32)
    index = opened(items[:n])
    index.put(np.arange(n, n + num_new), items[n:])
    parts = Fusion(gate, LEARNED if learned else CONSTANT), RandomNeighbours(len(items))
    served = Pipeline(*parts, index, np.zeros(0))
    evaluated = Pipeline(*parts, ExhaustiveIndex(index), np.zeros(0))
    inputs = [
        RankInput(
            k=len(items),
            short_vector=None if vectors == "long" else short,
            long_vector=None if vectors == "short" else long,
            window=rng.integers(0, 100, 3),
            history=rng.integers(0, 100, 9),
            gate_features=GateFeatures(float(rng.random()), 2, 5),
        )
        for short, long in rng.standard_normal((num_users, 2, D)).astype(np.float32)
    ]
    pages = served.rank([replace(one, k=min(7, len(items))) for one in inputs])
    for one, page, everything, every_one in zip(
        inputs, pages, served.rank(inputs), evaluated.rank(inputs), strict=True
    ):
        assert every_one.ids.tolist() == list(range(len(items)))
        for ranked in (page, everything):
            for name in ("scores", "short_scores", "long_scores"):
                found, due = getattr(ranked, name), getattr(every_one, name)[ranked.ids]
                np.testing.assert_array_equal(found, due, err_msg=name)
        if vectors == "both":
            due = trained(one, every_one, items)
            np.testing.assert_allclose(every_one.scores, due, rtol=1e-5, atol=1e-5)
