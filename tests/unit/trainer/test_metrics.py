"""The metrics agree with their definitions, computed the slow way."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.trainer.evaluation import metrics

ranks = st.lists(st.integers(1, 500), min_size=1, max_size=40)
labels = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


@given(ranks, st.integers(1, 30))
def test_ranking_metrics_are_the_means_of_their_definitions(found: list[int], k: int) -> None:
    array = np.array(found)
    gains = [1 / math.log2(1 + rank) if rank <= k else 0 for rank in found]
    assert metrics.hit_rate(array, k) == pytest.approx(sum(r <= k for r in found) / len(found))
    assert metrics.ndcg(array, k) == pytest.approx(sum(gains) / len(found))
    assert metrics.mrr(array) == pytest.approx(sum(1 / rank for rank in found) / len(found))


@given(ranks)
def test_better_ranks_never_give_worse_metrics(found: list[int]) -> None:
    array = np.array(found)
    better = np.maximum(array - 1, 1)
    assert metrics.hit_rate(better, 10) >= metrics.hit_rate(array, 10)
    assert metrics.ndcg(better, 10) >= metrics.ndcg(array, 10)
    assert metrics.mrr(better) >= metrics.mrr(array)


def test_the_first_place_is_worth_one_and_the_tenth_is_the_last_that_counts() -> None:
    assert metrics.ndcg(np.array([1]), 10) == 1.0
    assert metrics.ndcg(np.array([10]), 10) == pytest.approx(1 / math.log2(11))
    assert metrics.ndcg(np.array([11]), 10) == 0.0
    assert metrics.hit_rate(np.array([10, 11]), 10) == 0.5


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20), st.data())
def test_a_rank_counts_every_candidate_that_is_not_worse(
    scores: list[int], data: st.DataObject
) -> None:
    target = data.draw(st.integers(0, len(scores) - 1))
    expected = sum(score >= scores[target] for score in scores)
    assert metrics.target_rank(np.array(scores, dtype=np.float32), target) == expected


def test_a_model_that_scores_all_alike_or_nothing_at_all_ranks_the_target_last() -> None:
    assert metrics.target_rank(np.zeros(7, dtype=np.float32), 0) == 7
    assert metrics.target_rank(np.full(7, np.nan, dtype=np.float32), 0) == 7
    assert metrics.target_rank(np.array([np.nan, 1.0, 0.0]), 1) == 2


@given(labels)
def test_classification_metrics_follow_their_definitions(pairs: list[tuple[int, int]]) -> None:
    actual, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    recalls, f1s = [], []
    for label in sorted({label for pair in pairs for label in pair}):
        right = sum(a == p == label for a, p in pairs)
        given_, answered = (sum(pair[side] == label for pair in pairs) for side in (0, 1))
        recall = right / given_ if given_ else 0
        precision = right / answered if answered else 0
        recalls.append(recall)
        f1s.append(2 * precision * recall / (precision + recall) if right else 0)
    share = sum(a == p for a, p in pairs) / len(pairs)
    assert metrics.accuracy(actual, predicted) == pytest.approx(share)
    assert metrics.macro_recall(actual, predicted) == pytest.approx(sum(recalls) / len(recalls))
    assert metrics.macro_f1(actual, predicted) == pytest.approx(sum(f1s) / len(f1s))


def test_always_answering_the_largest_class_has_a_low_macro_score() -> None:
    actual = np.array([0] * 8 + [1, 2])
    predicted = np.zeros(10, dtype=np.int64)
    assert metrics.accuracy(actual, predicted) == 0.8
    assert metrics.macro_recall(actual, predicted) == pytest.approx(1 / 3)
    assert metrics.macro_f1(actual, predicted) == pytest.approx((2 * 8 / 18) / 3)


def test_no_targets_give_zeros_and_not_nan() -> None:
    nothing = np.array([], dtype=np.int64)
    assert metrics.hit_rate(nothing, 10) == metrics.ndcg(nothing, 10) == metrics.mrr(nothing) == 0
    assert metrics.accuracy(nothing, nothing) == metrics.macro_f1(nothing, nothing) == 0
    assert metrics.macro_recall(nothing, nothing) == 0
