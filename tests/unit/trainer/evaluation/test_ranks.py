"""Targets are ranked among all candidates, exactly as the ranker's own pipeline would."""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from groundswell.artifacts.manifest import FusionSpec
from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.features.gate import GateFeatures
from groundswell.ranker_service.pipeline import Pipeline, RankInput
from groundswell.ranker_service.stages.fuse import Fusion
from groundswell.retrieval.exhaustive import ExhaustiveIndex
from groundswell.retrieval.flat import FlatEngine
from groundswell.retrieval.item_index import ItemIndex
from groundswell.trainer.dataset.prepared import TEST, Prepared
from groundswell.trainer.evaluation.bundle_items import Candidates
from groundswell.trainer.evaluation.ranks import (
    LIST_LENGTH,
    RankedTargets,
    by_item,
    by_pipeline,
    rank_targets,
)
from groundswell.trainer.ranking.targets import choose_targets
from tests.unit.trainer.memory import prepared_of

D = 6
NUM_ITEMS = 400


@pytest.fixture(scope="module")
def world() -> Prepared:
    """Forty histories over 400 items; the last items have no event; one user has no past."""
    rng = np.random.default_rng(3)
    histories = [rng.integers(NUM_ITEMS - 5, size=rng.integers(3, 30)).tolist() for _ in range(40)]
    held_out = [(0, TEST)] * 40 + [(TEST,)]
    return prepared_of([*histories, [2]], held_out=held_out, num_items=NUM_ITEMS)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    """A gate whose α is the sigmoid of the first gate feature, in every dimension."""
    path = tmp_path_factory.mktemp("gate") / "fusion.onnx"
    names = {"short_vectors": D, "long_vectors": D, "gate_features": 3}
    weights = np.zeros((2 * D + 3, D), np.float32)
    weights[2 * D] = 1
    graph = helper.make_graph(
        [
            helper.make_node("Concat", list(names), ["x"], axis=1),
            helper.make_node("MatMul", ["x", "weights"], ["y"]),
            helper.make_node("Sigmoid", ["y"], ["alphas"]),
        ],
        "gate",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", w]) for n, w in names.items()],
        [helper.make_tensor_value_info("alphas", TensorProto.FLOAT, ["b", D])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return OnnxModel(path)


class Bench:
    """Random vectors for items and users, ranked by the pipeline one user at a time."""

    def __init__(self, world: Prepared, gate: OnnxModel) -> None:
        rng = np.random.default_rng(7)
        self.world = world
        self.candidates = Candidates.of(world)
        self.events = choose_targets(world, TEST, include_seen=False).events
        n, m = len(self.events), len(self.candidates)
        self.vectors = rng.standard_normal((m, D)).astype(np.float32)
        # Items that are the same must tie, in the evaluation as in the ranker.
        self.vectors[rng.choice(m, m // 2)] = self.vectors[0]
        self.popularity = rng.integers(4, size=m).astype(np.float64)
        self.short, self.long = (rng.standard_normal((n, D)).astype(np.float32) for _ in range(2))
        self.features = rng.uniform(0, 2, (n, 3)).astype(np.float32)
        self.known = self.events > world.offsets[world.users[self.events]]
        spec = FusionSpec(
            mode="learned", constant_alpha=0.3, gate_low=(-9, -9, -9), gate_high=(9, 9, 9)
        )
        index = ItemIndex(FlatEngine.build(self.vectors))
        self.fusion = Fusion(gate, spec)
        self.pipeline = Pipeline(self.fusion, None, index, self.popularity)
        exhaustive = ExhaustiveIndex(index)
        self.exhaustive = Pipeline(self.fusion, None, exhaustive, self.popularity)

    def rank(self, *, include_seen: bool = False) -> RankedTargets:
        # The items are numbered as the candidates' columns.
        columns = Candidates(np.arange(len(self.candidates)), np.arange(len(self.candidates)))
        scores = by_pipeline(
            self.exhaustive,
            lambda some: [self.input(n) for n in range(*some.indices(len(self.events)))],
            columns,
        )
        return rank_targets(
            self.world,
            self.candidates,
            self.events,
            {"fused": scores},
            include_seen=include_seen,
        )["fused"]

    def input(self, n: int, exclude: Sequence[NDArray[np.int64]] = ()) -> RankInput:
        known = bool(self.known[n])
        return RankInput(
            k=len(self.candidates),
            short_vector=self.short[n] if known else None,
            long_vector=self.long[n] if known else None,
            gate_features=GateFeatures(*np.expm1(self.features[n]).tolist()),
            exclude=exclude,
        )

    def served(self, n: int, *, include_seen: bool = False) -> tuple[int, list[int]]:
        """The rank of a target and the first ten items, as the ranker gives them."""
        event = int(self.events[n])
        begin = int(self.world.offsets[self.world.users[event]])
        seen = np.unique(self.candidates.columns[self.world.items[begin:event]])
        [ranked] = self.pipeline.rank([self.input(n, () if include_seen else [seen])])
        target = self.candidates.columns[self.world.items[event]]
        own = ranked.scores[ranked.ids == target][0]
        return int((ranked.scores >= own).sum()), ranked.ids[:LIST_LENGTH].tolist()


@pytest.fixture
def bench(world: Prepared, gate: OnnxModel) -> Bench:
    return Bench(world, gate)


@pytest.mark.parametrize("include_seen", [False, True])
def test_ranks_are_those_of_the_pipeline_with_ties_against_the_target(
    bench: Bench, include_seen: bool
) -> None:
    outcome = bench.rank(include_seen=include_seen)
    due = [bench.served(n, include_seen=include_seen)[0] for n in range(len(bench.events))]
    assert outcome.ranks.tolist() == due
    assert not bench.known.all()
    assert bench.known.sum() > 30


def test_the_lists_are_the_best_ten_of_the_pipeline(bench: Bench) -> None:
    """Of equal scores any may be in the list: the scores must be the same."""
    outcome = bench.rank()
    for n in np.flatnonzero(bench.known).tolist():
        due = bench.served(n)[1]
        alpha = 1 / (1 + np.exp(-bench.features[n, 0]))
        scores = bench.vectors @ (alpha * bench.short[n] + (1 - alpha) * bench.long[n])
        found = outcome.lists[n]
        assert len(set(found.tolist())) == LIST_LENGTH
        np.testing.assert_allclose(np.sort(scores[found]), np.sort(scores[due]), atol=1e-5)


def test_a_model_that_scores_all_items_alike_ranks_every_target_last(bench: Bench) -> None:
    same = {"same": by_item(np.zeros(len(bench.candidates)))}
    world, events = bench.world, bench.events
    found = rank_targets(world, bench.candidates, events, same, include_seen=True)["same"]
    assert set(found.ranks.tolist()) == {len(bench.candidates)}


def test_scores_that_differ_only_in_double_precision_are_no_tie(world: Prepared) -> None:
    candidates = Candidates.of(world)
    events = choose_targets(world, TEST, include_seen=True).events[:1]
    target = candidates.columns[world.items[events[0]]]
    scores = np.full(len(candidates), 1e9)
    scores[target] += 1e-4
    found = rank_targets(world, candidates, events, {"one": by_item(scores)}, include_seen=True)
    assert found["one"].ranks.tolist() == [1]
    assert target in found["one"].lists[0]


def test_a_short_catalogue_leaves_places_of_the_list_empty() -> None:
    log = prepared_of([[0, 1, 2, 3], [4, 5]], held_out=[(TEST,), ()])
    candidates = Candidates.of(log)
    events = choose_targets(log, TEST, include_seen=False).events
    scores: NDArray[np.float64] = np.arange(6.0)
    found = rank_targets(log, candidates, events, {"one": by_item(scores)}, include_seen=False)
    assert sorted(found["one"].lists[0].tolist()) == [-1] * 7 + [3, 4, 5]
    assert found["one"].ranks.tolist() == [3]
