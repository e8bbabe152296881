"""Models' scores → the rank of every target, and the lists that each model recommends.

n targets, B of them at a time, N' candidates.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.ranker_service.pipeline import Pipeline, RankInput
from groundswell.trainer.dataset.prepared import Prepared
from groundswell.trainer.evaluation.bundle_items import Candidates
from groundswell.trainer.ranking.metrics import Cells, target_ranks
from groundswell.trainer.ranking.targets import events_before

LIST_LENGTH = 10
"""How many items a recommended list has."""
_BATCH_CELLS = 2**23
_LARGEST_BATCH = 512
_STRIPES = 32

Scores = Callable[[slice], NDArray[np.float32]]
"""A slice of the targets → [B, N'] scores of the candidates for each, made anew for each call."""


class RankedTargets(NamedTuple):
    """The ranks of n targets by a model, and what it recommends instead."""

    ranks: NDArray[np.int64]
    """[n] from 1."""
    lists: NDArray[np.int64]
    """[n, 10] columns of the best candidates, in no order; -1 where fewer may be recommended."""
    bars: NDArray[np.float32]
    """[n] the smallest score in each list; infinite for an empty one."""


def by_pipeline(
    pipeline: Pipeline, inputs: Callable[[slice], list[RankInput]], candidates: Candidates
) -> Scores:
    """Score by a pipeline that ranks all candidates; `inputs` gives what it reads of some users."""

    def score(some: slice) -> NDArray[np.float32]:
        ranked = pipeline.rank(inputs(some))
        scores = np.empty((len(ranked), len(candidates)), np.float32)
        for row, one in zip(scores, ranked, strict=True):
            row[candidates.columns[one.ids]] = one.scores
        return scores

    return score


def by_item(scores: NDArray[np.float64]) -> Scores:
    """Score [N'] candidates alike for everyone."""

    def score(some: slice) -> NDArray[np.float32]:
        # Doubles that tell items apart must not become one single: their order is their score.
        place = np.unique(scores, return_inverse=True)[1].astype(np.float32)
        return np.tile(place, (some.stop - some.start, 1))

    return score


def rank_targets(
    prepared: Prepared,
    candidates: Candidates,
    events: NDArray[np.int64],
    models: Mapping[str, Scores],
    *,
    include_seen: bool,
) -> dict[str, RankedTargets]:
    """Rank the items of the target `events` [n] among all candidates, by every model.

    What a user did before a target, whatever the action, is excluded unless `include_seen`.
    """
    ranks: dict[str, list[NDArray[np.int64]]] = {name: [] for name in models}
    lists: dict[str, list[NDArray[np.int64]]] = {name: [] for name in models}
    bars: dict[str, list[NDArray[np.float32]]] = {name: [] for name in models}
    size = int(np.clip(_BATCH_CELLS // max(len(candidates), 1), 1, _LARGEST_BATCH))
    for start in range(0, len(events), size):
        batch = events[start : start + size]
        some = slice(start, start + len(batch))
        targets = candidates.columns[prepared.items[batch]]
        excluded = Cells(np.empty(0, np.int64), np.empty(0, np.int64))
        if not include_seen:
            before = events_before(prepared, batch)
            excluded = Cells(before.rows, candidates.columns[prepared.items[before.columns]])
        for name, score in models.items():
            scores = score(some)
            ranks[name].append(target_ranks(scores, targets, excluded))
            best, bar = _best(scores)
            lists[name].append(best)
            bars[name].append(bar)
    return {
        name: RankedTargets(
            np.concatenate(ranks[name]), np.concatenate(lists[name]), np.concatenate(bars[name])
        )
        for name in models
    }


def _best(scores_BN: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the columns of the ten largest scores of each row, -1 for those that are -inf, and the
    smallest of these scores."""
    columns_BC = _shortlist(scores_BN)
    scores_BC = np.take_along_axis(scores_BN, columns_BC, axis=1)
    length = min(LIST_LENGTH, scores_BC.shape[1])
    place = np.argpartition(-scores_BC, length - 1, axis=1)[:, :length]
    best = np.take_along_axis(scores_BC, place, axis=1)
    allowed = best > -np.inf
    found = np.full((len(scores_BN), LIST_LENGTH), -1, np.int64)
    found[:, :length] = np.where(allowed, np.take_along_axis(columns_BC, place, axis=1), -1)
    return found, np.where(allowed, best, np.float32(np.inf)).min(axis=1)


def _shortlist(scores_BN: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return few columns of each row among which the ten largest scores are: [B, C].

    Every `_STRIPES`-th part of a row is compared as one, since a partial sort of whole rows takes
    longer than all the rest: the ten best are in the ten stripes of the largest maxima.
    """
    num_rows, num_items = scores_BN.shape
    width = num_items // _STRIPES
    if width <= LIST_LENGTH:
        return np.tile(np.arange(num_items), (num_rows, 1))
    head = scores_BN[:, : width * _STRIPES].reshape(num_rows, _STRIPES, width)
    best = np.argpartition(-head.max(axis=1), LIST_LENGTH - 1, axis=1)[:, :LIST_LENGTH]
    stripes = best[:, None, :] + width * np.arange(_STRIPES)[None, :, None]
    rest = np.tile(np.arange(width * _STRIPES, num_items), (num_rows, 1))
    return np.concatenate([stripes.reshape(num_rows, -1), rest], axis=1)
