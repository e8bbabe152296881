"""Neighbours count the training part alone, and training and serving read them alike."""

from dataclasses import replace

import numpy as np
import pytest

from groundswell.artifacts.manifest import NeighbourSpec
from groundswell.artifacts.neighbours import Neighbours
from groundswell.features.actions import DISLIKE
from groundswell.trainer.data import TEST
from groundswell.trainer.neighbours import (
    DECAY,
    WINDOW_LENGTH,
    item_similarities,
    neighbour_table,
    sources_before,
)
from tests.unit.trainer.memory import HELD_OUT, prepared_of, random_log


def test_two_items_are_as_near_as_the_users_that_had_both() -> None:
    log = prepared_of([[0, 1, 2], [0, 1], [0, 3, 0], [1, 2]], num_items=5)
    similarities = item_similarities(log).toarray()
    assert similarities[0, 1] == pytest.approx(2 / np.sqrt(3 * 3))
    assert similarities[1, 2] == pytest.approx(2 / np.sqrt(3 * 2))
    assert similarities[0, 3] == pytest.approx(1 / np.sqrt(3 * 1))
    assert similarities[1, 3] == 0
    assert not similarities[4].any()
    assert not np.diag(similarities).any()


def test_what_is_held_out_makes_no_neighbours() -> None:
    log = prepared_of([[0, 1, 2, 3]] * 3, held_out=[HELD_OUT] * 3)
    similarities = item_similarities(log).toarray()
    assert similarities[0, 1] == pytest.approx(1)
    assert not similarities[2:].any()
    assert not similarities[:, 2:].any()


def test_training_and_serving_read_neighbours_alike() -> None:
    """The sums that validation weighs are those that the ranker adds."""
    log = random_log()
    actions = log.actions.copy()
    actions[np.random.default_rng(0).random(len(actions)) < 0.3] = DISLIKE
    log = replace(log, actions=actions)
    similarities = item_similarities(log)
    events = np.flatnonzero(log.target == TEST)
    trained = sources_before(log, similarities, events).weighed(2.0, 3.0)
    spec = NeighbourSpec(
        count=100,
        window_length=WINDOW_LENGTH,
        decay=DECAY,
        short_weight=2.0,
        long_weight=3.0,
    )
    served = Neighbours(*neighbour_table(similarities), spec)
    for row, event in enumerate(events.tolist()):
        past = slice(log.offsets[log.users[event]], event)
        history, disliked = log.items[past].astype(np.int64), log.actions[past] == DISLIKE
        for source, found in (
            (trained.short, served.short(np.where(disliked, -1, history))),
            (trained.long, served.long(np.unique(history[~disliked]))),
        ):
            dense = np.zeros(log.num_items, np.float32)
            dense[found.rows] = found.scores
            # Bundles hold similarities in half precision.
            np.testing.assert_allclose(source[[row]].toarray()[0], dense, atol=4e-3)
            assert dense.any() != disliked.all()


def test_a_dislike_says_nothing_and_takes_its_place_in_a_window() -> None:
    actions = [["view", "dislike", "view"], ["view"] * 2, ["view"] * 2, ["view"] * 2]
    log = prepared_of([[0, 1, 2], [0, 1], [1, 2], [0, 3]], actions=actions)
    similarities = item_similarities(log)
    found = sources_before(log, similarities, np.array([2]))
    due = similarities.toarray()[0]
    assert due.any()
    np.testing.assert_allclose(found.short.toarray()[0], DECAY * due, rtol=1e-6)
    np.testing.assert_allclose(found.long.toarray()[0], due, rtol=1e-6)
    only = replace(log, actions=np.full_like(log.actions, DISLIKE))
    for source in sources_before(only, similarities, np.array([2])):
        assert not source.toarray().any()


def test_a_window_that_begins_later_reads_only_from_there() -> None:
    log = prepared_of([[0, 1, 2], [0, 1], [1, 2], [0, 3]])
    similarities = item_similarities(log)
    whole = sources_before(log, similarities, np.array([2])).short.toarray()[0]
    clipped = sources_before(log, similarities, np.array([2]), np.array([1])).short.toarray()[0]
    nothing = sources_before(log, similarities, np.array([2]), np.array([2])).short.toarray()[0]
    np.testing.assert_allclose(clipped, similarities.toarray()[1], rtol=1e-6)
    np.testing.assert_allclose(whole - clipped, DECAY * similarities.toarray()[0], atol=1e-6)
    assert not nothing.any()
