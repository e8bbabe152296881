"""Caches the vectors that one head of a bundle gives the items of the catalogue."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from groundswell.profile_service.store.changes import KnownChanges
from groundswell.profile_service.store.items import ItemText

Encode = Callable[[Sequence[ItemText]], Awaitable[dict[int, NDArray[np.float32]]]]
"""Items → their vectors, by number."""


class ItemVectorCache:
    """The vectors of the items that were computed last, each with the generation that it is of."""

    def __init__(self, encode: Encode, max_held: int) -> None:
        self._encode = encode
        self._max_held = max_held
        self._held: dict[int, tuple[int, NDArray[np.float32]]] = {}

    def find(
        self, item_nos: Iterable[int], changes: KnownChanges
    ) -> dict[int, NDArray[np.float32]]:
        """Return the vectors that are still right, by number."""
        if not changes.live:
            return {}
        found = {n: self._held[n] for n in item_nos if n in self._held}
        return {
            n: vector
            for n, (generation, vector) in found.items()
            if changes.items_unchanged((n,), generation)
        }

    async def encode(
        self, texts: Sequence[ItemText], generation: int
    ) -> dict[int, NDArray[np.float32]]:
        """Compute the vectors of items that were read after a generation, and cache them.

        Returns them by number.
        """
        vectors = await self._encode(texts)
        for number, vector in vectors.items():
            self._held.pop(number, None)
            self._held[number] = generation, vector
        while len(self._held) > self._max_held:
            del self._held[next(iter(self._held))]
        return vectors
