"""Asks the canary queries of a bundle, and refuses it when they do not find their items."""

import numpy as np

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.errors import BundleError
from groundswell.ranker_service.stages.fuse import Fusion
from groundswell.retrieval.engine import Engine
from groundswell.retrieval.item_index import SCANNED_UP_TO, ItemIndex, Query

_LESS = 0.05
"""By how much the recall may be less than when the bundle was made: ties, other processors."""


def check_canary(bundle: Bundle, fusion: Fusion, engine: Engine) -> None:
    """Fuse and search as for users, over the bundle's own items.

    Raises BundleError (BUNDLE_CORRUPT).
    """
    canary, spec = bundle.canary(), bundle.manifest.canary
    if canary is None or spec is None:
        return
    has = np.ones(spec.num, dtype=bool)
    none_forced = np.full(spec.num, np.nan)
    short, long, features, best = canary
    users = fusion.fuse(short, long, has, has, features, none_forced).user
    index = ItemIndex(engine, scanned_up_to=SCANNED_UP_TO)
    hits = index.search([Query(user[None], best.shape[1]) for user in users])
    found = [np.isin(rows, one.ids).mean() for rows, one in zip(best, hits, strict=True)]
    recall = float(np.mean(found))
    if recall < spec.recall - _LESS:
        message = f"its canary queries find {recall:.3f} of their items, not {spec.recall:.3f}"
        raise BundleError("BUNDLE_CORRUPT", message)
