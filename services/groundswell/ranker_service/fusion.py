"""The short-term and the long-term vector → the one vector of a user that is searched with.

u = α ∘ u_s + (1 − α) ∘ u_l, not normalised again. Shapes: B users, d dimensions.
"""

from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.manifest import FusionSpec
from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.features.gate import clamp_gate_features


class AlphaSource(Enum):
    """Where a fusion weight came from."""

    LEARNED = "learned"
    CONSTANT = "constant"
    FORCED = "forced"
    ONE_VIEW = "one_view"
    NONE = "none"
    """There is neither vector."""


class Fused(NamedTuple):
    """The fused users."""

    user: NDArray[np.float32]
    """[B, d] the sum of the two parts; zeros where there is neither vector."""
    short_parts: NDArray[np.float32]
    """[B, d] α ∘ u_s."""
    long_parts: NDArray[np.float32]
    """[B, d] (1 − α) ∘ u_l."""
    alphas: NDArray[np.float32]
    """[B, d] the share of the short-term vector, per dimension."""
    sources: list[AlphaSource]
    """[B] where each α came from."""


class Fusion:
    """Fuses with a bundle's gate or constant, with a forced weight, or with the one view there is.

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
    ) -> Fused:
        """Fuse [B, d] short and long vectors.

        `has_short`, `has_long` [B]: True where the vector is there; the other's row is ignored.
        `gate_features` [B, 3] as `features.gate` makes them. `fusion_weights` [B]: a forced α in
        [0, 1], NaN where none is forced. With one view alone α is 1 or 0, forced or not.
        """
        both = has_short & has_long
        forced = both & ~np.isnan(fusion_weights)
        decided = both & ~forced
        alphas = np.zeros_like(short)
        alphas[has_short & ~has_long] = 1.0
        alphas[forced] = fusion_weights[forced, None]
        if self._spec.mode == "constant":
            alphas[decided] = self._spec.constant_alpha
        elif decided.any():
            alphas[decided] = self._gate(short[decided], long[decided], gate_features[decided])
        short_parts = np.where(has_short[:, None], alphas * short, np.float32(0))
        long_parts = np.where(has_long[:, None], (1 - alphas) * long, np.float32(0))
        sources = [self._source(*flags) for flags in zip(has_short, has_long, forced, strict=True)]
        return Fused(short_parts + long_parts, short_parts, long_parts, alphas, sources)

    def _gate(
        self,
        short: NDArray[np.float32],
        long: NDArray[np.float32],
        gate_features: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        clamped = clamp_gate_features(gate_features, self._spec.gate_low, self._spec.gate_high)
        return self._model.run(short_vectors=short, long_vectors=long, gate_features=clamped)

    def _source(self, has_short: bool, has_long: bool, forced: bool) -> AlphaSource:
        if not (has_short or has_long):
            return AlphaSource.NONE
        if not (has_short and has_long):
            return AlphaSource.ONE_VIEW
        if forced:
            return AlphaSource.FORCED
        return AlphaSource(self._spec.mode)
