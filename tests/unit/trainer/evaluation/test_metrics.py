"""The metrics of an evaluation follow their definitions, and each is declared once."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from groundswell.trainer.evaluation.metrics import (
    COMPARED,
    METRICS,
    MetricInputs,
    coverage,
    diversity,
    metric_values,
    novelty,
)

NONE = [-1] * 8


def ranked(
    lists: NDArray[np.int64],
    counts: NDArray[np.float64] | None = None,
    vectors: NDArray[np.float32] | None = None,
) -> MetricInputs:
    """Lists of targets that are all of rank 1."""
    return MetricInputs(
        np.ones(len(lists), np.int64),
        lists,
        np.ones(6) if counts is None else counts,
        np.ones((6, 3), np.float32) if vectors is None else vectors,
    )


def test_every_metric_has_a_name_of_its_own_and_a_value_for_each_target_or_for_all() -> None:
    found = metric_values(ranked(np.array([[0, 1, *NONE], [1, 2, *NONE]])))
    assert len(found) == len(METRICS)
    assert {name for name, values in found.items() if values.shape == ()} == {"coverage"}
    assert all(values.shape in ((), (2,)) for values in found.values())
    assert COMPARED == ("ndcg@10", "hr@10")


def test_coverage_is_the_share_of_candidates_that_anyone_is_shown() -> None:
    assert coverage(ranked(np.array([[0, 1, *NONE], [1, 2, *NONE]]))) == 0.5


def test_rare_items_are_new_and_an_item_without_events_is_not_infinitely_so() -> None:
    counts = np.array([6.0, 1.0, 0.0, 0.0])
    shares = (counts + 1) / (counts.sum() + 4)
    found = novelty(ranked(np.array([[0, 1, *NONE], [2, -1, *NONE], [-1, -1, *NONE]]), counts))
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
    assert diversity(ranked(rows, None, vectors)).tolist() == pytest.approx([due, 0.0])
    vectors[:, -1] = 1e3
    assert diversity(ranked(rows, None, vectors))[0] == pytest.approx(due)


def test_items_that_are_alike_leave_no_diversity_and_an_empty_vector_is_far_from_all() -> None:
    vectors = np.array([[1, 0, 9], [2, 0, 1], [0, 0, 4]], np.float32)
    assert diversity(ranked(np.array([[0, 1, *NONE]]), None, vectors))[0] == pytest.approx(0.0)
    assert diversity(ranked(np.array([[0, 2, *NONE]]), None, vectors))[0] == pytest.approx(1.0)
