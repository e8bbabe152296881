"""Refuses a prepared log from which training or an encoder could read what it has to predict."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from groundswell.features.actions import ACTIONS
from groundswell.trainer.dataset.prepared import NEXT_SESSION, TEST, TRAIN, Prepared
from groundswell.trainer.errors import DataError
from groundswell.trainer.inputs.histories import (
    ChunkTable,
    Histories,
    cut_chunks,
    gate_inputs,
    windows_before,
)
from groundswell.trainer.inputs.training_log import TrainingLog

_TEMPORAL = "temporal"
_PROBED_USERS = 200
_WINDOW, _CHUNK, _MAX_CHUNKS = 20, 5, 8
_HOUR_US = 3_600_000_000


class LeakageError(DataError):
    """A log shows training or an encoder what it must not know, as the message says."""


def check_leakage(prepared: Prepared) -> None:
    """Check that neither a log nor what is made of it shows an event that is to be predicted.

    Nothing here trusts the code that splits: sets, sessions and their order are judged by what the
    log itself says, and the code that makes inputs by what it does when the future changes.
    Raises LeakageError for: events out of order; training after held-out events; targets outside
    of their set; a session in two sets (next-session) or training later than what is held out
    (temporal); cold items in training; a training window over held-out events; and inputs of an
    encoder that change with the target or with what comes after it.
    """
    for check in (_order, _parts, _targets, _sessions, _times, _cold, _training, _inputs):
        check(prepared)


def check_inputs(
    prepared: Prepared,
    events: NDArray[np.int64],
    hidden_from: NDArray[np.int64],
    inputs: Callable[[Prepared, NDArray[np.int64]], Sequence[NDArray[np.generic]]],
    name: str,
) -> None:
    """Refuse inputs of `events` that know anything of what their users do from then on.

    `events` [B] are of B different users, `hidden_from` [B] the first events that must not be
    known. Raises LeakageError when the inputs change with the items and actions from there on, or
    with the times after the events.
    """
    users = prepared.users
    first, target = (np.full(prepared.num_users, len(users), np.int64) for _ in range(2))
    first[users[events]], target[users[events]] = hidden_from, events
    index = np.arange(len(users))
    hidden = index >= first[users]
    later = index > target[users]
    other = replace(
        prepared,
        items=np.where(hidden, (prepared.items + 1) % prepared.num_items, prepared.items),
        actions=np.where(hidden, prepared.actions % len(ACTIONS) + 1, prepared.actions),
        times_us=np.where(later, prepared.times_us + _HOUR_US, prepared.times_us),
    )
    for one, two in zip(inputs(prepared, events), inputs(other, events), strict=True):
        if not np.array_equal(one, two):
            raise LeakageError(
                f"{prepared.folder} leaks: the {name} of an event change with that event or with "
                "what comes after it"
            )


def _refuse(prepared: Prepared, wrong: NDArray[np.bool_], what: str) -> None:
    """Raise if any of E events is `wrong`, naming the first by its place and its user's number."""
    found = np.flatnonzero(wrong)
    if len(found):
        user = int(np.searchsorted(prepared.offsets, found[0], side="right")) - 1
        raise LeakageError(
            f"{prepared.folder} leaks: {len(found):,} events {what}, the first being event "
            f"{found[0] - prepared.offsets[user]} of user {user}; prepare it again"
        )


def _follows(prepared: Prepared) -> NDArray[np.bool_]:
    """Say of E events whether the one before is of the same user."""
    follows = np.ones(len(prepared.items), dtype=bool)
    follows[prepared.offsets[:-1][np.diff(prepared.offsets) > 0]] = False
    return follows


def _order(prepared: Prepared) -> None:
    follows, times, sessions = _follows(prepared), prepared.times_us, prepared.sessions
    step = np.diff(sessions, prepend=-1)
    _refuse(prepared, (step < 0) | (~follows & (step == 0)), "lie in a session that is not whole")
    earlier = follows & (step == 0) & (np.diff(times, prepend=0) < 0)
    _refuse(prepared, earlier, "stand behind a later event of their session")
    starts = np.flatnonzero(step)
    late = np.zeros(len(times), dtype=bool)
    late[starts[1:]] = follows[starts[1:]] & (np.diff(times[starts]) < 0)
    _refuse(prepared, late, "start a session behind one that starts later")


def _parts(prepared: Prepared) -> None:
    """A history never goes on with an earlier set: its events would be inputs of that set."""
    warm = ~prepared.cold[prepared.items]
    user = np.repeat(np.arange(prepared.num_users), np.diff(prepared.offsets))
    part = np.where(warm, prepared.split_of, TRAIN) + user * (TEST + 1)
    back = warm & (np.maximum.accumulate(part) > part)
    _refuse(
        prepared, back & (prepared.split_of == TRAIN), "train after held-out ones of their user"
    )
    _refuse(prepared, back, "validate after test events of their user")


