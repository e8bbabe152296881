"""The fusion of two vectors: the worked example, who decides α, and what a missing vector means."""

import numpy as np
import pytest
from numpy.typing import NDArray

from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.ranker_service.stages.fuse import FusedVectors, Fusion, FusionWeightOrigin
from tests.support.ranker import CONSTANT, LEARNED

D = 3
SHORT = np.array([[0.8, 0.2, 0.0]], np.float32)
LONG = np.array([[0.6, 0.3, 0.1]], np.float32)
DUE = [[0.72, 0.24, 0.04]]


def fuse(
    fusion: Fusion,
    *,
    weight: float = np.nan,
    has_short: bool = True,
    has_long: bool = True,
    features: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> FusedVectors:
    return fusion.fuse(
        SHORT,
        LONG,
        np.array([has_short]),
        np.array([has_long]),
        np.array([features], np.float32),
        np.array([weight]),
    )


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def test_the_worked_example_holds_for_a_forced_and_for_a_constant_weight(gate: OnnxModel) -> None:
    forced = fuse(Fusion(gate, LEARNED), weight=0.6)
    constant = fuse(Fusion(gate, CONSTANT))
    np.testing.assert_allclose(forced.user, DUE, atol=1e-6)
    np.testing.assert_allclose(constant.user, DUE, atol=1e-6)
    assert forced.origins == [FusionWeightOrigin.FORCED]
    assert constant.origins == [FusionWeightOrigin.CONSTANT]


def test_the_gate_decides_per_dimension(gate: OnnxModel) -> None:
    fused = fuse(Fusion(gate, LEARNED), features=(0.0, 1.0, 2.0))
    due = np.array([[sigmoid(0), sigmoid(1), sigmoid(2)]], np.float32)
    np.testing.assert_allclose(fused.alphas, due, rtol=1e-5)
    np.testing.assert_allclose(fused.user, due * SHORT + (1 - due) * LONG, rtol=1e-5)
    assert fused.origins == [FusionWeightOrigin.LEARNED]


def test_the_gates_inputs_are_clamped_to_the_ranges_of_training(gate: OnnxModel) -> None:
    fused = fuse(Fusion(gate, LEARNED), features=(-5.0, 1.0, 50.0))
    np.testing.assert_allclose(fused.alphas, [[sigmoid(0), sigmoid(1), sigmoid(2)]], rtol=1e-5)


@pytest.mark.parametrize(
    ("weight", "due"), [(0.0, LONG), (1.0, SHORT)], ids=["long alone", "short alone"]
)
def test_the_ends_of_a_forced_weight_are_the_vectors_themselves(
    gate: OnnxModel, weight: float, due: NDArray[np.float32]
) -> None:
    np.testing.assert_array_equal(fuse(Fusion(gate, LEARNED), weight=weight).user, due)


@pytest.mark.parametrize("weight", [np.nan, 0.3])
def test_one_vector_ranks_alone_whatever_was_forced(gate: OnnxModel, weight: float) -> None:
    fusion = Fusion(gate, LEARNED)
    short_alone = fuse(fusion, weight=weight, has_long=False)
    long_alone = fuse(fusion, weight=weight, has_short=False)
    np.testing.assert_array_equal(short_alone.user, SHORT)
    np.testing.assert_array_equal(long_alone.user, LONG)
    assert short_alone.alphas.tolist() == [[1.0] * D]
    assert long_alone.alphas.tolist() == [[0.0] * D]
    assert short_alone.origins == long_alone.origins == [FusionWeightOrigin.ONE_VECTOR]


def test_a_missing_vector_leaves_no_trace_even_when_its_row_is_not_finite(gate: OnnxModel) -> None:
    poison = np.full((1, D), np.nan, np.float32)
    fused = Fusion(gate, LEARNED).fuse(
        SHORT,
        poison,
        np.array([True]),
        np.array([False]),
        np.zeros((1, 3), np.float32),
        np.array([np.nan]),
    )
    np.testing.assert_array_equal(fused.user, SHORT)
    assert np.isfinite(fused.parts).all()


def test_without_a_vector_nothing_is_fused(gate: OnnxModel) -> None:
    fused = fuse(Fusion(gate, LEARNED), has_short=False, has_long=False)
    assert fused.origins == [FusionWeightOrigin.NONE]
    assert fused.user.tolist() == [[0.0] * D]


def test_a_batch_of_every_kind_gives_each_user_what_it_gets_alone(gate: OnnxModel) -> None:
    rng = np.random.default_rng(0)
    num = 40
    short = rng.standard_normal((num, D)).astype(np.float32)
    long = rng.standard_normal((num, D)).astype(np.float32)
    has_short, has_long = rng.random(num) < 0.7, rng.random(num) < 0.7
    features = rng.standard_normal((num, 3)).astype(np.float32)
    weights = np.where(rng.random(num) < 0.5, rng.random(num), np.nan)
    fusion = Fusion(gate, LEARNED)
    together = fusion.fuse(short, long, has_short, has_long, features, weights)
    for b in range(num):
        one = slice(b, b + 1)
        alone = fusion.fuse(
            short[one], long[one], has_short[one], has_long[one], features[one], weights[one]
        )
        np.testing.assert_allclose(together.user[b], alone.user[0], rtol=1e-6)
        assert together.origins[b] is alone.origins[0]
    np.testing.assert_array_equal(together.user, together.parts.sum(1))
    assert len(set(together.origins)) == 4
