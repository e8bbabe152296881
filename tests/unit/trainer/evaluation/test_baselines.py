"""The baselines count the training part alone, and item-kNN is what its definition says."""

from dataclasses import replace

import numpy as np
import pytest

from groundswell.trainer.dataset.prepared import TEST
from groundswell.trainer.evaluation.baselines import recent_counts, training_counts
from groundswell.trainer.evaluation.bundle_items import Candidates
from groundswell.trainer.evaluation.item_knn import DECAY, ItemKnn
from groundswell.trainer.neighbours.cooccurrence import NUM_NEIGHBOURS, WINDOW_LENGTH
from tests.unit.trainer.memory import HELD_OUT, prepared_of, random_log


def test_what_is_held_out_and_what_is_cold_is_not_counted() -> None:
    log = prepared_of([[0, 1, 0, 2, 3], [1, 4, 0]], held_out=[HELD_OUT, HELD_OUT], num_items=6)
    candidates = Candidates.of(log)
    assert candidates.items.tolist() == [0, 1, 2, 3, 4]
    assert training_counts(log, candidates).tolist() == [2, 2, 0, 0, 0]
    cold = replace(log, cold=np.array([False, True, False, False, False, False]))
    assert training_counts(cold, candidates).tolist() == [2, 0, 0, 0, 0]
    weights = np.array([1, 0, 0.5, 1, 1, 1, 1, 1], np.float32)
    assert training_counts(replace(log, weights=weights), candidates).tolist() == [1.5, 1, 0, 0, 0]


def test_recent_popularity_counts_the_newest_tenth_of_all_events() -> None:
    """The second user is the newest, with item 1; item 0 has most events."""
    log = prepared_of(
        [[0] * 15 + [2] * 3, [1, 1, 3]],
        minutes=[range(18), range(100, 103)],
        held_out=[(), (0, 0, TEST)],
    )
    counts = recent_counts(log, Candidates.of(log))
    assert counts.argmax() == 1
    assert np.floor(counts).tolist() == [0, 2, 0, 0]
    assert counts[0] > counts[2] > counts[3] == 0


def test_with_positions_for_times_it_is_the_newest_tenth_of_each_history() -> None:
    histories = [[0] * 19 + [1], [2] * 3 + [0], [0] * 5]
    log = prepared_of(histories, order_only=True, held_out=[(TEST,), (TEST,), ()])
    # 19 training events give 2, 3 give 1, 5 give 1.
    assert np.floor(recent_counts(log, Candidates.of(log))).tolist() == [3, 0, 1]


def test_item_knn_weighs_cosines_by_how_recent_the_event_is() -> None:
    log = random_log()
    candidates = Candidates.of(log)
    n = len(candidates)
    had = np.zeros((log.num_users, n))
    for user, item, part in zip(log.users, log.items, log.split_of, strict=True):
        if part == 0:
            had[user, candidates.columns[item]] = 1
    norms = np.linalg.norm(had, axis=0)
    cosine = had.T @ had / np.maximum(np.outer(norms, norms), 1e-9)
    np.fill_diagonal(cosine, 0)
    assert n <= NUM_NEIGHBOURS
    events = np.flatnonzero(log.target == TEST)
    scores = ItemKnn(log, candidates).scores(events)
    for row, event in enumerate(events.tolist()):
        begin = max(int(log.offsets[log.users[event]]), event - WINDOW_LENGTH)
        due = np.zeros(n)
        for age, item in enumerate(log.items[begin:event][::-1].tolist()):
            due += DECAY**age * cosine[candidates.columns[item]]
        np.testing.assert_allclose(scores[row], due, atol=3e-6, rtol=1e-4)


def test_what_is_held_out_makes_no_items_near() -> None:
    log = prepared_of([[0, 1, 2, 3]] * 3, held_out=[HELD_OUT] * 3)
    # Item 1 is near by three users; 2 and 3 are what popularity, and nothing, leaves them.
    scores = ItemKnn(log, Candidates.of(log)).scores(np.array([1]))[0]
    assert scores[1] == pytest.approx(1, abs=1e-5)
    assert scores[2] == scores[3] == 0


def test_only_the_nearest_items_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundswell.trainer.neighbours.cooccurrence.NUM_NEIGHBOURS", 3)
    log = prepared_of([[0, 1, 2, 3, 4, 5], [0, 1, 2, 3], [0, 1, 2], [0, 1], [5, 0]])
    # Before the second event of the first user, item 0 alone has been read.
    scores = ItemKnn(log, Candidates.of(log)).scores(np.array([1]))[0]
    assert np.flatnonzero(scores > 1e-3).tolist() == [1, 2, 3]
    assert scores[1] == pytest.approx(4 / np.sqrt(5 * 4), abs=1e-5)


def test_where_nothing_was_read_or_nothing_is_near_popularity_decides() -> None:
    log = prepared_of([[0, 1], [2, 2, 2], [3, 2]])
    scores = ItemKnn(log, Candidates.of(log)).scores(np.array([0]))[0]
    assert np.argsort(-scores, kind="stable").tolist() == [2, 0, 1, 3]


def test_item_knn_reads_nothing_of_the_target_or_after_it() -> None:
    log = random_log()
    events = np.flatnonzero(log.target == TEST)
    items = log.items.copy()
    items[events] = (items[events] + 1) % 30
    candidates = Candidates.of(log)
    first = ItemKnn(log, candidates).scores(events)
    second = ItemKnn(replace(log, items=items), candidates).scores(events)
    np.testing.assert_array_equal(first, second)


def test_cosines_of_blocks_are_those_of_all_items_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    log = random_log(users=40, items=30)
    candidates, events = Candidates.of(log), np.flatnonzero(log.target == TEST)
    due = ItemKnn(log, candidates).scores(events)
    for cells in (1, 100, 500):
        monkeypatch.setattr("groundswell.trainer.evaluation.item_knn._BLOCK_CELLS", cells)
        np.testing.assert_array_equal(ItemKnn(log, candidates).scores(events), due)
