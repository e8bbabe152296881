"""A user's history → fixed chunks of events, cut from its start: a full chunk never moves."""

import numpy as np
from numpy.typing import NDArray

_DAY_US = 86_400 * 1_000_000


def num_full_chunks(num_events: int, chunk_length: int) -> int:
    """Count the full chunks of a history; chunk k holds events [k·C, (k+1)·C)."""
    return num_events // chunk_length


def chunk_ages(
    chunk_last_times_us: NDArray[np.int64],
    last_time_us: int | NDArray[np.int64],
    *,
    use_time: bool,
) -> NDArray[np.float32]:
    """Return [..., n] log(1 + days) between each chunk's last event and the history's last event.

    `last_time_us` is one time, or some that broadcast against [..., n]. With `use_time` False they
    are zeros; the head then knows the order of the chunks alone.
    """
    if not use_time:
        return np.zeros(chunk_last_times_us.shape, dtype=np.float32)
    days: NDArray[np.float64] = np.maximum(last_time_us - chunk_last_times_us, 0) / _DAY_US
    return np.log1p(days).astype(np.float32)
