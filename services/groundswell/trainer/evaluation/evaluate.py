"""Evaluates a bundle on the held-out events of a prepared log."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.trainer.dataset.prepared import TEST, VALIDATION, Prepared
from groundswell.trainer.errors import DataError
from groundswell.trainer.evaluation import baselines
from groundswell.trainer.evaluation.bootstrap import RESAMPLES, SEED
from groundswell.trainer.evaluation.bundle_items import Candidates
from groundswell.trainer.evaluation.figures import cold_items as cold
from groundswell.trainer.evaluation.figures.fusion_weights import alpha_figures
from groundswell.trainer.evaluation.figures.interests import interest_figures
from groundswell.trainer.evaluation.figures.models import model_figures, paired_figures
from groundswell.trainer.evaluation.item_knn import ItemKnn
from groundswell.trainer.evaluation.metrics import MetricInputs, metric_values
from groundswell.trainer.evaluation.models import MODELS
from groundswell.trainer.evaluation.opened import OpenedBundle
from groundswell.trainer.evaluation.ranks import Scores, by_item, rank_targets
from groundswell.trainer.evaluation.slices import drivers_of, later_positions, slices_of
from groundswell.trainer.inputs.leakage import check_leakage
from groundswell.trainer.ranking.targets import choose_targets

BASELINES = ("popularity", "recent", "item-knn")
PARTS = {"test": TEST, "validation": VALIDATION}


class Compared(NamedTuple):
    """Another bundle's model, ranked on the same targets."""

    name: str
    bundle: Bundle
    model: str
    """One of `models.MODELS`."""


def evaluate(
    bundle: Bundle,
    prepared: Prepared,
    *,
    include_seen: bool = False,
    part: str = "test",
    compare: Sequence[Compared] = (),
    items_of: Prepared | None = None,
) -> dict[str, Any]:
    """Rank all candidates for every target of a part by the baselines and the exported models.

    Returns what `evaluate --json` writes. What a user did before a target, whatever the action, is
    excluded, and targets among it are left out; with `include_seen` neither happens. Targets on
    cold items are reported apart: those that are cold in `items_of`, where that is given. Raises
    DataError when the log has no target in the part (one of `PARTS`), or does not belong to a
    bundle, when two models share a name, and when no item of `items_of` is cold.
    """
    check_leakage(prepared)
    is_cold = cold.items_of(prepared, items_of)
    targets = choose_targets(prepared, PARTS[part], include_seen=include_seen)
    events = targets.events
    if len(events) == 0:
        raise DataError(_no_targets(prepared, part, targets.num_left_out_seen))
    candidates = Candidates.of(prepared)
    opened = OpenedBundle(bundle, prepared, candidates, events)
    scores = _baselines(prepared, candidates, events)
    scores |= {model: opened.scores(model) for model in MODELS}
    for other in compare:
        if other.name in scores:
            raise DataError(f"two models are called {other.name}: name the compared one otherwise")
        found = OpenedBundle(other.bundle, prepared, candidates, events)
        scores[other.name] = found.scores(other.model)
    outcomes = rank_targets(prepared, candidates, events, scores, include_seen=include_seen)
    users = prepared.users[events]
    counts = baselines.training_counts(prepared, candidates)
    slices = slices_of(prepared, candidates, events, counts)
    # All models are judged in one space.
    vectors = opened.items.vectors[candidates.items]
    values = {
        name: metric_values(MetricInputs(one.ranks, one.lists, counts, vectors))
        for name, one in outcomes.items()
    }
    models = model_figures(values, users, slices)
    on_cold = is_cold[prepared.items[events]]
    later = later_positions(prepared, events)
    return {
        "split": prepared.split,
        "part": part,
        "targets": len(events),
        "users": len(np.unique(users)),
        "items": prepared.num_items,
        "candidates": len(candidates),
        "candidates_by_text_alone": opened.items.num_by_text,
        "left_out_seen": targets.num_left_out_seen,
        "include_seen": include_seen,
        "bundle_id": bundle.id,
        "compared": {one.name: {"bundle_id": one.bundle.id, "model": one.model} for one in compare},
        "bootstrap": {"resamples": RESAMPLES, "seed": SEED},
        "models": models,
        "paired": paired_figures(values, users, slices, later, _pairs(list(outcomes))),
        "alpha": alpha_figures(
            opened.fused.weights, users, drivers_of(prepared, events), bundle.manifest.fusion.mode
        ),
        "cold": cold.cold_figures(
            {name: one.ranks[on_cold] for name, one in outcomes.items()},
            users[on_cold],
            prepared.items[events][on_cold],
            len(candidates),
        ),
        "interests": interest_figures(bundle, prepared, events, opened.fused),
        "index": opened.index_figures(
            outcomes["fused"], _seen(prepared, events, include_seen=include_seen)
        ),
    }


def _seen(
    prepared: Prepared, events: NDArray[np.int64], *, include_seen: bool
) -> list[NDArray[np.int64]]:
    """Return the items that each user had before an event; none with `include_seen`."""
    begin = events if include_seen else prepared.offsets[prepared.users[events]]
    return [prepared.items[a:b].astype(np.int64) for a, b in zip(begin, events, strict=True)]


def _no_targets(prepared: Prepared, part: str, num_seen: int) -> str:
    if num_seen:
        return (
            f"every {part} target of {prepared.folder} is an item that its user had before: "
            "evaluate with --include-seen"
        )
    return f"{prepared.folder} has no {part} targets: its split is {prepared.split}"


def _baselines(
    prepared: Prepared, candidates: Candidates, events: NDArray[np.int64]
) -> dict[str, Scores]:
    neighbours = ItemKnn(prepared, candidates)
    found = (
        by_item(baselines.training_counts(prepared, candidates)),
        by_item(baselines.recent_counts(prepared, candidates)),
        lambda some: neighbours.scores(events[some]),
    )
    return dict(zip(BASELINES, found, strict=True))


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Say which models to compare: the fused one with all, and what the older past adds."""
    return [("fused", name) for name in names if name != "fused"] + [("short", "short-session")]
