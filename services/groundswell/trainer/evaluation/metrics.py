"""The metrics of an evaluation: how each is computed, what it is called, and where it is shown.

A new metric is one more entry of `METRICS`: the evaluation computes it with intervals and paired
differences, and the JSON, the page and the terminal's table show it as its entry says.

n targets, each with a list of 10 candidates' columns (-1 stands for an empty place), N' candidates,
d dimensions of an item vector.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.trainer.ranking.metrics import gains, hits

CUTOFFS = (5, 10, 20, 50)
"""The k of HR@k, NDCG@k and recall@k."""
MAIN = "ndcg@10"
"""The metric of comparisons and plots."""


class MetricInputs(NamedTuple):
    """What metrics are computed from: the ranks and lists of one model."""

    ranks: NDArray[np.int64]
    """[n] of the targets, from 1."""
    lists: NDArray[np.int64]
    """[n, 10]"""
    counts: NDArray[np.float64]
    """[N'] training events of each candidate."""
    vectors: NDArray[np.float32]
    """[N', d] item vectors, in which all models are judged."""


Values = NDArray[np.float64]
"""[n] values, whose mean over the targets is the metric; or one value of all lists, without n."""


@dataclass(frozen=True)
class Metric:
    """One metric."""

    name: str
    values: Callable[[MetricInputs], Values]
    of_lists: bool = False
    """True where it describes the lists alone, not the targets: the terminal shows no interval."""
    on_page: bool = True
    explanation: str = ""
    """A sentence below the page's table."""
    decimals: int = 4
    interval_decimals: int = 3
    in_terminal: str | None = None
    """Its heading in the terminal's table, which shows few; None: not shown there."""
    is_main: bool = False
    """True where pairs of models are compared by it, too."""
    by_slice: bool = False
    """True where it is computed for each slice of the targets, too."""

    @property
    def heading(self) -> str:
        """Its heading on the page."""
        return self.name if self.of_lists else self.name.upper()


def coverage(inputs: MetricInputs) -> Values:
    """Return the share of the candidates that are in any list."""
    lists = inputs.lists
    return np.array(len(np.unique(lists[lists >= 0])) / len(inputs.counts))


def novelty(inputs: MetricInputs) -> Values:
    """Return [n] mean self-information of a list's items, in bits: -log2 of their share of the
    training events (Zhou et al. 2010).

    Every candidate counts one event more than it has: without any its novelty would be infinite. An
    empty list has 0.
    """
    lists, counts = inputs.lists, inputs.counts
    shares = (counts + 1) / (counts.sum() + len(counts))
    bits = -np.log2(shares)[np.maximum(lists, 0)]
    real = lists >= 0
    means: Values = (bits * real).sum(axis=1) / np.maximum(real.sum(axis=1), 1)
    return means


def diversity(inputs: MetricInputs) -> Values:
    """Return [n] mean 1 - cosine over the pairs of a list's items (Ziegler et al. 2005).

    The last dimension of an item vector, the popularity bias, is left out. A list of fewer than two
    items has 0.
    """
    lists, vectors = inputs.lists, inputs.vectors
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


def _at(name: str, k: int, values: Callable[[NDArray[np.int64], float], Values]) -> Metric:
    """Return a metric of the ranks up to k; that of 10 is a main one."""
    metric = Metric(f"{name}@{k}", lambda inputs: values(inputs.ranks, k))
    if k != 10:
        return metric
    return replace(metric, in_terminal=metric.heading, is_main=True, by_slice=True)


METRICS = (
    *(_at("hr", k, hits) for k in CUTOFFS),
    *(_at("ndcg", k, gains) for k in CUTOFFS),
    # With one relevant item for each target recall@k is HR@k.
    *(Metric(f"recall@{k}", _at("hr", k, hits).values, on_page=False) for k in CUTOFFS),
    Metric(
        "mrr",
        lambda inputs: 1.0 / inputs.ranks,
        explanation="MRR is the mean of 1 / rank, over the whole ranking.",
        in_terminal="MRR",
        by_slice=True,
    ),
    Metric(
        "coverage",
        coverage,
        of_lists=True,
        explanation="Coverage: share of the candidates in anyone's first ten.",
        in_terminal="cover",
    ),
    Metric(
        "novelty",
        novelty,
        of_lists=True,
        decimals=2,
        interval_decimals=2,
        explanation="Novelty: mean self-information of the first ten, in bits.",
        in_terminal="novel",
    ),
    Metric(
        "diversity",
        diversity,
        of_lists=True,
        explanation="Diversity: mean 1 - cosine between the first ten.",
        in_terminal="diverse",
    ),
)
COMPARED = (MAIN, *(one.name for one in METRICS if one.is_main and one.name != MAIN))
BY_SLICE = tuple(one.name for one in METRICS if one.by_slice)


def metric_values(inputs: MetricInputs) -> dict[str, Values]:
    """Return the values of every metric, by name."""
    return {metric.name: metric.values(inputs) for metric in METRICS}
