"""What a step reads: each training target once an epoch, from a state that knows only its past."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from groundswell.trainer.config import TrainConfig
from groundswell.trainer.dataset.prepared import TEST, VALIDATION, Prepared
from groundswell.trainer.encoders.batches import (
    BatchTargets,
    EncoderBatch,
    profile_batches,
    session_batches,
)
from groundswell.trainer.inputs.histories import ChunkTable, WindowInputs, cut_chunks
from groundswell.trainer.inputs.training_log import TrainingLog
from groundswell.trainer.loop.distributed import Processes
from tests.unit.trainer.memory import prepared_of

LENGTHS = (1, 2, 3, 7, 20, 53, 9, 9, 9, 9, 30)
HOUR = 60


def a_log(*, order_only: bool = False) -> TrainingLog:
    """Histories of other items each: an item tells its event. A session has four events."""
    begins = np.concatenate([[0], np.cumsum(LENGTHS)])
    items = [list(range(a, b)) for a, b in pairwise(begins)]
    minutes = [[9.0 * HOUR * (n // 4) + n for n in range(length)] for length in LENGTHS]
    held_out: list[tuple[int, ...]] = [(), *[(VALIDATION, TEST)] * (len(LENGTHS) - 1)]
    return TrainingLog(
        prepared_of(items, minutes=minutes, held_out=held_out, order_only=order_only)
    )


def chunks_of(prepared: Prepared, size: int) -> ChunkTable:
    """A chunk's vector says the first of its events."""
    chunks = cut_chunks(prepared, size)
    places = [int(text.split(";")[0].removeprefix("Title ")) for text in chunks.texts]
    return ChunkTable(prepared, chunks, np.array(places, np.float32).reshape(-1, 1))


