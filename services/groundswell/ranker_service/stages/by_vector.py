"""Ranks by the short-term and by the long-term vector alone, to explain an answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from groundswell.ranker_service.bundle_ranker import BundleRanker
from groundswell.ranker_service.pipeline import Ranked, RankInput
from groundswell.ranker_service.requests import Ask

_DEPTH = 1_000
"""So many of the best items by each vector have a rank."""


@dataclass(frozen=True)
class ByVector:
    """The ranking by each vector of a user alone, without regard to controls."""

    short: Ranked | None
    """None without a short-term vector."""
    long: Ranked | None
    fused: Ranked | None
    """None without any vector."""

    @cached_property
    def ranks(self) -> list[dict[int, int]]:
        """The ranks of items by id by the short-term, the long-term and the fused vector."""
        return [
            {} if one is None else {item: rank for rank, item in enumerate(one.ids.tolist(), 1)}
            for one in (self.short, self.long, self.fused)
        ]

    def interests(self) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
        """Return the probabilities [C] of the categories by the short- and the long-term vector."""
        short, long = (None if one is None else one.interests for one in (self.short, self.long))
        return short, long


async def ranked_by_vector(
    ranker: BundleRanker, asks: Sequence[Ask], inputs: Sequence[RankInput]
) -> list[ByVector | None]:
    """Rank by each vector for the asks that want it; None for the others.

    Raises ResourceExhausted (OVERLOADED).
    """
    wanted = {b: _inputs(inputs[b]) for b, ask in enumerate(asks) if ask.by_vector}
    every = [one for of_user in wanted.values() for one in of_user.values()]
    found = iter(await ranker.rank(every) if every else ())
    named = {b: {name: next(found) for name in of_user} for b, of_user in wanted.items()}
    names = ("short", "long", "fused")
    by_vector = {b: ByVector(*map(ranked.get, names)) for b, ranked in named.items()}
    return [by_vector.get(b) for b in range(len(asks))]


def _inputs(one: RankInput) -> dict[str, RankInput]:
    """Make the inputs for those vectors that there are."""
    plain = replace(one, k=_DEPTH if one.k else 0, controls=None)
    found = {}
    if one.short_vector is not None:
        found["short"] = replace(plain, long_vector=None, fusion_weight=None)
    if one.long_vector is not None:
        found["long"] = replace(plain, short_vector=None, fusion_weight=None)
    if found:
        found["fused"] = plain
    return found
