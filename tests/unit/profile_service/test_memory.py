"""The caches of the profile service are bounded by the bytes of their entries."""

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from groundswell.artifacts.text_onnx import OnnxTextEncoder
from groundswell.profile_service.profiles.cached import (
    HeldProfile,
    KeptAnswer,
    Profile,
    SeenItems,
    held_bytes,
)
from groundswell.profile_service.profiles.item_vectors import ItemVectorCache
from groundswell.profile_service.profiles.texts import TextEncodings
from groundswell.profile_service.store.items import ItemText
from groundswell.serving.bounded import BoundedCache
from tests.support.memory import allocations


@pytest.mark.parametrize(("num_seen", "num_recent"), [(0, 0), (1, 1), (2_000, 200)])
def test_profiles_take_no_more_memory_than_their_bound(num_seen: int, num_recent: int) -> None:
    bound = 3_000_000
    with allocations() as held:
        kept: BoundedCache[tuple[bytes, str], HeldProfile] = BoundedCache(
            max_bytes=bound, max_entries=10**9, size=held_bytes
        )
        for user in range(4_000 if num_seen < 10 else 200):
            seen = SeenItems(np.arange(num_seen), np.ones(num_seen, np.uint32), np.arange(num_seen))
            vector = np.ones(64, np.float32)
            number, time_us = 10**6 + user, 10**15 + user
            answer = KeptAnswer(bytes(vector.nbytes + 250))
            profile = Profile(vector, number, time_us, time_us + 1, seen, kept_answer=answer)
            items = np.arange(num_recent)
            kept.put(
                (b"%032d" % user, "a bundle"),
                HeldProfile(profile, number + 1, items, number + 2, time_us + 2),
            )
        del seen, vector, answer, profile, items
        assert bound // 3 <= held() <= 1.2 * bound


async def test_item_vectors_take_what_is_counted_for_them() -> None:
    dimension, max_held = 32, 2_000

    async def encode(items: Sequence[ItemText]) -> dict[int, Any]:
        rows = np.ones((len(items), dimension), np.float32)
        return {item.item_no: row.copy() for item, row in zip(items, rows, strict=True)}

    with allocations() as held:
        vectors = ItemVectorCache(encode, max_held)
        for start in range(0, 3 * max_held, 500):
            texts = [ItemText(n, f"item-{n}", None) for n in range(start, start + 500)]
            await vectors.encode(texts, 1)
        del texts
        assert held() <= max_held * (4 * dimension + 350)


async def test_vectors_of_texts_take_no_more_memory_than_their_bound() -> None:
    bound = 2_000_000
    with allocations() as held:
        texts = TextEncodings(_Encoder(), max_queue=64, max_queue_bytes=10**9, max_bytes=bound)
        for start in range(0, 2_000, 50):
            await texts.encode([f"text {n}" for n in range(start, start + 50)])
        await texts.close()
        assert bound // 3 <= held() <= 1.2 * bound


class _Encoder(OnnxTextEncoder):
    """Stands for the text encoder, whose results alone are measured."""

    def __init__(self) -> None:
        self._unknown = None

    def tokenise(self, texts: Sequence[str]) -> list[Any]:
        return [Namespace(ids=[1], special_tokens_mask=[0]) for _ in texts]

    def encode_tokens(self, tokens: Sequence[Any], _: Any = None) -> NDArray[np.float32]:
        return np.ones((len(tokens), 384), np.float32)