def _targets(prepared: Prepared) -> None:
    predicted = prepared.target != 0
    trained = predicted & (prepared.split_of == TRAIN)
    _refuse(prepared, trained, "are both held-out targets and training events")
    elsewhere = predicted & (prepared.target != prepared.split_of)
    _refuse(prepared, elsewhere, "are targets of a set that they do not lie in")
    _refuse(prepared, predicted & (prepared.weights <= 0), "are targets though they weigh nothing")


def _sessions(prepared: Prepared) -> None:
    """Under next-session a session lies in one set, and no profile knows of its own session."""
    if prepared.split != NEXT_SESSION:
        return
    warm = np.flatnonzero(~prepared.cold[prepared.items])
    sessions, part = prepared.sessions[warm], prepared.split_of[warm]
    parted = np.zeros(len(prepared.items), dtype=bool)
    parted[warm[1:]] = (np.diff(sessions) == 0) & (np.diff(part) != 0)
    _refuse(prepared, parted, "lie in another set than the rest of their session")
    events = np.flatnonzero(prepared.target)
    known = np.zeros(len(prepared.items), dtype=bool)
    begins = np.searchsorted(prepared.sessions, prepared.sessions[events])
    known[events] = prepared.profile_until(events) > begins
    _refuse(prepared, known, "are predicted by a profile that knows their session")


def _times(prepared: Prepared) -> None:
    """Under a temporal split all training lies before all that is predicted, whoever did it."""
    warm = ~prepared.cold[prepared.items]
    held_out = prepared.times_us[warm & (prepared.target != 0)]
    if prepared.split == _TEMPORAL and len(held_out):
        late = warm & (prepared.split_of == TRAIN) & (prepared.times_us >= held_out.min())
        _refuse(prepared, late, "train at or after the time of a held-out target")


def _cold(prepared: Prepared) -> None:
    on_cold = prepared.cold[prepared.items]
    _refuse(
        prepared, on_cold & (prepared.split_of != TEST), "on cold items are not in the test set"
    )
    training = prepared.for_training()
    _refuse(training, training.cold[training.items], "on cold items are left in training")


def _training(prepared: Prepared) -> None:
    log = TrainingLog(prepared.for_training())
    seen = log.prepared
    allowed = (seen.split_of == TRAIN) & ~seen.cold[seen.items]
    _refuse(seen, log.is_target & ~allowed, "are training targets though they are held out")
    _refuse(seen, log.is_target & (seen.weights <= 0), "are training targets and weigh nothing")
    windows = log.windows(_WINDOW, np.random.default_rng(0))
    # Each window reads its events and predicts them and the one behind them.
    forbidden = np.concatenate([[0], np.cumsum(~allowed)])
    ends = windows.first + windows.lengths + 1
    wrong = np.zeros(len(allowed), dtype=bool)
    wrong[windows.first] = forbidden[ends] > forbidden[windows.first]
    _refuse(seen, wrong, "start a training window that reads or predicts a held-out event")


def _inputs(prepared: Prepared) -> None:
    """Check the code that makes inputs, at some users' first and last targets."""
    events = np.flatnonzero(prepared.target)
    if len(events) == 0 or prepared.num_items < 2:
        return
    users, first = np.unique(prepared.users[events], return_index=True)
    last = np.append(first[1:], len(events)) - 1
    chosen = np.linspace(0, len(users) - 1, min(len(users), _PROBED_USERS)).astype(np.int64)
    some = _of_users(prepared, users[chosen])
    moved = some.offsets[:-1] - prepared.offsets[users[chosen]]
    for places in (first, last):
        targets = events[places[chosen]] + moved
        check_inputs(some, targets, targets, _windows, "windows")
        check_inputs(some, targets, targets, _gate, "gate features")
        check_inputs(some, targets, some.profile_until(targets), _profiles, "profile's inputs")


def _of_users(prepared: Prepared, users: NDArray[np.int32]) -> Prepared:
    """Return the log of these users alone, numbered anew from 0."""
    kept = np.isin(prepared.users, users)
    lengths = np.diff(prepared.offsets)[users]
    some = prepared.take(kept, np.concatenate([[0], np.cumsum(lengths)]))
    return replace(some, user_ids=[prepared.user_ids[user] for user in users])


def _windows(prepared: Prepared, events: NDArray[np.int64]) -> Sequence[NDArray[np.generic]]:
    return windows_before(prepared, events, _WINDOW)


def _gate(prepared: Prepared, events: NDArray[np.int64]) -> Sequence[NDArray[np.generic]]:
    return [gate_inputs(prepared, events, _WINDOW).logarithms()]


def _profiles(prepared: Prepared, events: NDArray[np.int64]) -> Sequence[NDArray[np.generic]]:
    """Make a profile's inputs with a number of its own for each item, and of each chunk's text."""
    chunks = cut_chunks(prepared, _CHUNK)
    texts = np.array([sum(text.encode()) % 2048 for text in chunks.texts], np.float32)
    table = ChunkTable(prepared, chunks, texts.reshape(-1, 1))
    inputs = Histories(prepared, table, _MAX_CHUNKS, _WINDOW).before(events)
    items = np.arange(prepared.num_items, dtype=np.float32)[:, None]
    return list(inputs.named(items).values())
