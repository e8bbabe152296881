"""Coverage, novelty and diversity follow their definitions."""

import itertools

import numpy as np
import pytest

from groundswell.trainer.evaluation.list_metrics import coverage, diversity, novelty

NONE = [-1] * 8


def test_coverage_is_the_share_of_candidates_that_anyone_is_shown() -> None:
    assert coverage(np.array([[0, 1, *NONE], [1, 2, *NONE]]), 6) == 0.5


def test_rare_items_are_new_and_an_item_without_events_is_not_infinitely_so() -> None:
    counts = np.array([6.0, 1.0, 0.0, 0.0])
    shares = (counts + 1) / (counts.sum() + 4)
    found = novelty(np.array([[0, 1, *NONE], [2, -1, *NONE], [-1, -1, *NONE]]), counts)
    assert found[0] == pytest.approx(-np.log2(shares[:2]).mean())
    assert found[1] == pytest.approx(-np.log2(shares[2]))
    assert found[2] == 0
    assert found[1] > found[0]


def test_diversity_is_the_mean_distance_of_pairs_without_the_popularity_dimension() -> None:
    vectors = np.random.default_rng(2).normal(size=(12, 5)).astype(np.float32)
    chosen = [3, 0, 7, 11]
    directions = vectors[:, :-1] / np.linalg.norm(vectors[:, :-1], axis=1, keepdims=True)
    pairs = itertools.combinations(chosen, 2)
    due = np.mean([1 - directions[a] @ directions[b] for a, b in pairs])
    rows = np.array([[*chosen, *[-1] * 6], [5, *[-1] * 9]])
    assert diversity(rows, vectors).tolist() == pytest.approx([due, 0.0])
    vectors[:, -1] = 1e3
    assert diversity(rows, vectors)[0] == pytest.approx(due)


def test_items_that_are_alike_leave_no_diversity_and_an_empty_vector_is_far_from_all() -> None:
    vectors = np.array([[1, 0, 9], [2, 0, 1], [0, 0, 4]], np.float32)
    assert diversity(np.array([[0, 1, *NONE]]), vectors)[0] == pytest.approx(0.0)
    assert diversity(np.array([[0, 2, *NONE]]), vectors)[0] == pytest.approx(1.0)
