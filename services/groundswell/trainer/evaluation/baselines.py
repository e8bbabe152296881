"""Baselines without training: popularity and recent popularity, of the training part alone.

N' candidates; every score is for the candidates in their order.
"""

import numpy as np
from numpy.typing import NDArray

from groundswell.trainer.dataset.prepared import TRAIN, Prepared
from groundswell.trainer.evaluation.bundle_items import Candidates

RECENT_SHARE = 0.1
"""The share of the training events, the newest, that recent popularity counts. A share of the
events and not of the time span: a log that thins out would leave a last stretch without any."""


def training_counts(prepared: Prepared, candidates: Candidates) -> NDArray[np.float64]:
    """Sum the weights of the training events of each candidate: [N']."""
    return _counts(prepared, _training_events(prepared), candidates)


def recent_counts(prepared: Prepared, candidates: Candidates) -> NDArray[np.float64]:
    """Sum the weights of the newest tenth of the training events of each candidate: [N'].

    In a log whose times are only positions it is the newest tenth of each history, at least one
    event. Ties are broken by all training events.
    """
    events = _training_events(prepared)
    if prepared.order_only:
        users = prepared.users[events]
        lengths = np.bincount(users, minlength=prepared.num_users)
        end = np.cumsum(lengths)[users]
        newest = end - np.arange(len(events)) <= np.ceil(lengths * RECENT_SHARE)[users]
    else:
        times = prepared.times_us[events]
        by_age = np.sort(times)[::-1]
        oldest = by_age[: int(np.ceil(len(times) * RECENT_SHARE))][-1:]  # none without events
        newest = times >= oldest
    everything = training_counts(prepared, candidates)
    recent = _counts(prepared, events[newest], candidates)
    ordered: NDArray[np.float64] = recent + everything / (everything.sum() + 1)
    return ordered


def _training_events(prepared: Prepared) -> NDArray[np.int64]:
    """Return the positions in [0, E) of what training may count."""
    return np.flatnonzero((prepared.split_of == TRAIN) & ~prepared.cold[prepared.items])


def _counts(
    prepared: Prepared, events: NDArray[np.int64], candidates: Candidates
) -> NDArray[np.float64]:
    columns = candidates.columns[prepared.items[events]]
    weights = prepared.weights[events]
    counts = np.bincount(columns, weights=weights, minlength=len(candidates))
    return counts.astype(np.float64)
