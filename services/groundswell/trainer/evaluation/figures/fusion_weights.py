"""Describes the served fusion weights: their distribution, and what they depend on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.trainer.evaluation.bootstrap import clustered_means, interval
from groundswell.trainer.evaluation.slices import Slices

_BINS = 20


def alpha_figures(
    alphas: NDArray[np.float32], users: NDArray[np.integer], drivers: Slices, mode: str
) -> dict[str, Any] | None:
    """Describe α before [n] targets, a mean over dimensions; NaN where it had no choice.

    `mode` says whether it was learned or a constant. None when there was never a choice.
    """
    weighed = ~np.isnan(alphas)
    if not weighed.any():
        return None
    names = [(kind, name) for kind, parts in drivers.items() for name in parts]
    masks = np.stack([drivers[kind][name] for kind, name in names] + [weighed]) & weighed
    values = np.where(weighed, alphas, 0).astype(np.float64)[:, None]
    means = clustered_means(values, users, masks)
    by: dict[str, Any] = {kind: {} for kind in drivers}
    for number, (kind, name) in enumerate(names):
        if masks[number].any():
            by[kind][name] = {
                "targets": int(masks[number].sum()),
                "mean": float(means.observed[number, 0]),
                "ci95": interval(means.resampled[:, number, 0]),
            }
    counts, _ = np.histogram(alphas[weighed], bins=_BINS, range=(0, 1))
    quantiles = np.quantile(alphas[weighed].astype(np.float64), [0.05, 0.25, 0.5, 0.75, 0.95])
    return {
        "mode": mode,
        "targets": int(weighed.sum()),
        "mean": float(means.observed[-1, 0]),
        "ci95": interval(means.resampled[:, -1, 0]),
        "quantiles": dict(zip(("5", "25", "50", "75", "95"), quantiles.tolist(), strict=True)),
        "histogram": counts.tolist(),
        "by": by,
    }