def events_before(window: WindowInputs, targets: BatchTargets, n: int) -> list[int]:
    """The events of a target's window that its state has read."""
    return [int(x) for x in window.rows[targets.window_n[n], : targets.slot_n[n]]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("length", [1, 5, 50])
def test_the_session_predicts_each_target_once_from_all_that_came_before(
    seed: int, length: int
) -> None:
    log, config = a_log(), TrainConfig(window_length=length, batch_windows=4)
    begins = log.prepared.offsets[log.prepared.users]
    drawn: Counter[int] = Counter()
    for window, targets, *_ in session_batches(log, config, np.random.default_rng(seed)):
        for n, event in enumerate(targets.items_n.tolist()):
            read = events_before(window, targets, n)
            # One that has no event before it is the first of its history.
            assert read == list(range(event - len(read), event))
            assert read or event == begins[event]
            assert targets.weights_n[n] == log.prepared.weights[event]
            drawn[event] += 1
    assert drawn == Counter(np.flatnonzero(log.is_target).tolist())


def profile_epoch(log: TrainingLog, config: TrainConfig, seed: int = 0) -> list[EncoderBatch]:
    chunks = chunks_of(log.prepared, 3)
    return list(profile_batches(log, chunks, 12, config, np.random.default_rng(seed)))


@pytest.mark.parametrize("order_only", [False, True])
@pytest.mark.parametrize("stale", [0.0, 0.5])
def test_a_profile_predicts_each_target_once_and_knows_nothing_from_it_on(
    stale: float, order_only: bool
) -> None:
    config = TrainConfig(long_stale=stale, long_horizon=3, batch_windows=4, max_chunks=4)
    log = a_log(order_only=order_only)
    drawn: Counter[int] = Counter()
    lacking: Counter[int] = Counter()
    for window, targets, chunks, *_ in profile_epoch(log, config):
        assert chunks is not None
        for n, event in enumerate(targets.items_n.tolist()):
            read = events_before(window, targets, n)
            own = range(int(log.prepared.offsets[log.prepared.users[event]]), event)
            lacks = event - 1 - read[-1] if read else len(own)
            assert read == list(range(event - lacks - len(read), event - lacks))
            assert set(read) <= set(own)
            state = targets.window_n[n], targets.slot_n[n]
            num = int(chunks.num_BT[state])
            newest = (len(own) - lacks) // 3
            firsts = chunks.chunks_BNt[targets.window_n[n], :num, 0].tolist()
            due = [own.start + 3 * k for k in range(newest - num, newest)]
            assert firsts == due
            assert num >= min(newest, 4)
            if not order_only and num:
                last = log.prepared.times_us[event - lacks - 1] / 86_400e6
                ends = [log.prepared.times_us[first + 2] / 86_400e6 for first in due]
                ages = chunks.ages_BTN[state][:num]
                np.testing.assert_allclose(np.expm1(ages), [last - e for e in ends], atol=1e-5)
            drawn[event] += 1
            lacking[lacks] += 1
    assert drawn == Counter(np.flatnonzero(log.is_target).tolist())
    if stale == 0:
        assert set(lacking) == {0}
    else:
        assert max(lacking) == (2 if order_only else 3)
        assert lacking[0] > 10 < sum(lacking.values()) - lacking[0]


def test_a_stale_profile_ends_with_the_session_before() -> None:
    config = TrainConfig(long_stale=0.999, long_horizon=20, batch_windows=4)
    log = a_log()
    begins = log.prepared.offsets[log.prepared.users]
    place = log.prepared.session_place
    for window, targets, *_ in profile_epoch(log, config):
        for n, event in enumerate(targets.items_n.tolist()):
            read = events_before(window, targets, n)
            if len(read) > 1 and event - begins[event] > 12:
                assert read[-1] in (event - place[event], event - 1)


def test_without_chunks_a_batch_has_none_and_its_targets_are_the_same() -> None:
    log, config = a_log(), TrainConfig(batch_windows=4)
    rngs = [np.random.default_rng(0) for _ in range(2)]
    with_chunks = profile_batches(log, chunks_of(log.prepared, 3), 12, config, rngs[0])
    without = profile_batches(log, None, 12, config, rngs[1])
    for one, two in zip(with_chunks, without, strict=True):
        assert two.chunks is None
        np.testing.assert_array_equal(one.targets.items_n, two.targets.items_n)


def test_a_step_grows_until_it_has_enough_targets() -> None:
    histories = [list(range(10)) for _ in range(2_000)]
    log = TrainingLog(prepared_of(histories))
    sizes = [
        len(batch.targets.items_n)
        for batch in session_batches(log, TrainConfig(), np.random.default_rng(0))
    ]
    assert np.mean(sizes) == pytest.approx(1_000, rel=0.2)


def test_events_that_weigh_nothing_are_read_and_never_predicted() -> None:
    log = a_log()
    weights = log.prepared.weights.copy()
    weights[::3] = 0
    light = TrainingLog(replace(log.prepared, weights=weights))
    config = TrainConfig(batch_windows=4)
    read: set[int] = set()
    for window, targets, *_ in session_batches(light, config, np.random.default_rng(0)):
        assert (targets.items_n % 3 != 0).all()
        assert (targets.weights_n > 0).all()
        read |= set(window.rows.ravel().tolist())
    assert any(item % 3 == 0 for item in read - {0})


def predicted(batch: EncoderBatch) -> Counter[tuple[int, tuple[int, ...], float]]:
    """What is predicted, from which events, and how much it counts."""
    targets = batch.targets
    return Counter(
        (int(item), tuple(events_before(batch.window, targets, n)), float(targets.weights_n[n]))
        for n, item in enumerate(targets.items_n)
    )


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_each_step_and_together_predict_all_of_it(size: int) -> None:
    log = a_log()
    weights = np.random.default_rng(0).choice([0.5, 1.0, 3.0], len(log.prepared.weights))
    log = TrainingLog(replace(log.prepared, weights=weights.astype(np.float32)))
    config = TrainConfig(batch_windows=2, max_chunks=4)
    chunks = chunks_of(log.prepared, 3)

    def epoch(processes: Processes) -> list[EncoderBatch]:
        rng = np.random.default_rng(0)
        sessions = list(session_batches(log, config, rng, processes))
        return sessions + list(profile_batches(log, chunks, 12, config, rng, processes))

    whole = epoch(Processes())
    parts = [epoch(Processes(rank, size)) for rank in range(size)]
    without_any = 0
    for batch, *shared in zip(whole, *parts, strict=True):
        assert batch.share == 1
        assert {part.num_targets for part in shared} == {batch.num_targets}
        assert batch.num_targets == len(batch.targets.items_n)
        assert sum(part.share for part in shared) == pytest.approx(1)
        due = predicted(batch)
        assert sum((predicted(part) for part in shared if part.share), Counter()) == due
        total = batch.targets.weights_n.sum()
        for part in shared:
            if part.share:
                assert part.share == pytest.approx(part.targets.weights_n.sum() / total)
                if part.chunks is not None:
                    assert len(part.chunks.chunks_BNt) == len(part.window.rows)
            else:
                without_any += 1
                assert predicted(part) == due, "whatever it is a mean of, it is a mean"
    assert without_any > 0
