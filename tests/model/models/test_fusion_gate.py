"""The gate: α from the request alone, between 0 and 1, and out of the way when it is overridden."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

from groundswell.artifacts.manifest import FusionSpec
from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.features.fusion import fused as fused_vector
from groundswell.models.fusion import FusionGate
from groundswell.ranker_service.stages.fuse import Fusion, FusionWeightOrigin
from groundswell.trainer.bundle.onnx import Input, export

DIMENSION = 8
LOW, HIGH = (0.0, 0.7, 1.0), (15.0, 4.0, 6.0)


def gate(*, per_dimension: bool = False, alpha: float = 0.6, trained: bool = True) -> FusionGate:
    torch.manual_seed(0)
    model = FusionGate(DIMENSION, 3, width=8, per_dimension=per_dimension, alpha=alpha, dropout=0.1)
    model.fit(torch.tensor(LOW), torch.tensor(HIGH))
    if trained:
        torch.nn.init.normal_(model.out.weight)
    return model.eval()


def served(folder: Path, model: FusionGate) -> Fusion:
    names = ("short_vectors", "long_vectors", "gate_features")
    examples = [
        (torch.randn(b, DIMENSION), torch.randn(b, DIMENSION), torch.rand(b, 3)) for b in (2, 1)
    ]
    inputs = [Input(name, ("batch",)) for name in names]
    export(model, folder / "fusion.onnx", inputs, "alphas", examples)
    spec = FusionSpec(mode="learned", constant_alpha=0.3, gate_low=LOW, gate_high=HIGH)
    return Fusion(OnnxModel(folder / "fusion.onnx"), spec)


def test_the_gate_is_asked_with_nothing_of_a_candidate() -> None:
    parameters = list(inspect.signature(FusionGate.forward).parameters)
    assert parameters == ["self", "short_vectors", "long_vectors", "gate_features"]


def test_an_untrained_gate_is_the_constant_it_starts_from() -> None:
    alphas = gate(alpha=0.8, trained=False)(
        torch.randn(4, DIMENSION), torch.randn(4, DIMENSION), torch.rand(4, 3) * 9
    )
    torch.testing.assert_close(alphas, torch.full((4, DIMENSION), 0.8))


@pytest.mark.parametrize("per_dimension", [False, True])
def test_alphas_lie_between_0_and_1_and_depend_on_every_input(per_dimension: bool) -> None:
    model = gate(per_dimension=per_dimension)
    inputs = (torch.randn(5, DIMENSION), torch.randn(5, DIMENSION), torch.rand(5, 3) * 4)
    alphas = model(*inputs)
    assert alphas.shape == (5, DIMENSION)
    assert ((alphas > 0) & (alphas < 1)).all()
    assert (alphas.std(1) > 1e-4).all() == per_dimension
    for place in range(3):
        changed = list(inputs)
        changed[place] = changed[place].flip(0)
        assert (model(*changed) - alphas).abs().max() > 1e-4


def test_features_beyond_the_range_of_training_count_as_its_end(tmp_path: Path) -> None:
    fusion = served(tmp_path, gate())
    rng = np.random.default_rng(0)
    short, long = rng.normal(size=(2, 1, DIMENSION)).astype(np.float32)
    yes, none = np.array([True]), np.array([np.nan])

    def alpha(*features: float) -> float:
        values = np.array([features], np.float32)
        return float(fusion.fuse(short, long, yes, yes, values, none).alphas[0, 0])

    assert alpha(1e9, 50, 50) == alpha(*HIGH)
    assert alpha(-1e9, -1, -1) == alpha(*LOW)
    assert alpha(*LOW) != alpha(*HIGH)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_a_forced_weight_replaces_every_dimension(tmp_path: Path, weight: float) -> None:
    fusion = served(tmp_path, gate(per_dimension=True))
    rng = np.random.default_rng(0)
    short, long = rng.normal(size=(2, 3, DIMENSION)).astype(np.float32)
    yes = np.ones(3, bool)
    features = np.ones((3, 3), np.float32)
    fused = fusion.fuse(short, long, yes, yes, features, np.full(3, weight))
    assert fused.origins == [FusionWeightOrigin.FORCED] * 3
    np.testing.assert_array_equal(fused.alphas, np.full_like(short, weight))
    expected = {0.0: long, 1.0: short}.get(weight, np.float32(0.25) * short + 0.75 * long)
    np.testing.assert_allclose(fused.user, expected, rtol=0, atol=1e-6)


def test_the_worked_example_of_the_design() -> None:
    short, long = torch.tensor([[0.8, 0.2, 0.0]]), torch.tensor([[0.6, 0.3, 0.1]])
    torch.testing.assert_close(
        fused_vector(torch.full((1, 3), 0.6), short, long), torch.tensor([[0.72, 0.24, 0.04]])
    )
