"""The metrics of ranking and of classification, in plain numpy."""

import numpy as np
from numpy.typing import NDArray


def target_rank(scores: NDArray[np.floating], target: int) -> int:
    """Return the rank, from 1, of candidate `target` among candidates with [n] scores.

    Ties count against the target, and so does a score that is no number: a model that scores
    everything alike must rank it last.
    """
    return int(np.count_nonzero(~(scores < scores[target])))


def hit_rate(ranks: NDArray[np.int64], k: int) -> float:
    """HR@k: the share of targets among the first k; one relevant item, so it is recall@k too."""
    return _mean((ranks <= k).astype(np.float64))


def ndcg(ranks: NDArray[np.int64], k: int) -> float:
    """NDCG@k with one relevant item (Järvelin and Kekäläinen 2002): 1 / log2(1 + rank) within k."""
    return _mean(np.where(ranks <= k, 1 / np.log2(1.0 + ranks), 0.0))


def mrr(ranks: NDArray[np.int64]) -> float:
    """Mean reciprocal rank over the whole ranking."""
    return _mean(1.0 / ranks)


def accuracy(actual: NDArray[np.integer], predicted: NDArray[np.integer]) -> float:
    """Return the share of predictions that are right."""
    return _mean((actual == predicted).astype(np.float64))


def macro_recall(actual: NDArray[np.integer], predicted: NDArray[np.integer]) -> float:
    """Average the recall of the classes that occur, as scikit-learn does; see `macro_f1`."""
    right, given, _ = _class_counts(actual, predicted)
    return _mean(right / np.maximum(given, 1))


def macro_f1(actual: NDArray[np.integer], predicted: NDArray[np.integer]) -> float:
    """Average F1 over the classes that occur among the actual or the predicted ones.

    A class that is only ever predicted counts with 0.
    """
    right, given, answered = _class_counts(actual, predicted)
    return _mean(2 * right / (given + answered))


def _class_counts(
    actual: NDArray[np.integer], predicted: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Count, for each class that occurs, right predictions, actual cases, and predictions."""
    classes = np.union1d(actual, predicted)
    is_actual = actual[:, None] == classes
    is_predicted = predicted[:, None] == classes
    counts = (is_actual & is_predicted, is_actual, is_predicted)
    right, given, answered = (count.sum(axis=0).astype(np.float64) for count in counts)
    return right, given, answered


def _mean(values: NDArray[np.float64]) -> float:
    """Average; of nothing it is 0, so that a report of no targets stays a number."""
    return float(values.mean()) if len(values) else 0.0
