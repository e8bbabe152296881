"""The session Transformer sees the past alone, and nothing of what pads a batch."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from groundswell.features.actions import NUM_ACTIONS
from groundswell.models.session_transformer import SessionTransformer

DIMENSION, LENGTH = 8, 12


class Window(NamedTuple):
    item_vectors: Tensor
    actions: Tensor
    gaps: Tensor
    starts: Tensor


def windows(batch: int, length: int) -> Window:
    return Window(
        torch.randn(batch, length, DIMENSION),
        torch.randint(1, NUM_ACTIONS, (batch, length)),
        torch.rand(batch, length) * 12,
        torch.randint(0, 2, (batch, length)).float(),
    )


@pytest.fixture
def model() -> SessionTransformer:
    torch.manual_seed(0)
    model = SessionTransformer(
        DIMENSION, LENGTH, width=16, num_blocks=2, num_heads=2, dropout=0.3
    ).eval()
    for name, weights in model.named_parameters():
        if name.endswith("distance.weight"):
            # As after training: a table of zeros would hide a wrong distance.
            torch.nn.init.normal_(weights)
    return model


@pytest.mark.parametrize("changed", range(LENGTH))
def test_a_later_event_never_changes_an_earlier_state(
    model: SessionTransformer, changed: int
) -> None:
    window = windows(2, LENGTH)
    other = windows(2, LENGTH)
    mixed = Window(*(a.clone() for a in window))
    for mine, theirs in zip(mixed, other, strict=True):
        mine[:, changed:] = theirs[:, changed:]
    before, after = model.states(*window), model.states(*mixed)
    # State j is the state after j events, so the changed event is first seen by state changed + 1.
    torch.testing.assert_close(before[:, : changed + 1], after[:, : changed + 1], rtol=0, atol=0)
    assert (before[:, changed + 1] - after[:, changed + 1]).abs().max() > 1e-3


@pytest.mark.parametrize("length", [0, 1, 5, LENGTH])
def test_what_pads_a_window_changes_nothing(model: SessionTransformer, length: int) -> None:
    window = windows(1, LENGTH)
    lengths = torch.tensor([length])
    padded = model(*window, lengths)
    short = model(*(x[:, : max(length, 1)] for x in window), lengths)
    torch.testing.assert_close(padded, short, rtol=1e-5, atol=1e-6)


def test_each_window_of_a_batch_is_encoded_as_if_it_were_alone(model: SessionTransformer) -> None:
    window, lengths = windows(4, LENGTH), torch.tensor([LENGTH, 0, 3, 7])
    together = model(*window, lengths)
    for row in range(4):
        alone = model(*(x[row : row + 1] for x in window), lengths[row : row + 1])
        torch.testing.assert_close(together[row], alone[0], rtol=1e-5, atol=1e-6)


def test_the_vector_of_a_window_is_the_state_that_training_predicts_from(
    model: SessionTransformer,
) -> None:
    window = windows(1, LENGTH)
    dense = model.project(model.states(*window))[0]
    for length in range(LENGTH + 1):
        served = model(*window, torch.tensor([length]))[0]
        torch.testing.assert_close(dense[length], served, rtol=1e-5, atol=1e-6)


def test_a_window_of_nothing_has_the_start_tokens_vector_whatever_lies_in_it(
    model: SessionTransformer,
) -> None:
    vectors = model(*windows(3, LENGTH), torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(vectors, vectors[:1].expand(3, -1), rtol=1e-5, atol=1e-6)
    assert vectors.isfinite().all()


def test_the_order_of_events_matters(model: SessionTransformer) -> None:
    window, full = windows(1, LENGTH), torch.tensor([LENGTH])
    turned = Window(*(x.flip(1) for x in window))
    assert (model(*window, full) - model(*turned, full)).abs().max() > 1e-3


@pytest.mark.parametrize("name", Window._fields)
def test_every_input_of_an_event_reaches_the_vector(model: SessionTransformer, name: str) -> None:
    window, full = windows(1, LENGTH), torch.tensor([LENGTH])
    changed = getattr(window, name) + 1
    if name == "actions":
        changed = changed % NUM_ACTIONS
    other = window._replace(**{name: changed})
    assert (model(*window, full) - model(*other, full)).abs().max() > 1e-4


def test_the_last_dimension_is_one_for_the_popularity_bias(model: SessionTransformer) -> None:
    vectors = model(*windows(3, LENGTH), torch.tensor([0, 4, LENGTH]))
    assert vectors.shape == (3, DIMENSION)
    assert (vectors[:, -1] == 1).all()
