"""Random fusion weights: how they are drawn, and how probable each one is.

Shapes: n weights. A weight is α, in [0, 1].
"""

import math
from dataclasses import dataclass
from random import Random
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_SAME_WEIGHT = 1e-6
"""Vectors are fused in single precision, and answers report the weight that was used."""
_MAX_DRAWS = 10_000
_STANDARD = NormalDist()


@dataclass(frozen=True)
class Grid:
    """Chooses one of some weights. Raises ValueError unless the probabilities add up to 1."""

    weights: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.weights) == len(self.probabilities):
            raise ValueError("each weight needs a probability, and there must be one at least")
        _check_weights(self.weights)
        if len(set(self.weights)) < len(self.weights):
            raise ValueError("a weight is there twice")
        if not (min(self.probabilities) >= 0 and abs(sum(self.probabilities) - 1) < 1e-6):
            raise ValueError("the probabilities do not add up to 1")

    @classmethod
    def uniform(cls, weights: tuple[float, ...]) -> "Grid":
        """All weights with the same probability."""
        return cls(weights, (1 / max(len(weights), 1),) * len(weights))

    def draw(self, random: Random) -> tuple[float, float]:
        """Return a weight and its probability."""
        [drawn] = random.choices(range(len(self.weights)), self.probabilities)
        return self.weights[drawn], self.probabilities[drawn]

    def propensities(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return [n] the probabilities of weights [n]."""
        same = np.abs(weights[:, None] - np.array(self.weights)) < _SAME_WEIGHT
        found: NDArray[np.float64] = same @ np.array(self.probabilities)
        return found


@dataclass(frozen=True)
class CutNormal:
    """Chooses by a normal distribution that is cut to [0, 1].

    Mean and standard deviation are those before the cut. Raises ValueError for wrong ones.
    """

    mean: float
    deviation: float

    def __post_init__(self) -> None:
        _check_weights((self.mean,))
        if not 0 < self.deviation < math.inf:
            raise ValueError(f"the deviation {self.deviation} is not above 0")

    def draw(self, random: Random) -> tuple[float, float]:
        """Return a weight and its density."""
        for _ in range(_MAX_DRAWS):
            weight = random.gauss(self.mean, self.deviation)
            if 0 <= weight <= 1:
                return weight, float(self.propensities(np.array([weight]))[0])
        raise AssertionError("the mean lies in [0, 1], so a half of the draws is in it")

    def propensities(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return [n] the densities of weights [n]."""
        z = (weights - self.mean) / self.deviation
        low, high = -self.mean / self.deviation, (1 - self.mean) / self.deviation
        mass = self.deviation * (_STANDARD.cdf(high) - _STANDARD.cdf(low))
        return np.exp(-0.5 * z * z) / (math.sqrt(2 * math.pi) * mass)


FusionPolicy = Grid | CutNormal


def _check_weights(weights: tuple[float, ...]) -> None:
    for weight in weights:
        if not 0 <= weight <= 1:
            raise ValueError(f"the fusion weight {weight} is not from 0 to 1")
