"""Targets are ranked among all candidates, through the ranker's own pipeline."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from groundswell.artifacts.item_index import ItemIndex, build_index
from groundswell.artifacts.manifest import FusionSpec
from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.ranker_service.fusion import Fusion
from groundswell.ranker_service.pipeline import Pipeline
from groundswell.trainer.data import TEST, Prepared, load_prepared
from groundswell.trainer.evaluation.candidates import Candidates
from groundswell.trainer.evaluation.ranks import (
    MODELS,
    Outcome,
    TargetRanker,
    Targets,
    Views,
    choose_targets,
)
from groundswell.trainer.splits import Split
from tests.unit.trainer.logs import log, prepared

D = 4
ITEMS = "item_id,title\n" + "".join(f"{name},{name.upper()}\n" for name in "abcdefgh")
T = 1_700_000_000
HISTORIES = {"u": "abcd", "v": "bcae", "w": "aba", "x": "cb", "y": "ed"}
"""w's last event repeats an item; y has too few events to be tested; g and h have no event."""


@pytest.fixture
def world(tmp_path: Path) -> Prepared:
    rows = [
        f"{user},{item},view,{T + n}"
        for user, items in HISTORIES.items()
        for n, item in enumerate(items)
    ]
    rows.append(f"x,f,view,{T - 1}")
    prepared(tmp_path, log(*rows), ITEMS, split=Split.LEAVE_ONE_OUT)
    return load_prepared(tmp_path / "out")


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
    """Random vectors for items and users, and every model's scores computed by hand."""

    def __init__(self, world: Prepared, gate: OnnxModel, folder: Path) -> None:
        rng = np.random.default_rng(7)
        self.world = world
        # The bundle knows the items in another order, and one item that the log does not have.
        self.ids = np.array([3, 1, 0, 5, 2, 4, -1, -1])
        self.vectors = rng.standard_normal((7, D)).astype(np.float32)
        self.popularity = np.array([1.0, 3.0, 2.0, 3.0, 1.0, 0.0, 9.0])
        self.views = Views(
            rng.standard_normal((len(world.items), D)).astype(np.float32),
            rng.standard_normal((len(world.items), D)).astype(np.float32),
            rng.uniform(-2, 2, (len(world.items), 3)).astype(np.float32),
        )
        build_index(self.vectors, folder / "index.faiss")
        self.allowed = np.array([True] * 6 + [False])
        self.candidates = Candidates(
            index=ItemIndex(folder / "index.faiss", 7, D),
            ids=self.ids,
            vectors=self.vectors[self.ids],
            allowed=self.allowed,
            popularity=self.popularity,
            num_by_text=0,
        )
        self.spec = FusionSpec(
            mode="learned", constant_alpha=0.3, gate_low=(-9, -9, -9), gate_high=(9, 9, 9)
        )
        self.pipeline = Pipeline(Fusion(gate, self.spec), self.candidates.index, self.popularity)

    def rank(self, events: NDArray[np.int64], *, include_seen: bool = False) -> Outcome:
        ranker = TargetRanker(
            self.world, self.candidates, self.pipeline, self.spec, include_seen=include_seen
        )
        return ranker.rank(events, self.views_before)

    def views_before(self, events: NDArray[np.int64]) -> Views:
        short, long, gate_features = self.views
        return Views(short[events], long[events], gate_features[events])

    def scores(self, model: str, event: int) -> NDArray[np.floating]:
        short, long, gate = (part[event] for part in self.views)
        alpha = {
            "short": 1.0,
            "long": 0.0,
            "constant": 0.3,
            "fused": 1 / (1 + np.exp(-gate[0])),
            "popularity": 0.0,
        }[model]
        if model == "popularity":
            return self.popularity
        scores: NDArray[np.float32] = self.vectors @ (alpha * short + (1 - alpha) * long)
        return scores

    def expected(self, model: str, event: int, seen: str) -> int:
        scores = self.scores(model, event)
        gone = {int(self.ids["abcdefgh".index(item)]) for item in seen}
        others = [i for i in range(7) if self.allowed[i] and i not in gone]
        return sum(scores[i] >= scores[self.ids[self.world.items[event]]] for i in others)


@pytest.fixture
def bench(world: Prepared, gate: OnnxModel, tmp_path: Path) -> Bench:
    return Bench(world, gate, tmp_path)


def test_every_model_ranks_as_its_scores_say_without_what_the_user_had(bench: Bench) -> None:
    targets = choose_targets(bench.world, TEST, include_seen=False)
    outcome = bench.rank(targets.events)
    assert set(outcome.ranks) == set(MODELS)
    for model in MODELS:
        expected = [
            bench.expected(model, event, seen)
            for event, seen in zip(targets.events, ("abc", "bca", "fc"), strict=True)
        ]
        assert outcome.ranks[model].tolist() == expected, model


def test_with_seen_items_nothing_is_excluded_and_every_target_counts(bench: Bench) -> None:
    targets = choose_targets(bench.world, TEST, include_seen=True)
    outcome = bench.rank(targets.events, include_seen=True)
    for model in MODELS:
        expected = [bench.expected(model, event, "") for event in targets.events]
        assert outcome.ranks[model].tolist() == expected, model


def test_a_target_that_the_user_had_before_is_left_out_and_counted(world: Prepared) -> None:
    targets = choose_targets(world, TEST, include_seen=False)
    assert [world.user_ids[world.users[event]] for event in targets.events] == ["u", "v", "x"]
    assert targets.num_left_out_seen == 1
    everyone = choose_targets(world, TEST, include_seen=True)
    assert (len(everyone.events), everyone.num_left_out_seen) == (4, 0)
    assert isinstance(everyone, Targets)


def test_before_the_first_event_every_model_is_popularity_and_there_is_no_vector(
    bench: Bench,
) -> None:
    first = np.array([0])
    outcome = bench.rank(first)
    assert [outcome.ranks[model].tolist() for model in MODELS] == [[2]] * len(
        MODELS
    )  # a tie counts against it
    assert outcome.users == [None]


def test_the_fused_vector_of_each_target_is_handed_on(bench: Bench) -> None:
    events = choose_targets(bench.world, TEST, include_seen=False).events
    for event, user in zip(events, bench.rank(events).users, strict=True):
        assert user is not None
        np.testing.assert_allclose(
            bench.vectors @ user, bench.scores("fused", event), rtol=1e-5, atol=1e-6
        )


def test_a_model_that_scores_all_items_alike_ranks_every_target_last(bench: Bench) -> None:
    bench.views.short[:] = 0
    events = choose_targets(bench.world, TEST, include_seen=False).events
    assert bench.rank(events).ranks["short"].tolist() == [3, 3, 4]
