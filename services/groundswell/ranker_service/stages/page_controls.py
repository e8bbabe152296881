"""The controls of one page as plain inputs of the pipeline, and what they did to it.

Shapes: d dimensions, k items of the page. Ids are the index's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.retrieval.id_set import IdSet
from groundswell.retrieval.query import NO_IDS

_MOST_MEASURED = 100_000


class Boost(NamedTuple):
    """A kind of items whose scores are raised, or lowered by a negative weight."""

    items: IdSet
    """The ids of such items."""
    weight: float
    """In standard deviations of the user's scores."""


class Promotion(NamedTuple):
    """A kind of items that gets a number of places at least."""

    items: IdSet
    """As in `Boost`."""
    num_items: int


@dataclass(frozen=True)
class Controls:
    """How one page is arranged; the contract is in ranker_service.proto."""

    pins: Mapping[int, int] = field(default_factory=dict)
    """The ids of items by their places; the first place is 0."""
    never: Sequence[NDArray[np.int64]] = ()
    """Ids that no pin may bring back: part of what the input excludes."""
    boosts: Sequence[Boost] = ()
    promotions: Sequence[Promotion] = ()
    diversity: float = 0.0
    max_per_category: int = 0
    """0: no limit."""
    categories: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    """Indexed by id: the number of the primary category; −1 for none."""
    min_relevance: float | None = None
    liked: NDArray[np.int64] = field(default_factory=NO_IDS.copy)
    disliked: NDArray[np.int64] = field(default_factory=NO_IDS.copy)
    exploration: float = 0.0
    explored: NDArray[np.int64] = field(default_factory=NO_IDS.copy)
    """Ids of the items that may be explored."""
    seed: int = 0


class Placement(Enum):
    """What put an item at its place; the values are those of the contract."""

    RELEVANCE = 1
    PINNED = 2
    PROMOTED = 3
    EXPLORED = 4


@dataclass(frozen=True)
class Arranged:
    """What the controls did to a page."""

    placements: Sequence[Placement]
    """[k] what put each item at its place."""
    relevance: NDArray[np.float64]
    """[k] scores without boosts, in standard deviations above the mean."""
    boost_scores: NDArray[np.float64]
    """[k] what boosts added."""
    liked_scores: NDArray[np.float64]
    """[k] what likes and dislikes added."""
    ranks: NDArray[np.int64]
    """[k] by the score without boosts, from 1; 0 below the candidates."""
    boosted: NDArray[np.bool_]
    """[boosts, k] True where a boost holds."""
    promoted: NDArray[np.bool_]
    """[promotions, k] True where an item counts for a promotion."""
    deviation: float
    num_candidates: int
    num_below: int
    """How many candidates the minimum relevance removed."""
    full_categories: NDArray[np.int32]
    seed: int


class ScoreSpread(NamedTuple):
    """Mean and standard deviation of one user's scores."""

    mean: float
    deviation: float

    @classmethod
    def of_values(cls, values: NDArray[np.float64]) -> "ScoreSpread":
        """Measure values [n]."""
        return cls.of(float(values.mean()), float(values.var())) if len(values) else cls(0.0, 1.0)

    @classmethod
    def of(cls, mean: float, variance: float) -> "ScoreSpread":
        """Take 1 for a deviation that nothing could be measured in."""
        deviation = float(np.sqrt(max(variance, 0.0)))
        fits = np.isfinite(mean) and np.isfinite(deviation) and deviation > 0
        return cls(mean, deviation) if fits else cls(0.0, 1.0)


class ItemSpread:
    """Mean and covariance of the vectors of items, which give every user's `ScoreSpread`."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        """Measure vectors [n, d], evenly spaced ones of very many."""
        some = vectors[:: max(len(vectors) // _MOST_MEASURED, 1)].astype(np.float64)
        n = max(len(some), 1)
        self._mean = some.sum(0) / n
        centred = some - self._mean
        self._covariance = centred.T @ centred / n

    def of_user(self, user: NDArray[np.floating]) -> ScoreSpread:
        """Return the spread of the scores of a user [d]."""
        vector = user.astype(np.float64)
        return ScoreSpread.of(float(vector @ self._mean), float(vector @ self._covariance @ vector))


def directions(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return vectors [n, d] at length 1 without their popularity dimension; zeros for one of 0."""
    found = vectors.astype(np.float64)
    found[:, -1] = 0.0
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return found / np.where(lengths > 0, lengths, 1.0)


def pull(
    liked: NDArray[np.float32], disliked: NDArray[np.float32], user: NDArray[np.float32] | None
) -> NDArray[np.float32] | None:
    """Return what vectors of liked and of disliked items add to a user [d]; None for nothing.

    A vector of zeros is of an item that has none.

    It is the mean direction of the liked items minus that of the disliked ones, times the length of
    the user without the popularity dimension. Without a user only likes say what to search for.
    """
    liked, disliked = (some[some.any(1)] for some in (liked, disliked))
    if not len(liked) and (user is None or not len(disliked)):
        return None
    wanted, unwanted = (directions(some).sum(0) / max(len(some), 1) for some in (liked, disliked))
    length = 1.0 if user is None else float(np.linalg.norm(user[:-1].astype(np.float64)))
    found: NDArray[np.float32] = (length * (wanted - unwanted)).astype(np.float32)
    return found
