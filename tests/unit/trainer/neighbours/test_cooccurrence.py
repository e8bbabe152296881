"""Neighbours count the training part alone, and training and serving read them alike."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from groundswell.artifacts.manifest import NeighbourSpec
from groundswell.features.actions import DISLIKE
from groundswell.retrieval.neighbours import Neighbours
from groundswell.trainer.dataset.prepared import TEST, TRAIN, Prepared
from groundswell.trainer.neighbours.cooccurrence import (
    WINDOW_LENGTH,
    Reading,
    following,
    history_scores,
    neighbour_table,
    window_scores,
    with_text_neighbours,
)
from tests.unit.trainer.memory import HELD_OUT, prepared_of, random_log

READING = Reading(WINDOW_LENGTH, 0.65)


def everything(log: Prepared) -> NDArray[np.bool_]:
    return np.ones(len(log.items), bool)


def raw(log: Prepared) -> NDArray[np.float64]:
    """[N, N] by the definition, pair by pair, before it is scaled."""
    counts = np.zeros((log.num_items, log.num_items))
    for user in range(log.num_users):
        events = np.arange(log.offsets[user], log.offsets[user + 1])
        events = events[log.split_of[events] == TRAIN]
        for later in events:
            for earlier in events[(events < later) & (events >= later - WINDOW_LENGTH)]:
                a, b = log.items[earlier], log.items[later]
                if a != b and log.actions[earlier] != DISLIKE:
                    counts[a, b] += 0.9 ** (later - earlier - 1)
                    counts[b, a] += 0.3 * 0.9 ** (later - earlier - 1)
    said, of = counts.sum(1), counts.sum(0)
    scores: NDArray[np.float64] = counts / (said[:, None] + 150) / np.maximum(of, 1)[None, :] ** 0.2
    return scores


def test_what_follows_is_counted_by_distance_and_shrunk() -> None:
    log = random_log()
    table = following(log, everything(log)).toarray()
    due = raw(log)
    tops = due.max(1)
    np.testing.assert_allclose(table, due / tops[tops > 0].mean(), rtol=1e-4, atol=1e-6)


def test_what_comes_after_counts_more_than_what_came_before() -> None:
    log = prepared_of([[0, 1]] * 4 + [[2, 3]] * 4)
    table = following(log, everything(log)).toarray()
    assert table[0, 1] > table[1, 0] > 0
    assert table[0, 1] == table[2, 3]
    assert not table[0, 2:].any()


def test_only_the_strongest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    log = random_log()
    whole = following(log, everything(log)).toarray()
    monkeypatch.setattr("groundswell.trainer.neighbours.cooccurrence.NUM_NEIGHBOURS", 3)
    table = following(log, everything(log))
    assert np.diff(table.indptr).max() == 3
    for row in range(log.num_items):
        stored = table.data[table.indptr[row] : table.indptr[row + 1]]
        due = np.sort(whole[row])[::-1][: len(stored)]
        np.testing.assert_allclose(np.sort(stored)[::-1], due, rtol=1e-4)


def test_neither_what_is_held_out_nor_what_is_no_target_is_followed() -> None:
    log = prepared_of([[0, 1, 2, 3]] * 3, held_out=[HELD_OUT] * 3)
    table = following(log, everything(log)).toarray()
    assert table[0, 1] > 0
    assert not table[2:].any()
    assert not table[:, 2:].any()
    assert following(log, log.items != 1).nnz == 0


def test_a_dislike_is_followed_by_nothing_and_follows() -> None:
    log = prepared_of([[0, 1, 2]], actions=[["view", "dislike", "view"]])
    table = following(log, log.actions != DISLIKE).toarray()
    assert table[0, 2] > 0
    assert not table[1].any()
    assert not table[:, 1].any()


def newest_last(items: NDArray[np.int64], history: NDArray[np.int64]) -> list[int]:
    """Each item once, by its last place in a history, the newest last."""
    last = {item: place for place, item in enumerate(history.tolist())}
    return sorted(set(items.tolist()), key=last.__getitem__)


def test_an_item_without_events_takes_after_those_whose_texts_are_near(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("groundswell.trainer.neighbours.cooccurrence._NUM_NEAR", 2)
    log = prepared_of([[0, 1, 2]] * 4 + [[2, 3]] * 4, num_items=6)
    before = following(log, everything(log))
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [-1, 0], [5, 0], [0, 0]], np.float32)
    found = with_text_neighbours(before, vectors).toarray()
    old = before.toarray()
    np.testing.assert_allclose(found[:4, :4], old[:4, :4], rtol=1e-6)
    np.testing.assert_allclose(found[4, :4], (old[0, :4] + old[1, :4]) / 2, rtol=1e-6)
    np.testing.assert_allclose(found[:4, 4], (old[:4, 0] + old[:4, 1]) / 2, rtol=1e-6)
    assert with_text_neighbours(before[:4, :4].tocsr(), vectors[:4]).nnz == before.nnz


def test_training_and_serving_read_neighbours_alike() -> None:
    """The sums that validation weighs are those that the ranker adds."""
    log = random_log()
    actions = log.actions.copy()
    actions[np.random.default_rng(0).random(len(actions)) < 0.3] = DISLIKE
    log = replace(log, actions=actions)
    similarities = following(log, everything(log))
    events = np.flatnonzero(log.target == TEST)
    short = 2.0 * window_scores(log, similarities, events, READING)
    long = 3.0 * history_scores(log, similarities, events, 0.8)
    spec = NeighbourSpec(
        count=100,
        window_length=WINDOW_LENGTH,
        decay=READING.decay,
        short_weight=2.0,
        history_decay=0.8,
        long_weight=3.0,
    )
    served = Neighbours(*neighbour_table(similarities), spec)
    for row, event in enumerate(events.tolist()):
        past = slice(log.offsets[log.users[event]], event)
        history, disliked = log.items[past].astype(np.int64), log.actions[past] == DISLIKE
        for added, found in (
            (short, served.short(np.where(disliked, -1, history))),
            (long, served.long(np.array(newest_last(history[~disliked], history)))),
        ):
            dense = np.zeros(log.num_items, np.float32)
            dense[found.rows] = found.scores
            # Bundles hold similarities in half precision.
            np.testing.assert_allclose(added[[row]].toarray()[0], dense, atol=4e-3)
            assert dense.any() != disliked.all()


def test_a_dislike_says_nothing_and_takes_its_place_in_a_window() -> None:
    actions = [["view", "dislike", "view"], ["view"] * 2, ["view"] * 2, ["view"] * 2]
    log = prepared_of([[0, 1, 2], [0, 1], [1, 2], [0, 3]], actions=actions)
    similarities = following(log, everything(log))
    last, due = np.array([2]), similarities.toarray()[0]
    assert due.any()
    short = window_scores(log, similarities, last, READING).toarray()[0]
    np.testing.assert_allclose(short, 0.65 * due, rtol=1e-6)
    long = history_scores(log, similarities, last, 0.5).toarray()[0]
    np.testing.assert_allclose(long, due, rtol=1e-6)
    only = replace(log, actions=np.full_like(log.actions, DISLIKE))
    assert not window_scores(only, similarities, last, READING).toarray().any()
    assert not history_scores(only, similarities, last, 0.5).toarray().any()


def test_an_item_of_a_history_weighs_by_its_newest_event() -> None:
    log = prepared_of([[0, 1, 2, 0, 3], [0, 1], [1, 2], [0, 3]])
    similarities = following(log, everything(log))
    zero, one, two = similarities.toarray()[:3]
    found = history_scores(log, similarities, np.array([4, 6]), 0.5).toarray()
    norm = np.sqrt(1 + 0.5**2 + 0.25**2)
    np.testing.assert_allclose(found[0], (zero + 0.5 * two + 0.25 * one) / norm, rtol=1e-5)
    np.testing.assert_allclose(found[1], zero, rtol=1e-5)


def test_an_older_event_of_a_window_weighs_less() -> None:
    log = prepared_of([[0, 1, 2], [0, 1], [1, 2], [0, 3]])
    similarities = following(log, everything(log))
    found = window_scores(log, similarities, np.array([2]), READING).toarray()[0]
    zero, one = similarities.toarray()[:2]
    np.testing.assert_allclose(found, one + 0.65 * zero, rtol=1e-6)
