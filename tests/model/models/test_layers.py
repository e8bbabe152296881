"""Layers that are cheaper in training say in evaluation what PyTorch's own say."""

import pytest
import torch
from torch import nn

from groundswell.models.layers import Dropout, Linear, use_bfloat16


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (40, 50, 50)])
def test_dropout_is_the_identity_in_evaluation_and_where_nothing_is_dropped(
    shape: tuple[int, ...],
) -> None:
    x = torch.randn(shape)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.001)(x) is x
    assert Dropout(0.5)(x).shape == shape


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    dropped = Dropout(p)(torch.ones(400_000))
    assert float((dropped == 0).float().mean()) == pytest.approx(round(p * 256) / 256, abs=0.005)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.01)
    # What is kept has one size, and the draw hits no place more than another.
    assert len(dropped.unique()) == 2
    assert float((dropped[::8] == 0).float().mean()) == pytest.approx(p, abs=0.01)


def test_dropout_near_one_keeps_a_little() -> None:
    torch.manual_seed(0)
    dropped = Dropout(0.9999)(torch.ones(400_000))
    assert float((dropped != 0).float().mean()) == pytest.approx(1 / 256, abs=0.001)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.1)


def test_dropout_gives_gradients_to_what_it_kept_alone() -> None:
    torch.manual_seed(0)
    x = torch.randn(1_000, requires_grad=True)
    y = Dropout(0.5)(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad == 0, y == 0)


def test_products_are_of_bfloat16_in_training_alone_and_only_where_asked() -> None:
    torch.manual_seed(0)
    model, x = (
        nn.Sequential(Linear(64, 32), nn.GELU(), Linear(32, 8, bias=False)),
        torch.randn(5, 64),
    )
    own = [nn.Linear(64, 32), nn.Linear(32, 8, bias=False)]
    for mine, theirs in zip((model[0], model[2]), own, strict=True):
        theirs.load_state_dict(mine.state_dict())
    due = own[1](nn.functional.gelu(own[0](x)))
    assert torch.equal(model.train()(x), due)
    use_bfloat16(model)
    assert torch.equal(model.eval()(x), due)
    half = model.train()(x)
    assert half.dtype == torch.float32
    assert not torch.equal(half, due)
    torch.testing.assert_close(half, due, rtol=0.05, atol=0.05)
    half.sum().backward()
    assert model[0].weight.grad is not None
    assert model[0].weight.grad.dtype == torch.float32
