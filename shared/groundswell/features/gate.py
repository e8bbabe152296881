"""Makes the inputs of the fusion gate besides the two vectors; none is about a candidate item."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class GateFeatures:
    """The gate's features in the order of its input; each a number, or an array [B] of many.

    The gate reads log(1 + x) of each. Another field here is another input of the gate.
    """

    seconds_since_last_event: float | NDArray[np.floating] = 0.0
    """0 without a last event, before it (a clock behind), or in a log without times."""
    session_length: float | NDArray[np.integer] = 0
    """The events of the window's last session."""
    history_length: float | NDArray[np.integer] = 0
    """All events of the user."""

    def logarithms(self) -> NDArray[np.float32]:
        """Return [..., G] log(1 + x) of every feature, as the gate reads them."""
        values = [np.asarray(value, np.float32) for value in _VALUES(self)]
        return np.log1p(np.stack(values, axis=-1))


def stacked_logarithms(many: Sequence[GateFeatures]) -> NDArray[np.float32]:
    """Return [B, G] the logarithms of the numbers of many requests."""
    return np.log1p(np.array([_VALUES(one) for one in many], np.float32))


_VALUES = attrgetter(*(one.name for one in fields(GateFeatures)))
NUM_GATE_FEATURES = len(fields(GateFeatures))
"""G."""


def seconds_since(
    now_us: int | NDArray[np.int64], last_us: int | NDArray[np.int64] | None, *, use_time: bool
) -> float | NDArray[np.float64]:
    """Return the seconds from `last_us` to `now_us`: 0 for a later event, for none, and with
    `use_time` False."""
    if not use_time or last_us is None:
        return 0.0
    if isinstance(now_us, int) and isinstance(last_us, int):
        return max(now_us - last_us, 0) / 1e6
    seconds: float | NDArray[np.float64] = np.maximum(now_us - last_us, 0) / 1e6
    return seconds


def clamp_gate_features(
    features: NDArray[np.float32], low: Sequence[float], high: Sequence[float]
) -> NDArray[np.float32]:
    """Clamp [..., G] features to the ranges seen in training."""
    bounds = np.array([low, high], dtype=np.float32)
    return np.clip(features, bounds[0], bounds[1])
