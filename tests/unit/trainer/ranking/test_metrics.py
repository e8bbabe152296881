"""The metrics of ranking agree with their definitions and with ranx."""

import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.trainer.ranking.metrics import Cells, gains, hits, target_ranks

ranks = st.lists(st.integers(1, 500), min_size=1, max_size=40)
scores = st.lists(st.integers(-3, 3), min_size=2, max_size=60)
CUTOFFS = (5, 10, 20, 50)
NOTHING = Cells(np.empty(0, np.int64), np.empty(0, np.int64))


def rank_of(scores: list[float], target: int, excluded: list[int]) -> int:
    """The rank by the batch function, in the middle of a batch of others."""
    own = np.array(scores, np.float32)
    batch = np.stack([own[::-1], own, np.zeros_like(own)])
    cells = Cells(np.full(len(excluded), 1), np.array(excluded, np.int64))
    return int(target_ranks(batch, np.array([0, target, 0]), cells)[1])


@given(st.lists(scores, min_size=1, max_size=8), st.data())
@settings(max_examples=60, deadline=None)
def test_every_metric_agrees_with_ranx(rows: list[list[int]], data: st.DataObject) -> None:
    # Importing ranx takes five seconds, which no other process of a run should wait for; compiling
    # it takes forty, and it is as right in plain Python.
    os.environ["NUMBA_DISABLE_JIT"] = "1"
    import ranx

    qrels, run, found = {}, {}, []
    for number, row in enumerate(rows):
        target = data.draw(st.integers(0, len(row) - 1))
        # ranx keeps the order of equal scores: the target is put behind them, where it counts.
        order = [*(i for i in range(len(row)) if i != target), target]
        qrels[str(number)] = {str(target): 1}
        run[str(number)] = {str(i): row[i] - 1e-3 * (i == target) for i in order}
        found.append(rank_of([float(score) for score in row], target, []))
    array = np.array(found)
    ours = {f"hit_rate@{k}": hits(array, k) for k in CUTOFFS}
    ours |= {f"recall@{k}": hits(array, k) for k in CUTOFFS}
    ours |= {f"ndcg@{k}": gains(array, k) for k in CUTOFFS} | {"mrr": 1 / array}
    theirs = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), list(ours))
    for name, values in ours.items():
        assert values.mean() == pytest.approx(theirs[name]), name


@given(ranks, st.integers(1, 30))
def test_the_values_of_targets_follow_their_definitions(found: list[int], k: int) -> None:
    array = np.array(found)
    assert hits(array, k).tolist() == [float(rank <= k) for rank in found]
    due = [1 / math.log2(1 + rank) if rank <= k else 0 for rank in found]
    assert gains(array, k).tolist() == pytest.approx(due)


@given(ranks)
def test_better_ranks_never_give_worse_metrics(found: list[int]) -> None:
    array = np.array(found)
    better = np.maximum(array - 1, 1)
    for k in CUTOFFS:
        assert (hits(better, k) >= hits(array, k)).all()
        assert (gains(better, k) >= gains(array, k)).all()


def test_the_first_place_is_worth_one_and_the_tenth_is_the_last_that_counts() -> None:
    assert gains(np.array([1, 10, 11]), 10).tolist() == [1.0, 1 / math.log2(11), 0.0]
    assert hits(np.array([10, 11]), 10).tolist() == [1.0, 0.0]


@given(scores, st.data())
def test_a_rank_counts_every_candidate_that_is_not_worse_and_not_excluded(
    row: list[int], data: st.DataObject
) -> None:
    target = data.draw(st.integers(0, len(row) - 1))
    excluded = data.draw(st.lists(st.integers(0, len(row) - 1).filter(lambda i: i != target)))
    due = sum(s >= row[target] for i, s in enumerate(row) if i not in excluded)
    assert rank_of([float(score) for score in row], target, excluded) == due


def test_a_model_that_scores_all_alike_or_nothing_at_all_ranks_the_target_last() -> None:
    assert rank_of([0.0] * 7, 0, []) == 7
    assert rank_of([0.0] * 7, 0, [1, 2]) == 5
    assert rank_of([math.nan] * 7, 0, []) == 7
    assert rank_of([math.nan] * 7, 0, [1, 2]) == 5
    assert rank_of([math.nan, 1.0, 0.0], 1, []) == 2
    assert rank_of([-math.inf, 1.0, 0.0], 0, [1]) == 2


def test_the_excluded_scores_are_gone_from_the_matrix_for_whoever_reads_it_next() -> None:
    scores = np.array([[1.0, 2.0, 3.0]], np.float32)
    assert target_ranks(scores, np.array([0]), Cells(np.array([0]), np.array([2]))).tolist() == [2]
    assert scores.tolist() == [[1.0, 2.0, -math.inf]]
