"""The formula of the score: one function for NumPy arrays and for PyTorch tensors."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from groundswell.features.fusion import fuse, fused, mean_weight, scores

B, D, N = 5, 4, 30
RNG = np.random.default_rng(0)
ALPHA = RNG.random((B, D))
SHORT, LONG = RNG.standard_normal((2, B, D))
ITEMS = RNG.standard_normal((N, D))
BY_WINDOW, BY_HISTORY = RNG.random((2, B, N))


def by_hand() -> NDArray[np.float64]:
    due = np.zeros((B, N))
    for b in range(B):
        for n in range(N):
            of_vectors = sum(
                (ALPHA[b, i] * SHORT[b, i] + (1 - ALPHA[b, i]) * LONG[b, i]) * ITEMS[n, i]
                for i in range(D)
            )
            mean = ALPHA[b].sum() / D
            due[b, n] = of_vectors + mean * BY_WINDOW[b, n] + (1 - mean) * BY_HISTORY[b, n]
    return due


def test_numpy_and_torch_give_the_score_of_the_formula() -> None:
    found = scores(ALPHA, (SHORT, LONG), ITEMS, (BY_WINDOW, BY_HISTORY))
    alpha, short, long, items, window, history = map(
        torch.from_numpy, (ALPHA, SHORT, LONG, ITEMS, BY_WINDOW, BY_HISTORY)
    )
    np.testing.assert_allclose(found, by_hand(), rtol=1e-12)
    np.testing.assert_allclose(
        scores(alpha, (short, long), items, (window, history)), by_hand(), rtol=1e-12
    )


def test_gradients_reach_the_weight_through_vectors_and_neighbour_scores() -> None:
    alpha = torch.from_numpy(ALPHA).requires_grad_()
    short, long, items, window, history = map(
        torch.from_numpy, (SHORT, LONG, ITEMS, BY_WINDOW, BY_HISTORY)
    )
    scores(alpha, (short, long), items, (window, history)).sum().backward()
    due = (SHORT - LONG) * ITEMS.sum(0) + ((BY_WINDOW - BY_HISTORY).sum(1) / D)[:, None]
    assert alpha.grad is not None
    np.testing.assert_allclose(alpha.grad, due, rtol=1e-9)


@pytest.mark.parametrize(("alpha", "due"), [(1.0, SHORT), (0.0, LONG)])
def test_at_its_ends_a_weight_leaves_one_vector(alpha: float, due: NDArray[np.float64]) -> None:
    np.testing.assert_array_equal(fused(alpha, SHORT, LONG), due)


def test_the_parts_add_up_and_neighbour_scores_take_the_mean_weight() -> None:
    short, long = fuse(ALPHA, SHORT, LONG)
    np.testing.assert_array_equal(short + long, fused(ALPHA, SHORT, LONG))
    assert mean_weight(ALPHA).shape == (B, 1)
    np.testing.assert_allclose(mean_weight(ALPHA)[:, 0], ALPHA.mean(1))
