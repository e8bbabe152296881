"""Tells how much the order of events says, and how far simple rules get, on training events alone.

Each user's last training event is predicted from those before it. A cheap model counts what follows
what; on shuffled histories it can only learn what belongs together. After Klenitskiy et al. 2024,
"Does It Look Sequential?", who shuffle the inputs of a trained model.

U users, E events, n targets.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from groundswell.trainer.dataset.prepared import TRAIN, VALIDATION, Prepared
from groundswell.trainer.evaluation.baselines import training_counts
from groundswell.trainer.evaluation.bootstrap import clustered_means, difference
from groundswell.trainer.evaluation.bundle_items import Candidates
from groundswell.trainer.evaluation.item_knn import ItemKnn
from groundswell.trainer.evaluation.ranks import Scores, by_item, rank_targets
from groundswell.trainer.neighbours.cooccurrence import (
    DECAYS,
    WINDOW_LENGTH,
    Reading,
    following,
    window_scores,
)
from groundswell.trainer.ranking.metrics import gains, hits
from groundswell.trainer.ranking.targets import is_new

K = 10
_MIN_EVENTS = 3
_FEWEST_TARGETS = 100
_MOST_TARGETS = 2_000
_MOST_CELLS = 1_000_000_000
_READING = Reading(WINDOW_LENGTH, DECAYS[0])
_WHOLE = (500, 1.0)
"""Of a history: so many events, all alike."""
_SEED = 20_261_128
_WEAK = 0.05
"""Below this gain of NDCG@10 order hardly says anything, however sure the gain is."""
_STRONG = 0.25
_MANY_REPEATS = 0.3
_POPULAR = 0.7

MODELS = ("popularity", "item-knn", "item-knn without order", "next item", "next item, shuffled")


def log_signals(prepared: Prepared) -> dict[str, Any]:
    """Return what the training part tells of itself, as `signals.json` holds it.

    `repeats` and `repeats_last` are shares of the targets that their user had before, and that are
    the event before. The models rank among all items but those that the user had. They, and the
    verdict `order`, are None where fewer than 100 targets are new to their users.
    """
    log = _with_targets(prepared)
    targets = np.flatnonzero(log.target == VALIDATION)
    figures: dict[str, Any] = {
        "targets": len(targets),
        "repeats": None,
        "repeats_last": None,
        "new_targets": 0,
        "models": None,
        "order": None,
    }
    if len(targets) == 0:
        return figures
    fresh = is_new(log)[targets]
    figures["repeats"] = float((~fresh).mean())
    figures["repeats_last"] = float((log.items[targets] == log.items[targets - 1]).mean())
    figures["new_targets"] = int(fresh.sum())
    if fresh.sum() < _FEWEST_TARGETS:
        return figures
    candidates = Candidates.of(log)
    most = int(np.clip(_MOST_CELLS // len(candidates), _FEWEST_TARGETS, _MOST_TARGETS))
    new = targets[fresh]
    rng = np.random.default_rng(_SEED)
    events = np.sort(rng.choice(new, min(most, len(new)), replace=False))
    models = _models(log, _shuffled(log, rng), candidates, events)
    ranked = rank_targets(log, candidates, events, models, include_seen=False)
    gains_nM = np.stack([gains(ranked[name].ranks, K) for name in MODELS], axis=1)
    means = clustered_means(gains_nM, log.users[events], np.ones((1, len(events)), bool))
    figures["models"] = {
        name: {
            f"hr@{K}": float(hits(ranked[name].ranks, K).mean()),
            f"ndcg@{K}": float(means.observed[0, number]),
        }
        for number, name in enumerate(MODELS)
    }
    ordered, shuffled = MODELS.index("next item"), MODELS.index("next item, shuffled")
    found = difference(means, 0, ordered, shuffled)
    figures["order"] = {
        "gain": found.relative,
        "ci95": [found.relative_low, found.relative_high],
        "p": found.p,
        "verdict": _verdict(found.relative, found.p),
    }
    return figures


def _verdict(gain: float | None, p: float) -> str:
    if p >= 0.05 or (gain is not None and gain < _WEAK):
        return "not sequential"
    return "weakly sequential" if gain is not None and gain < _STRONG else "sequential"


def _with_targets(prepared: Prepared) -> Prepared:
    """Return the training events, each user's last one, of those with at least 3, as the target."""
    kept = (prepared.split_of == TRAIN) & ~prepared.cold[prepared.items]
    before = np.concatenate([[0], np.cumsum(kept)])
    log = prepared.take(kept, before[prepared.offsets])
    last = log.offsets[1:][np.diff(log.offsets) >= _MIN_EVENTS] - 1
    held_out = np.zeros(len(log.items), np.int8)
    held_out[last] = VALIDATION
    target = np.where(log.weights > 0, held_out, 0).astype(np.int8)
    return replace(log, split_of=held_out, target=target)


