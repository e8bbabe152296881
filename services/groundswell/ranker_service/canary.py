"""Asks the canary queries of a bundle, and refuses it when they do not find their items."""

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle, Canary
from groundswell.artifacts.errors import BundleError
from groundswell.ranker_service.stages.fuse import Fusion
from groundswell.retrieval.engine import Engine
from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.query import Query
from groundswell.retrieval.scan import SCANNED_UP_TO

_LESS = 0.05
"""By how much the recall may be less than when the bundle was made: ties, other processors."""


def check_canary(bundle: Bundle, fusion: Fusion, engine: Engine) -> float | None:
    """Fuse and search as for users, over the bundle's own items; return the recall.

    None: the bundle has no canary queries.

    Raises BundleError (BUNDLE_CORRUPT).
    """
    canary, spec = bundle.canary(), bundle.manifest.canary
    if canary is None or spec is None:
        return None
    recall = canary_recall(canary, fusion, engine)
    if recall < spec.recall - _LESS:
        message = f"its canary queries find {recall:.3f} of their items, not {spec.recall:.3f}"
        raise BundleError("BUNDLE_CORRUPT", message)
    return recall


def canary_recall(canary: Canary, fusion: Fusion, engine: Engine) -> float:
    """Return the share of the best items that the index finds for the canary queries."""
    index = ItemIndex(engine, scanned_up_to=SCANNED_UP_TO)
    best = canary.best_rows
    hits = index.search([Query(one[None], best.shape[1]) for one in fused(fusion, *canary[:3])])
    found = [np.isin(rows, one.ids).mean() for rows, one in zip(best, hits, strict=True)]
    return float(np.mean(found))


def fused(
    fusion: Fusion,
    short: NDArray[np.float32],
    long: NDArray[np.float32],
    gate_features: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return q users who have both vectors, [q, d], by default α; see `Fusion.fuse`."""
    has = np.ones(len(short), dtype=bool)
    return fusion.fuse(short, long, has, has, gate_features, np.full(len(short), np.nan)).user
