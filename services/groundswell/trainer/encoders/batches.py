"""The input of one training step: windows of histories, and the event that each state predicts.

Every process draws the same steps and reads its share of the windows of each.

B windows of L events with T = L + 1 states each, N chunks, t text dimensions, n targets.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundswell.trainer.config import TrainConfig
from groundswell.trainer.inputs.histories import ChunkTable, WindowInputs, window_rows
from groundswell.trainer.inputs.training_log import TrainingLog, Windows, batches_by_length
from groundswell.trainer.loop.distributed import ALONE, Processes
from groundswell.trainer.loop.run import to_tensor

_TARGETS = 1_000
"""Of a step: fewer leave the processor idle, more are fewer steps an epoch."""
_FEWEST_WINDOWS, _MOST_WINDOWS = 4, 256


class BatchTargets(NamedTuple):
    """What is predicted, and from which of the [B, T] states."""

    window_n: NDArray[np.int64]
    slot_n: NDArray[np.int64]
    items_n: NDArray[np.int64]
    weights_n: NDArray[np.float32]

    def at(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the window and the slot of each target's state."""
        return to_tensor(self.window_n, device), to_tensor(self.slot_n, device)


class ChunkInputs(NamedTuple):
    """The chunks that the states of a batch read as text."""

    chunks_BNt: NDArray[np.float32]
    ages_BTN: NDArray[np.float32]
    num_BT: NDArray[np.int64]
    """How many of the chunks each state has."""


class EncoderBatch(NamedTuple):
    """A step of either encoder, or what one of several processes reads of it."""

    window: WindowInputs
    targets: BatchTargets
    chunks: ChunkInputs | None
    """None where nothing is read as text."""
    num_targets: int
    """Of the whole step."""
    share: float
    """The share of `targets` in the weight of all targets of the step. A process without any of
    them reads the whole step with a share of 0."""


def session_batches(
    log: TrainingLog,
    config: TrainConfig,
    rng: np.random.Generator,
    processes: Processes = ALONE,
) -> Iterator[EncoderBatch]:
    """Yield an epoch: each training target once, from the state right before it."""
    for windows in _windows(log, config.window_length, config.batch_windows, rng):
        due = _targets(log, windows)
        if len(due.events_n):
            part, own, share = _share(log, windows, due, processes)
            yield EncoderBatch(_inputs(log, part), _due(log, own), None, len(due.events_n), share)


def profile_batches(
    log: TrainingLog,
    chunks: ChunkTable | None,
    recent_length: int,
    config: TrainConfig,
    rng: np.random.Generator,
    processes: Processes = ALONE,
) -> Iterator[EncoderBatch]:
    """Yield an epoch: each training target once, from a state that may lack what came last.

    In production a profile mostly ends with the session before, and always some events ago. So a
    share of the targets, `long_stale`, are predicted from the state at the start of their session,
    at most `long_horizon` events back; without sessions, from one so many events back at most.
    """
    for windows in _windows(log, recent_length, config.batch_windows, rng):
        due = _targets(log, windows)
        if len(due.events_n) == 0:
            continue
        stale_n = _staleness(log, due.events_n, config, rng)
        # State 0 has read nothing: even where a window is cut out of a history it is no stale one.
        known_n = np.maximum(due.slot_n - stale_n, np.minimum(due.slot_n, 1))
        part, own, share = _share(log, windows, due._replace(slot_n=known_n), processes)
        yield EncoderBatch(
            _inputs(log, part),
            _due(log, own),
            None if chunks is None else _chunk_inputs(log, part, chunks, config.max_chunks),
            len(due.events_n),
            share,
        )


def _chunk_inputs(
    log: TrainingLog, windows: Windows, chunks: ChunkTable, max_chunks: int
) -> ChunkInputs:
    prepared = log.prepared
    users = prepared.users[windows.first]
    ends_BT = windows.first[:, None] + np.arange(int(windows.lengths.max(initial=0)) + 1)
    ends_BT = np.minimum(ends_BT, (windows.first + windows.lengths)[:, None])
    full_BT = chunks.num_before(users[:, None], ends_BT)
    first = np.maximum(full_BT[:, 0] - max_chunks, 0)
    rows_BN = chunks.rows(users, first, full_BT[:, -1] - first)
    last_us_BT = prepared.times_us[np.maximum(ends_BT - 1, 0)]
    ages_BTN = chunks.ages(rows_BN[:, None, :], last_us_BT[..., None])
    return ChunkInputs(chunks.vectors[rows_BN], ages_BTN, full_BT - first[:, None])


def _windows(
    log: TrainingLog, length: int, size: int, rng: np.random.Generator
) -> Iterator[Windows]:
    windows = log.windows(length, rng)
    size = size or _size(log, len(windows.first))
    for batch in batches_by_length(windows.lengths, size, rng):
        yield Windows(*(x[batch] for x in windows))


def _size(log: TrainingLog, num_windows: int) -> int:
    """Return how many windows a step reads so that it predicts about `_TARGETS` events."""
    targets = max(1.0, log.num_targets / max(1, num_windows))
    return int(np.clip(_TARGETS / targets, _FEWEST_WINDOWS, _MOST_WINDOWS))


def _inputs(log: TrainingLog, windows: Windows) -> WindowInputs:
    return window_rows(log.prepared, windows.first, windows.lengths)


class _Due(NamedTuple):
    """Of each target its window, the slot that predicts it, and its event."""

    window_n: NDArray[np.int64]
    slot_n: NDArray[np.int64]
    events_n: NDArray[np.int64]


def _targets(log: TrainingLog, windows: Windows) -> _Due:
    """Return all targets, each predicted from the slot before it."""
    slot_T = np.arange(int(windows.lengths.max(initial=0)) + 1)
    is_due_BT = (slot_T >= windows.target_from[:, None]) & (slot_T <= windows.lengths[:, None])
    event_BT = np.where(is_due_BT, windows.first[:, None] + slot_T, 0)
    is_due_BT &= log.is_target[event_BT]
    window_n, slot_n = np.nonzero(is_due_BT)
    return _Due(window_n, slot_n, event_BT[is_due_BT])


def _share(
    log: TrainingLog, windows: Windows, due: _Due, processes: Processes
) -> tuple[Windows, _Due, float]:
    """Return what one process reads of a step, and its share of the weight of all targets."""
    weights_n = log.prepared.weights[due.events_n].astype(np.float64)
    is_own_n = due.window_n % processes.size == processes.rank
    share = float(weights_n[is_own_n].sum() / weights_n.sum())
    if share == 0:
        return windows, due, share
    own = Windows(*(x[processes.rank :: processes.size] for x in windows))
    window_n, slot_n, events_n = (x[is_own_n] for x in due)
    return own, _Due(window_n // processes.size, slot_n, events_n), share


def _due(log: TrainingLog, due: _Due) -> BatchTargets:
    items_n = log.prepared.items[due.events_n].astype(np.int64)
    return BatchTargets(due.window_n, due.slot_n, items_n, log.prepared.weights[due.events_n])


def _staleness(
    log: TrainingLog, events_n: NDArray[np.int64], config: TrainConfig, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return how many of the events before each target its profile does not know."""
    if log.prepared.order_only:
        back_n = rng.integers(0, config.long_horizon, len(events_n))
    else:
        place_n = log.prepared.session_place[events_n].astype(np.int64)
        back_n = np.minimum(place_n - 1, config.long_horizon)
    stale_n: NDArray[np.int64] = back_n * (rng.random(len(events_n)) < config.long_stale)
    return stale_n
