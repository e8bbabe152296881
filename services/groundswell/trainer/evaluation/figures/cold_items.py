"""Recall on cold items, which their text alone places, against that of a random order.

n targets, N' candidates.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.trainer.dataset.prepared import Prepared
from groundswell.trainer.errors import DataError
from groundswell.trainer.evaluation.bootstrap import clustered_means, interval
from groundswell.trainer.evaluation.metrics import CUTOFFS
from groundswell.trainer.ranking.metrics import hits


def items_of(prepared: Prepared, other: Prepared | None) -> NDArray[np.bool_]:
    """[N] True for the prepared items that are cold, in `other` where it is given: then they are
    those items, by id, of a log in which they may train.

    Raises DataError when no item of `other` is cold.
    """
    if other is None:
        return prepared.cold
    cold = set(other.item_table["item_id"].filter(other.cold))
    if not cold:
        raise DataError(f"{other.folder} has no cold items: prepare it with --cold-items")
    return np.array([item_id in cold for item_id in prepared.item_ids], bool)


def cold_figures(
    ranks: Mapping[str, NDArray[np.int64]],
    users: NDArray[np.integer],
    items: NDArray[np.integer],
    num_candidates: int,
) -> dict[str, Any] | None:
    """Average the models' `ranks` [n] of targets on cold items; None without targets.

    "chance" is k / N', what a random order finds among the first k; "ratio" is a model's recall by
    it. Both of "ci95" are bootstrap intervals over users.
    """
    if len(users) == 0:
        return None
    chance = {f"recall@{k}": min(k / num_candidates, 1.0) for k in CUTOFFS}
    columns = [hits(ranks[model], k) for model in ranks for k in CUTOFFS]
    means = clustered_means(np.stack(columns, axis=1), users, np.ones((1, len(users)), bool))
    found = zip(means.observed[0].tolist(), means.resampled[:, 0].T, strict=True)
    models: dict[str, Any] = {}
    for model in ranks:
        one: dict[str, Any] = {"ci95": {}, "ratio": {}, "ratio_ci95": {}}
        for name, due in chance.items():
            one[name], resampled = next(found)
            one["ci95"][name] = interval(resampled)
            one["ratio"][name] = one[name] / due
            one["ratio_ci95"][name] = [end / due for end in one["ci95"][name]]
        models[model] = one
    return {
        "items": len(np.unique(items)),
        "targets": len(users),
        "users": len(np.unique(users)),
        "chance": chance,
        "models": models,
    }
