"""Groups the targets into slices, whose figures are reported apart. n targets."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from groundswell.trainer.dataset.prepared import Prepared
from groundswell.trainer.evaluation.bundle_items import Candidates

Slices = dict[str, dict[str, NDArray[np.bool_]]]
"""By kind and name: [n] True for the targets of the slice. None is empty."""

POSITION = "position"
LATER_POSITIONS = "2-10"
"""Every place in a session but the first; not a slice of its own, but compared."""

Range = tuple[float, float]
"""From the first, included, to the second, excluded."""
_END = float("inf")
_POSITIONS: dict[str, Range] = {"1": (1, 2), "2-3": (2, 4), "4-10": (4, 11), "11+": (11, _END)}
_HISTORY: dict[str, Range] = {
    "0-9": (0, 10),
    "10-19": (10, 20),
    "20-49": (20, 50),
    "50-199": (50, 200),
    "200+": (200, _END),
}
_MINUTE, _DAY = 60, 86_400
_SECONDS: dict[str, Range] = {
    "<1 min": (0, _MINUTE),
    "<30 min": (_MINUTE, 30 * _MINUTE),
    "<1 day": (30 * _MINUTE, _DAY),
    "<7 days": (_DAY, 7 * _DAY),
    "<30 days": (7 * _DAY, 30 * _DAY),
    "30+ days": (30 * _DAY, _END),
}
_THIRDS = ("head", "middle", "tail")


def slices_of(
    prepared: Prepared,
    candidates: Candidates,
    events: NDArray[np.int64],
    counts: NDArray[np.float64],
) -> Slices:
    """Group the target `events` [n]; `counts` [N'] are the candidates' events in training.

    "position": the place in the session, from 1; "session": how many events the whole session of
    the target has; both are absent from a log without times. "history": how many events the user
    had before the target. "popularity": the target's item belongs to the most popular items that
    have a third of the training events, the next third, or the rest. "cold": it has a training
    event (warm) or none.
    """
    columns = candidates.columns[prepared.items[events]]
    found: Slices = {}
    if not prepared.order_only:
        found[POSITION] = _ranges(prepared.session_place[events], _POSITIONS)
        lengths = np.bincount(prepared.sessions)
        found["session"] = _ranges(lengths[prepared.sessions[events]], _POSITIONS)
    found["history"] = _by_history(prepared, events)
    third = _popularity_third(counts)[columns]
    found["popularity"] = _named(third, _THIRDS)
    found["cold"] = _named((counts[columns] == 0).astype(np.int64), ("warm", "cold"))
    return found


def drivers_of(prepared: Prepared, events: NDArray[np.int64]) -> Slices:
    """Group the target `events` [n] by what the fusion weight may depend on."""
    found: Slices = {}
    if not prepared.order_only:
        found[POSITION] = _ranges(prepared.session_place[events], _POSITIONS)
        lengths = np.bincount(prepared.sessions)
        found["session"] = _ranges(lengths[prepared.sessions[events]], _POSITIONS)
        begin = prepared.offsets[prepared.users[events]]
        before = np.maximum(events - 1, begin)
        seconds = (prepared.times_us[events] - prepared.times_us[before]) / 1e6
        found["since_last"] = _ranges(seconds, _SECONDS)
    found["history"] = _by_history(prepared, events)
    return found


def later_positions(prepared: Prepared, events: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[n] True from the second to the tenth place of a session."""
    place = prepared.session_place[events]
    return (place >= 2) & (place <= 10)


def _by_history(prepared: Prepared, events: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    lengths = events - prepared.offsets[prepared.users[events]]
    return _ranges(lengths, _HISTORY)


def _popularity_third(counts: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return [N'] 0 for the head, 1 for the middle, 2 for the tail."""
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    third = np.empty(len(counts), np.int64)
    third[order] = np.minimum(3 * before // max(counts.sum(), 1), 2)
    return third


def _ranges(
    values: NDArray[np.integer] | NDArray[np.floating], ranges: dict[str, Range]
) -> dict[str, NDArray[np.bool_]]:
    found = {name: (values >= low) & (values < end) for name, (low, end) in ranges.items()}
    return {name: inside for name, inside in found.items() if inside.any()}


def _named(numbers: NDArray[np.int64], names: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    found = {name: numbers == number for number, name in enumerate(names)}
    return {name: inside for name, inside in found.items() if inside.any()}