def _shuffled(log: Prepared, rng: np.random.Generator) -> Prepared:
    """Return the same with the events before each target in any order."""
    draw = rng.random(len(log.items))
    draw[log.split_of != TRAIN] = 2.0
    order = np.lexsort((draw, log.users))
    of_events = {name: getattr(log, name)[order] for name in ("items", "actions", "weights")}
    return replace(log, **of_events)


def _models(
    log: Prepared, shuffled: Prepared, candidates: Candidates, events: NDArray[np.int64]
) -> dict[str, Scores]:
    knn = ItemKnn(log, candidates)
    near = (knn, knn.reading(*_WHOLE))
    found = (
        by_item(training_counts(log, candidates)),
        *(lambda some, one=one: one.scores(events[some]) for one in near),
        *(_next_item(one, candidates, events) for one in (log, shuffled)),
    )
    return dict(zip(MODELS, found, strict=True))


def _next_item(log: Prepared, candidates: Candidates, events: NDArray[np.int64]) -> Scores:
    """Score by what followed the newest items in training; by popularity what never did."""
    similarities = following(log, log.weights > 0)[:, candidates.items]
    popularity = training_counts(log, candidates)
    least = (1e-6 * popularity / max(popularity.max(), 1)).astype(np.float32)

    def score(some: slice) -> NDArray[np.float32]:
        found = window_scores(log, similarities, events[some], _READING).toarray()
        scores: NDArray[np.float32] = (found + least).astype(np.float32)
        return scores

    return score


def print_signals(figures: dict[str, Any], console: Console) -> None:
    """Show the figures to a person, and the settings that follow."""
    if figures["models"] is not None:
        title = f"what a next item of the training part tells ({figures['new_targets']:,} new ones)"
        table = Table("by", f"HR@{K}", f"NDCG@{K}", title=title, title_justify="left")
        for name, one in figures["models"].items():
            table.add_row(name, f"{one[f'hr@{K}']:.4f}", f"{one[f'ndcg@{K}']:.4f}")
        console.print(table)
    for sentence in advice(figures):
        console.print(sentence, markup=False, soft_wrap=True, highlight=False)


def advice(figures: dict[str, Any]) -> Iterator[str]:
    """Say in sentences what the figures mean, and which settings follow."""
    if figures["models"] is None:
        yield (
            f"the order of events: {figures['new_targets']:,} users have a next item to predict, "
            f"too few to tell; {_FEWEST_TARGETS} would do"
        )
    else:
        yield from _about_order(figures["order"])
        yield from _about_popularity(figures["models"])
    if (figures["repeats"] or 0) >= _MANY_REPEATS:
        yield (
            f"repeats: {figures['repeats']:.0%} of the events are on an item that the user had "
            f"before ({figures['repeats_last']:.0%} on the one just before): `evaluate "
            "--include-seen` counts them, and Recommend gives them with `exclude_seen` off"
        )


def _about_order(order: dict[str, Any]) -> Iterator[str]:
    gain, (low, high) = order["gain"], order["ci95"]
    if gain is None or low is None:
        size = "nothing is predicted on shuffled histories"
    else:
        size = f"{gain:+.0%} NDCG@{K} against shuffled histories, {low:+.0%} to {high:+.0%}"
    follows = {
        "sequential": "the newest events say what comes next, and the default settings fit",
        "weakly sequential": "both views have something to say, and the default settings fit",
        "not sequential": "what a user likes counts, and hardly in which order it came: expect "
        "little of the session service, and a shorter `train --set window_length=20` loses little",
    }[order["verdict"]]
    yield f"the log looks {order['verdict']} ({size}): {follows}"


def _about_popularity(models: dict[str, Any]) -> Iterator[str]:
    ours = models["popularity"][f"hr@{K}"]
    best = max(one[f"hr@{K}"] for one in models.values())
    if ours >= _POPULAR * best > 0:
        yield (
            f"popularity alone gets {ours / best:.0%} of the best HR@{K}: compare the line "
            "`popularity` of `evaluate` before you trust a gain"
        )
