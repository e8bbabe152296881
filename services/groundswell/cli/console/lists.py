"""Makes of a few lists all that a browser needs to order items by any fusion weight.

The score of an item is α · s + (1 − α) · l + p: s and l by either vector, p its popularity. Each
list of a forced α has the best items under it, with their parts. Between two such weights the score
of an item that is in neither list is at most the straight line between the last scores of the two
lists. So every item above that line is at its true place.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from groundswell.cli.console.subject import Subject
from groundswell.ranker.v1.ranker_service_pb2 import (
    FUSION_WEIGHT_SOURCE_FORCED,
    Recommendation,
    RecommendRequest,
    RecommendResponse,
)

FUSION_WEIGHTS = (0.5, 0.25, 0.75, 1 / 1024, 1023 / 1024)
"""Exact as float32, so that dividing by them loses nothing. 0 and 1 would hide one of the parts."""
DEPTH = 200


def requests(subject: Subject, size: int) -> list[RecommendRequest]:
    """Ask for the list as it is served, and for those of `FUSION_WEIGHTS`."""
    forced = [
        subject.request(page_size=DEPTH, num_interests=0, fusion_weight=weight)
        for weight in FUSION_WEIGHTS
    ]
    return [subject.request(page_size=size, num_interests=0), *forced]


class Lists(NamedTuple):
    """The answers to `requests`."""

    served: RecommendResponse
    forced: Sequence[RecommendResponse]

    def for_browser(self) -> dict[str, Any]:
        """The rows as served; candidates with their parts before α, and the bounds of others."""
        return {
            "alpha": self.served.fusion_weight,
            "served": [
                _row(one, one.short_score, one.long_score) for one in self.served.recommendations
            ],
            "items": self._candidates(),
            "bounds": self._bounds(),
        }

    def _can_be_mixed(self) -> bool:
        """Whether there are both vectors, and one bundle ranked all lists."""
        return all(
            answer.fusion_weight_source == FUSION_WEIGHT_SOURCE_FORCED
            and answer.bundle_id == self.served.bundle_id
            for answer in self.forced
        )

    def _candidates(self) -> list[dict[str, Any]]:
        if not self._can_be_mixed():
            return []
        found: dict[str, dict[str, Any]] = {}
        for weight, answer in zip(FUSION_WEIGHTS, self.forced, strict=True):
            for one in answer.recommendations:
                parts = one.short_score / weight, one.long_score / (1 - weight)
                found.setdefault(one.item_id, _row(one, *parts))
        return list(found.values())

    def _bounds(self) -> list[dict[str, float | None]]:
        """The last score of each list, by α; None where the list has every item there is."""
        ends = [
            {"alpha": weight, "score": _last_score(answer)}
            for weight, answer in zip(FUSION_WEIGHTS, self.forced, strict=True)
        ]
        return sorted(ends, key=lambda end: end["alpha"] or 0.0)


def _last_score(answer: RecommendResponse) -> float | None:
    found = answer.recommendations
    return found[-1].score if len(found) == DEPTH else None


def _row(one: Recommendation, short: float, long: float) -> dict[str, Any]:
    return {
        "id": one.item_id,
        "title": one.title or one.item_id,
        "categories": ", ".join(one.categories),
        "short": short,
        "long": long,
        "popularity": one.popularity_score,
    }
