"""Fusion weights are drawn as often as their probabilities say."""

from collections.abc import Callable
from random import Random

import numpy as np
import pytest

from groundswell.features.fusion_policy import CutNormal, FusionPolicy, Grid


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Grid((), ()), "one at least"),
        (lambda: Grid((0.5,), ()), "a probability"),
        (lambda: Grid.uniform((0.5, 1.1)), "1.1"),
        (lambda: Grid.uniform((0.5, 0.5)), "twice"),
        (lambda: Grid((0.1, 0.2), (0.5, 0.6)), "add up"),
        (lambda: Grid((0.1, 0.2), (-0.5, 1.5)), "add up"),
        (lambda: CutNormal(-0.1, 1.0), "-0.1"),
        (lambda: CutNormal(float("nan"), 1.0), "nan"),
        (lambda: CutNormal(0.5, 0.0), "above 0"),
    ],
)
def test_a_wrong_policy_is_refused(make: Callable[[], FusionPolicy], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        make()


def test_a_grid_is_drawn_by_its_probabilities() -> None:
    grid = Grid((0.0, 0.5, 1.0), (0.5, 0.3, 0.2))
    random = Random(1)
    drawn = [grid.draw(random) for _ in range(20_000)]
    for weight, probability in zip(grid.weights, grid.probabilities, strict=True):
        share = sum(one == (weight, probability) for one in drawn) / len(drawn)
        assert abs(share - probability) < 0.02
    assert grid.propensities(np.array([0.5, 0.4, 1.0])).tolist() == [0.3, 0.0, 0.2]


@pytest.mark.parametrize(("mean", "deviation"), [(0.5, 0.1), (0.0, 0.2), (0.9, 3.0)])
def test_a_cut_normal_has_the_density_that_it_says(mean: float, deviation: float) -> None:
    policy = CutNormal(mean, deviation)
    points = (np.arange(20_000) + 0.5) / 20_000
    assert abs(policy.propensities(points).mean() - 1) < 1e-4
    random = Random(2)
    drawn = np.array([policy.draw(random) for _ in range(20_000)])
    np.testing.assert_allclose(drawn[:, 1], policy.propensities(drawn[:, 0]))
    expected = (policy.propensities(points) * points).mean()
    assert abs(drawn[:, 0].mean() - expected) < 0.01
