"""Ranks of targets among scored candidates, and what a rank adds to HR@k and NDCG@k."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Cells(NamedTuple):
    """Cells of a matrix of scores [B, N]."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]


def target_ranks(
    scores_BN: NDArray[np.floating], targets_B: NDArray[np.integer], excluded: Cells
) -> NDArray[np.int64]:
    """Return [B] ranks, from 1, of one candidate a row among those that are not `excluded`.

    Ties count against the target, and so does a score that is no number: a model that scores
    everything alike must rank it last. Writes -inf over the excluded scores, none of which may be
    a target's.
    """
    own_B = scores_BN[np.arange(len(scores_BN)), targets_B]
    scores_BN[excluded.rows, excluded.columns] = -np.inf
    worse_B = np.count_nonzero(scores_BN < own_B[:, None], axis=1)
    if not (own_B > -np.inf).all():
        # The excluded ones are not below a target that is no number, or -inf itself.
        is_worse_BN = scores_BN < own_B[:, None]
        is_worse_BN[excluded.rows, excluded.columns] = True
        worse_B = np.count_nonzero(is_worse_BN, axis=1)
    ranks: NDArray[np.int64] = scores_BN.shape[1] - worse_B
    return ranks


def hits(ranks: NDArray[np.int64], k: float) -> NDArray[np.float64]:
    """Say 1 of each target among the first k: the mean is HR@k.

    With one relevant item for each target it is recall@k too.
    """
    return (ranks <= k).astype(np.float64)


def gains(ranks: NDArray[np.int64], k: float = np.inf) -> NDArray[np.float64]:
    """Give each target 1 / log2(1 + rank) within k, else 0: the mean is NDCG@k.

    With one relevant item the ideal gain is 1 (Järvelin and Kekäläinen 2002).
    """
    return np.where(ranks <= k, 1 / np.log2(1.0 + ranks), 0.0)
