"""The caches of the profile service are bounded by the bytes of their entries."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from groundswell.profile_service.profiles.cached import (
    CachedUser,
    CachedVector,
    Profile,
    SeenItems,
    cached_bytes,
    profile_bytes,
)
from groundswell.profile_service.profiles.item_vectors import ItemVectorCache
from groundswell.profile_service.profiles.last_answers import LastAnswer, LastAnswers
from groundswell.profile_service.store.items import ItemText
from groundswell.serving.bounded import BoundedCache
from tests.support.memory import allocations


@pytest.mark.parametrize(("num_seen", "num_recent"), [(0, 0), (1, 1), (2_000, 200)])
def test_profiles_take_no_more_memory_than_their_bound(num_seen: int, num_recent: int) -> None:
    bound = 3_000_000
    with allocations() as held:
        kept: BoundedCache[Any, CachedUser] = BoundedCache(
            max_bytes=bound, max_entries=10**9, size=cached_bytes
        )
        for user in range(4_000 if num_seen < 10 else 200):
            made = CachedUser()
            kept.put(b"%032d" % user, made)
            made.seen_sequence = 10**6 + user
            made.seen = SeenItems(np.arange(num_seen), np.ones(num_seen, np.uint32))
            for bundle in ("one", "another"):
                made.vectors[bundle] = CachedVector(
                    10**15 + user, 10**6 + user, np.arange(num_recent), np.ones(64, np.float32)
                )
            kept.measure(b"%032d" % user, made)
        assert bound // 3 <= held() <= 1.2 * bound


async def test_item_vectors_take_what_is_counted_for_them() -> None:
    dimension, max_held = 32, 2_000

    async def encode(items: Sequence[ItemText]) -> dict[int, Any]:
        rows = np.ones((len(items), dimension), np.float32)
        return {item.item_no: row.copy() for item, row in zip(items, rows, strict=True)}

    with allocations() as held:
        vectors = ItemVectorCache(encode, "fingerprint", max_held)
        for start in range(0, 3 * max_held, 500):
            texts = [ItemText(n, f"item-{n}", None) for n in range(start, start + 500)]
            await vectors.encode(texts, 1, "")
        del texts
        assert held() <= max_held * (4 * dimension + 350)


@pytest.mark.parametrize("num_seen", [0, 2_000])
def test_last_answers_take_no_more_memory_than_their_bound(num_seen: int) -> None:
    bound = 2_000_000
    with allocations() as held:
        last: LastAnswers[Profile] = LastAnswers(10**9, bound, size=profile_bytes)
        for user in range(3_000 if num_seen == 0 else 150):
            seen = SeenItems(np.arange(num_seen), np.ones(num_seen, np.uint32))
            profile = Profile(np.ones(64, np.float32), user, user, 10**15 + user, user, seen)
            last.keep("lineage", b"%032d" % user, "bundle", LastAnswer(profile, 10**15 + user))
        del seen, profile
        assert bound // 3 <= held() <= 1.2 * bound
