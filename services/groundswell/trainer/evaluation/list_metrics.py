"""What the recommended lists are like, whatever they hit: coverage, novelty and diversity.

n lists of 10 candidates' columns, N' candidates; -1 stands for a place that is empty.
"""

import numpy as np
from numpy.typing import NDArray


def coverage(lists: NDArray[np.int64], num_candidates: int) -> float:
    """Return the share of the candidates that are recommended to anyone."""
    return len(np.unique(lists[lists >= 0])) / num_candidates


def novelty(lists: NDArray[np.int64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return [n] mean self-information of a list's items, in bits: -log2 of their share of the
    training events (Zhou et al. 2010); `counts` [N'].

    Every candidate counts one event more than it has, since one without any would be infinitely
    new. An empty list has 0.
    """
    shares = (counts + 1) / (counts.sum() + len(counts))
    bits = -np.log2(shares)[np.maximum(lists, 0)]
    real = lists >= 0
    means: NDArray[np.float64] = (bits * real).sum(axis=1) / np.maximum(real.sum(axis=1), 1)
    return means


def diversity(lists: NDArray[np.int64], vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return [n] mean 1 - cosine over the pairs of a list's items (Ziegler et al. 2005).

    `vectors` [N', d] are item vectors, whose last dimension, the popularity bias, is left out. A
    list of fewer than two items has 0.
    """
    directions = np.zeros((len(vectors) + 1, vectors.shape[1] - 1))
    lengths = np.linalg.norm(vectors[:, :-1], axis=1, keepdims=True)
    np.divide(vectors[:, :-1], lengths, out=directions[:-1], where=lengths > 0)
    # -1 finds the last row, which is zero. The square of a sum holds each pair twice.
    sums = np.zeros((len(lists), vectors.shape[1] - 1))
    own = np.zeros(len(lists))
    for place in lists.T:
        sums += directions[place]
        own += (directions[place] ** 2).sum(axis=1)
    sizes = (lists >= 0).sum(axis=1)
    pairs = sizes * (sizes - 1)
    cosines = ((sums**2).sum(axis=1) - own) / np.maximum(pairs, 1)
    return np.where(pairs > 0, 1 - cosines, 0.0)
