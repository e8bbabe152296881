"""Windows of training: every target once an epoch, never its own input, nothing of the future."""

import numpy as np
import pytest

from groundswell.trainer.dataset.prepared import TEST, VALIDATION
from groundswell.trainer.inputs.training_log import TrainingLog, batches_by_length
from tests.unit.trainer.memory import prepared_of

HISTORIES = [list(range(n)) for n in (1, 2, 3, 7, 20, 53)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("length", [1, 4, 50])
def test_every_target_is_predicted_once_from_at_most_so_many_events(seed: int, length: int) -> None:
    log = TrainingLog(prepared_of(HISTORIES))
    windows = log.windows(length, np.random.default_rng(seed))
    targets = [
        first + slot
        for first, count, begin in zip(*windows, strict=True)
        for slot in range(begin, count + 1)
    ]
    assert sorted(targets) == list(range(sum(map(len, HISTORIES))))
    assert windows.lengths.max() <= length
    assert windows.lengths.min() >= 0


def test_a_window_never_reaches_into_another_history() -> None:
    prepared = prepared_of(HISTORIES)
    windows = TrainingLog(prepared).windows(6, np.random.default_rng(0))
    last_target = windows.first + windows.lengths
    np.testing.assert_array_equal(prepared.users[windows.first], prepared.users[last_target])


def test_the_start_token_predicts_the_first_event_of_a_history_alone() -> None:
    prepared = prepared_of(HISTORIES)
    windows = TrainingLog(prepared).windows(6, np.random.default_rng(1))
    from_start = windows.first[windows.target_from == 0]
    assert sorted(from_start.tolist()) == prepared.offsets[:-1].tolist()


def test_windows_are_cut_at_other_places_in_the_next_epoch() -> None:
    log, rng = TrainingLog(prepared_of(HISTORIES)), np.random.default_rng(0)
    first, second = log.windows(6, rng), log.windows(6, rng)
    assert first.first.tolist() != second.first.tolist()


def test_held_out_events_and_dislikes_are_no_targets() -> None:
    prepared = prepared_of(
        [[1, 2, 3, 4, 5], [6, 7]],
        actions=[["view", "dislike", "like", "view", "view"], ["dislike", "view"]],
        held_out=[(VALIDATION, TEST)],
    )
    log = TrainingLog(prepared)
    assert log.is_target.tolist() == [True, False, True, False, False, False, True]
    assert log.num_targets == 3
    assert log.ends.tolist() == [3, 7]
    positions = log.sample_positions(log.is_target, 100, np.random.default_rng(0))
    assert positions.tolist() == [2, 6]


def test_a_sample_of_positions_is_of_the_size_asked_for_and_ascends() -> None:
    log = TrainingLog(prepared_of(HISTORIES))
    chosen = log.sample_positions(log.is_target, 10, np.random.default_rng(0))
    assert len(chosen) == len(set(chosen.tolist())) == 10
    assert (np.diff(chosen) > 0).all()


def test_events_are_kept_for_the_gate_and_are_no_targets_of_the_encoders() -> None:
    hour = 60
    # The first history ends with a session of two; of the eleventh there is one session alone.
    minutes: list[list[float]] = [
        [0, 1, 9 * hour, 9 * hour + 1, 18 * hour],
        *[[0.0, 1.0, 2.0, 3.0]] * 9,
    ]
    minutes.append([float(n) for n in range(60)])
    log = TrainingLog(
        prepared_of(
            [[0, 1, 2, 3, 4], *[[5, 6, 7, 8]] * 9, list(range(60))],
            minutes=minutes,
            held_out=[(TEST,)],
        )
    )
    assert np.flatnonzero(log.is_for_gate).tolist() == [2, 3, *range(41 + 50, 41 + 60)]
    assert not (log.is_for_gate & log.is_target).any()
    # What is kept is still read by what comes after it.
    assert log.ends.tolist()[0] == 4
    assert log.has_event[:4].all()
    assert log.num_targets == log.is_target.sum() == 4 + 36 + 60 - 12


def test_of_a_short_history_nothing_is_kept_for_the_gate() -> None:
    log = TrainingLog(prepared_of([[0, 1, 2]]))
    assert not log.is_for_gate.any()


def test_batches_hold_everything_once_and_little_padding() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 50, 1_000)
    batches = list(batches_by_length(lengths, 32, rng))
    assert sorted(np.concatenate(batches).tolist()) == list(range(1_000))
    assert max(len(batch) for batch in batches) == 32
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded < 1.3 * lengths.sum()
