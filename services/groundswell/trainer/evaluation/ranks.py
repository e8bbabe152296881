"""Held-out events → the rank that each model gives them among all candidates."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.manifest import FusionSpec
from groundswell.ranker_service.pipeline import Pipeline, Ranked, RankInput
from groundswell.trainer.data import Prepared
from groundswell.trainer.evaluation.candidates import Candidates
from groundswell.trainer.evaluation.metrics import target_rank

MODELS = ("popularity", "short", "long", "constant", "fused")
_BATCH = 256


class Views(NamedTuple):
    """What the exported models make of B users' histories before B events."""

    short: NDArray[np.float32]
    """[B, d]"""
    long: NDArray[np.float32]
    """[B, d]"""
    gate_features: NDArray[np.float32]
    """[B, 3]"""


ViewsBefore = Callable[[NDArray[np.int64]], Views]
"""Events, as positions in [0, E) → the views of what each one's user did before it."""


class Targets(NamedTuple):
    """The events to predict."""

    events: NDArray[np.int64]
    """[n] positions in [0, E), ascending."""
    num_left_out_seen: int
    """Targets left out because the user had had their item before."""


class Outcome(NamedTuple):
    """What became of n targets."""

    ranks: dict[str, NDArray[np.int64]]
    """By model: [n] ranks from 1."""
    users: list[NDArray[np.float32] | None]
    """[n] the fused vectors [d]; None where nothing was known of the user."""


def choose_targets(prepared: Prepared, part: int, *, include_seen: bool) -> Targets:
    """Take the targets of a part (`data.VALIDATION` or `data.TEST`)."""
    events = np.flatnonzero(prepared.target == part)
    if include_seen:
        return Targets(events, 0)
    fresh = [prepared.items[e] not in items_before(prepared, e) for e in events.tolist()]
    return Targets(events[np.array(fresh, dtype=bool)], len(events) - sum(fresh))


def items_before(prepared: Prepared, event: int) -> NDArray[np.int32]:
    """Return the items of what the event's user did before it."""
    return prepared.items[prepared.offsets[prepared.users[event]] : event]


class TargetRanker:
    """Ranks all candidates for each target with the ranker's own pipeline."""

    def __init__(
        self,
        prepared: Prepared,
        candidates: Candidates,
        pipeline: Pipeline,
        spec: FusionSpec,
        *,
        include_seen: bool,
    ) -> None:
        self._prepared = prepared
        self._candidates = candidates
        self._pipeline = pipeline
        self._constant_alpha = spec.constant_alpha
        self._include_seen = include_seen

    def rank(self, events: NDArray[np.int64], views_before: ViewsBefore) -> Outcome:
        """Rank the items of the target `events`, [n] positions in [0, E)."""
        ranks: dict[str, list[int]] = {model: [] for model in MODELS}
        users: list[NDArray[np.float32] | None] = []
        for start in range(0, len(events), _BATCH):
            batch = events[start : start + _BATCH]
            views = views_before(batch)
            for model in MODELS:
                ranked = self._pipeline.rank(self._inputs(model, batch, views))
                ranks[model] += [self._rank(e, one) for e, one in zip(batch, ranked, strict=True)]
                if model == "fused":
                    users += [one.user for one in ranked]
        return Outcome({model: np.array(found) for model, found in ranks.items()}, users)

    def _inputs(self, model: str, events: NDArray[np.int64], views: Views) -> list[RankInput]:
        prepared, candidates = self._prepared, self._candidates
        inputs = []
        for b, event in enumerate(events):
            before = items_before(prepared, int(event))
            # Before the first event there is no profile and no window, as in production.
            known = len(before) > 0 and model != "popularity"
            inputs.append(
                RankInput(
                    k=candidates.num_items,
                    short=views.short[b] if known and model != "long" else None,
                    long=views.long[b] if known and model != "short" else None,
                    gate_features=views.gate_features[b],
                    fusion_weight=self._constant_alpha if model == "constant" else None,
                    exclude=candidates.ids[[] if self._include_seen else np.unique(before)],
                    allowed=candidates.allowed,
                )
            )
        return inputs

    def _rank(self, event: int, ranked: Ranked) -> int:
        found = np.flatnonzero(ranked.ids == self._candidates.ids[self._prepared.items[event]])
        return target_rank(ranked.scores, int(found[0]))
