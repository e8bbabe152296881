"""Neighbours count the training part alone, and training and serving read them alike."""

import numpy as np
import pytest

from groundswell.artifacts.manifest import NeighbourSpec
from groundswell.artifacts.neighbours import Neighbours
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
        history = log.items[log.offsets[log.users[event]] : event].astype(np.int64)
        for source, found in (
            (trained.short, served.short(history)),
            (trained.long, served.long(np.unique(history))),
        ):
            dense = np.zeros(log.num_items, np.float32)
            dense[found.rows] = found.scores
            # Bundles hold similarities in half precision.
            np.testing.assert_allclose(source[[row]].toarray()[0], dense, atol=4e-3)
            assert dense.max() > 0.1


def test_a_window_that_begins_later_reads_only_from_there() -> None:
    log = prepared_of([[0, 1, 2], [0, 1], [1, 2], [0, 3]])
    similarities = item_similarities(log)
    whole = sources_before(log, similarities, np.array([2])).short.toarray()[0]
    clipped = sources_before(log, similarities, np.array([2]), np.array([1])).short.toarray()[0]
    nothing = sources_before(log, similarities, np.array([2]), np.array([2])).short.toarray()[0]
    np.testing.assert_allclose(clipped, similarities.toarray()[1], rtol=1e-6)
    np.testing.assert_allclose(whole - clipped, DECAY * similarities.toarray()[0], atol=1e-6)
    assert not nothing.any()
