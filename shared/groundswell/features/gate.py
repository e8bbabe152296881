"""What the fusion gate may know besides the two vectors: recency and the lengths of both views."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GATE_FEATURES = ("log_seconds_since_last_event", "log_session_length", "log_history_length")
"""The features' names, in the order of the vector. None of them looks at a candidate item."""


def gate_features(
    now_us: int,
    last_event_us: int | None,
    session_length: int,
    history_length: int,
    *,
    use_time: bool,
) -> NDArray[np.float32]:
    """Return [3] features, each log(1 + x).

    `session_length` counts the events of the window's last session, `history_length` all events of
    the user. Without a last event, before it (a clock behind), or with `use_time` False, the first
    feature is 0.
    """
    seconds = 0.0
    if use_time and last_event_us is not None:
        seconds = max(now_us - last_event_us, 0) / 1e6
    counts = np.array([seconds, session_length, history_length], dtype=np.float32)
    return np.log1p(counts)


def clamp_gate_features(
    features: NDArray[np.float32], low: Sequence[float], high: Sequence[float]
) -> NDArray[np.float32]:
    """Clamp [..., 3] features to the ranges seen in training."""
    bounds = np.array([low, high], dtype=np.float32)
    return np.clip(features, bounds[0], bounds[1])
