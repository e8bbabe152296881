"""Fuse stage: decides each user's fusion weight α, and fuses the two vectors by it.

They are the short-term and the long-term vector; their fusion is not normalised again. Shapes: B
users, d dimensions, G features of the gate.
"""

import math
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.manifest import FusionSpec
from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.features.fusion import fuse
from groundswell.features.gate import clamp_gate_features


class FusionWeightOrigin(Enum):
    """Where a fusion weight came from."""

    LEARNED = "learned"
    CONSTANT = "constant"
    FORCED = "forced"
    RANDOM = "random"
    """Forced by a draw of this service."""
    ONE_VECTOR = "one_vector"
    NONE = "none"
    """There is neither vector."""


class FusedVectors(NamedTuple):
    """The fused users."""

    user: NDArray[np.float32]
    """[B, d] the sum of the two parts; zeros where there is neither vector."""
    parts: NDArray[np.float32]
    """[B, 2, d] α ∘ u_s, and (1 − α) ∘ u_l."""
    alphas: NDArray[np.float32]
    """[B, d] the share of the short-term vector, per dimension."""
    origins: list[FusionWeightOrigin]
    """[B] where each α came from."""
    weights: list[float]
    """[B] the mean of each α over the dimensions."""

    def known_users(self) -> list[NDArray[np.float32] | None]:
        """Return the users [d]; None where there is neither vector."""
        pairs = zip(self.user, self.origins, strict=True)
        return [None if origin is FusionWeightOrigin.NONE else user for user, origin in pairs]


class Fusion:
    """Fuses by a bundle's gate or constant, by a forced weight, or takes the one vector there is.

    `model` is the bundle's gate; it is run only for users whose α it decides.
    """

    def __init__(self, model: OnnxModel, spec: FusionSpec) -> None:
        self._model = model
        self._spec = spec

    def fuse(
        self,
        short: NDArray[np.float32],
        long: NDArray[np.float32],
        has_short: NDArray[np.bool_],
        has_long: NDArray[np.bool_],
        gate_features: NDArray[np.float32],
        fusion_weights: NDArray[np.float64],
    ) -> FusedVectors:
        """Fuse [B, d] short and long vectors.

        `has_short`, `has_long` [B]: True where the vector is there; the other's row is ignored.
        `gate_features` [B, G] as `features.gate` makes them. `fusion_weights` [B]: a forced α in
        [0, 1], NaN where none is forced. With one vector alone α is 1 or 0, forced or not.
        """
        flags = zip(has_short.tolist(), has_long.tolist(), fusion_weights.tolist(), strict=True)
        origins = [self._origin(*each) for each in flags]
        alphas = np.zeros_like(short)
        decided = []
        for b, origin in enumerate(origins):
            if origin is FusionWeightOrigin.LEARNED:
                decided.append(b)
            elif origin is FusionWeightOrigin.CONSTANT:
                alphas[b] = self._spec.constant_alpha
            elif origin is FusionWeightOrigin.FORCED:
                alphas[b] = fusion_weights[b]
            elif origin is FusionWeightOrigin.ONE_VECTOR:
                alphas[b] = has_short[b]
        if decided:
            alphas[decided] = self._gate(short[decided], long[decided], gate_features[decided])
        if FusionWeightOrigin.ONE_VECTOR in origins or FusionWeightOrigin.NONE in origins:
            # The row of a missing vector may hold anything.
            short, long = (
                np.where(has[:, None], vectors, np.float32(0))
                for has, vectors in ((has_short, short), (has_long, long))
            )
        parts = np.stack(fuse(alphas, short, long), axis=1)
        weights: list[float] = alphas.mean(1, dtype=np.float64).tolist()
        return FusedVectors(parts.sum(1), parts, alphas, origins, weights)

    def _gate(
        self,
        short: NDArray[np.float32],
        long: NDArray[np.float32],
        gate_features: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        clamped = clamp_gate_features(gate_features, self._spec.gate_low, self._spec.gate_high)
        return self._model.run(short_vectors=short, long_vectors=long, gate_features=clamped)

    def _origin(self, has_short: bool, has_long: bool, weight: float) -> FusionWeightOrigin:
        if not (has_short or has_long):
            return FusionWeightOrigin.NONE
        if not (has_short and has_long):
            return FusionWeightOrigin.ONE_VECTOR
        if not math.isnan(weight):
            return FusionWeightOrigin.FORCED
        return FusionWeightOrigin(self._spec.mode)
