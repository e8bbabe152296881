"""Chooses the held-out events to predict, and lists what their users did before."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.trainer.dataset.prepared import Prepared
from groundswell.trainer.inputs.histories import ranges
from groundswell.trainer.ranking.metrics import Cells


class HeldOut(NamedTuple):
    """The held-out events to predict."""

    events: NDArray[np.int64]
    """[n] positions in [0, E), ascending."""
    num_left_out_seen: int
    """HeldOut left out because the user had had their item before."""


def choose_targets(prepared: Prepared, part: int, *, include_seen: bool) -> HeldOut:
    """Take the targets of a part (`data.VALIDATION` or `data.TEST`)."""
    events = np.flatnonzero(prepared.target == part)
    if include_seen:
        return HeldOut(events, 0)
    fresh = is_new(prepared)[events]
    return HeldOut(events[fresh], int((~fresh).sum()))


def is_new(prepared: Prepared) -> NDArray[np.bool_]:
    """[E] True where the user had no earlier event on the item."""
    pairs = prepared.users.astype(np.int64) * prepared.num_items + prepared.items
    _, first = np.unique(pairs, return_index=True)
    found = np.zeros(len(pairs), bool)
    found[first] = True
    return found


def events_before(prepared: Prepared, events: NDArray[np.int64]) -> Cells:
    """Return what the user of each of [B] events did before it: rows in [0, B), ascending, and
    the events as columns, oldest first in each row."""
    return Cells(*ranges(prepared.offsets[prepared.users[events]], events))
