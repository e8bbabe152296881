"""Events of a window → the tensors that the session Transformer reads."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SESSION_GAP_US = 30 * 60 * 1_000_000
"""Events further apart than this belong to different sessions, unless a session id says more."""

MAX_RECENT = 256
"""At most so many of the newest events of a history are stored with its profile."""


class WindowTensors(NamedTuple):
    """What is known of each of n events besides its item, oldest first; also of many windows."""

    actions: NDArray[np.int64]
    """[..., n] action numbers."""
    gaps: NDArray[np.float32]
    """[..., n] log(1 + seconds since the event before); 0 for the first."""
    starts: NDArray[np.float32]
    """[..., n] 1 where a session starts."""


def session_starts(
    times_us: NDArray[np.int64], session_ids: Sequence[str] | NDArray[np.int64] | None = None
) -> NDArray[np.bool_]:
    """Say which of one user's n ordered events start a session: [n], the first always True.

    Session ids are texts or numbers; an empty text or 0 is none. Two neighbours that both carry a
    session id are of one session exactly when the ids are equal; otherwise a gap of more than
    `SESSION_GAP_US` parts them.
    """
    starts = np.ones(len(times_us), dtype=bool)
    if len(times_us) < 2:
        return starts
    starts[1:] = times_us[1:] - times_us[:-1] > SESSION_GAP_US
    if session_ids is not None:
        is_number = isinstance(session_ids, np.ndarray)
        ids = np.asarray(session_ids, dtype=None if is_number else object)
        is_set = ids.astype(bool)
        differ: NDArray[np.bool_] = ids[1:] != ids[:-1]
        starts[1:] = np.where(is_set[1:] & is_set[:-1], differ, starts[1:])
    return starts


def window_tensors(
    times_us: NDArray[np.int64],
    actions: NDArray[np.integer],
    starts: NDArray[np.bool_],
    *,
    use_time: bool,
) -> WindowTensors:
    """Turn the n ordered events of one window, or of each of many, into tensors [..., n].

    With `use_time` False (a log whose times are only positions) gaps and starts are zeros.
    """
    gaps = np.zeros(times_us.shape, np.float32)
    start_values = np.zeros(times_us.shape, np.float32)
    if use_time:
        seconds = np.maximum(times_us[..., 1:] - times_us[..., :-1], 0) / 1e6
        gaps[..., 1:] = np.log1p(seconds)
        start_values = starts.astype(np.float32)
    return WindowTensors(actions.astype(np.int64), gaps, start_values)


def session_length(starts: NDArray[np.bool_]) -> int:
    """Count the events of the session that the last of n ordered events belongs to."""
    if len(starts) == 0:
        return 0
    found = np.flatnonzero(starts)
    return len(starts) - int(found[-1]) if len(found) else len(starts)
