"""A bundle and a prepared log → how good the bundle is on the events that no training saw."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.text_cache import TextCache
from groundswell.ranker_service.fusion import Fusion
from groundswell.ranker_service.pipeline import Pipeline
from groundswell.trainer.data import TEST, TEXT_VECTORS, Prepared
from groundswell.trainer.errors import DataError
from groundswell.trainer.evaluation import metrics
from groundswell.trainer.evaluation.candidates import candidates_of
from groundswell.trainer.evaluation.ranks import Outcome, TargetRanker, choose_targets
from groundswell.trainer.evaluation.views import BundleViews

_K = 10
_POSITIONS = {"1": (1, 1), "2-3": (2, 3), "4-": (4, None)}
"""Places in a session, from 1, that are reported apart: most requests come at its start."""


def evaluate(bundle: Bundle, prepared: Prepared, *, include_seen: bool = False) -> dict[str, Any]:
    """Rank all candidates for every test target through the exported models.

    Returns what `evaluate --json` writes. What a user did before a target, whatever the action, is
    excluded, and targets among it are left out; with `include_seen` neither happens. Raises
    DataError when the log has no test target, or does not belong to the bundle.
    """
    targets = choose_targets(prepared, TEST, include_seen=include_seen)
    if len(targets.events) == 0:
        raise DataError(_no_targets(prepared, targets.num_left_out_seen))
    manifest = bundle.manifest
    cache = prepared.folder / TEXT_VECTORS
    encode = TextCache(cache, bundle.text_encoder(), manifest.text.fingerprint).encode
    candidates = candidates_of(bundle, prepared, encode)
    fusion = Fusion(bundle.fusion_model(), manifest.fusion)
    pipeline = Pipeline(fusion, candidates.index, candidates.popularity)
    views = BundleViews(bundle, prepared, candidates.vectors, encode)
    ranker = TargetRanker(
        prepared, candidates, pipeline, manifest.fusion, include_seen=include_seen
    )
    outcome = ranker.rank(targets.events, views.before)
    return {
        "split": prepared.split,
        "targets": len(targets.events),
        "users": len(np.unique(prepared.users[targets.events])),
        "items": prepared.num_items,
        "candidates": candidates.num_items,
        "candidates_by_text_alone": candidates.num_by_text,
        "left_out_seen": targets.num_left_out_seen,
        "include_seen": include_seen,
        "bundle_id": bundle.id,
        "models": _model_metrics(outcome, np.ones(len(targets.events), dtype=bool)),
        "session_positions": _by_session_position(prepared, targets.events, outcome),
        "interests": _interest_metrics(bundle, prepared, targets.events, outcome),
    }


def _no_targets(prepared: Prepared, num_seen: int) -> str:
    if num_seen:
        return (
            f"every test target of {prepared.folder} is an item that its user had before: "
            "evaluate with --include-seen"
        )
    return f"{prepared.folder} has no test targets: its split is {prepared.split}"


def _model_metrics(outcome: Outcome, chosen: NDArray[np.bool_]) -> dict[str, dict[str, float]]:
    return {
        model: {
            f"hr@{_K}": metrics.hit_rate(ranks[chosen], _K),
            f"ndcg@{_K}": metrics.ndcg(ranks[chosen], _K),
            "mrr": metrics.mrr(ranks[chosen]),
        }
        for model, ranks in outcome.ranks.items()
    }


def _by_session_position(
    prepared: Prepared, events: NDArray[np.int64], outcome: Outcome
) -> dict[str, Any] | None:
    """Report the targets apart by their place in their session; None in a log without sessions."""
    if prepared.order_only:
        return None
    index = np.arange(len(prepared.items))
    last_start = np.maximum.accumulate(np.where(prepared.starts, index, 0))
    place = (index - last_start + 1)[events]
    figures = {}
    for name, (low, high) in _POSITIONS.items():
        chosen = (place >= low) & (place <= (high or place.max()))
        if chosen.any():
            models = _model_metrics(outcome, chosen)
            figures[name] = {"targets": int(chosen.sum()), "models": models}
    return figures


def _interest_metrics(
    bundle: Bundle, prepared: Prepared, events: NDArray[np.int64], outcome: Outcome
) -> dict[str, float] | None:
    """Hold the likeliest category of each fused vector against the target's primary one.

    Targets without a category, and users of whom nothing was known, do not count. A category that
    the bundle does not know is never right. None without categories.
    """
    head = bundle.interest_head()
    if head is None:
        return None
    number = {name: c for c, name in enumerate(bundle.manifest.categories)}
    known = np.array([number.get(name, -1) for name in prepared.categories], dtype=np.int64)
    category = prepared.item_category[prepared.items[events]]
    pairs = [
        (known[c], user)
        for c, user in zip(category, outcome.users, strict=True)
        if c >= 0 and user is not None
    ]
    if not pairs:
        return None
    actual = np.array([c for c, _ in pairs])
    predicted = head.run(vectors=np.stack([user for _, user in pairs])).argmax(axis=1)
    return {
        "accuracy": metrics.accuracy(actual, predicted),
        "recall": metrics.macro_recall(actual, predicted),
        "f1": metrics.macro_f1(actual, predicted),
    }
