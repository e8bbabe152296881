"""The models of one bundle, run in batches beside the event loop."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.onnx_model import OnnxModel
from groundswell.features.window import WindowTensors
from groundswell.profile_service.profiles.item_vectors import ItemVectorCache
from groundswell.profile_service.profiles.texts import TextEncodings
from groundswell.profile_service.store.items import ItemText
from groundswell.profile_service.store.profiles import Spec
from groundswell.serving.batching import MicroBatcher
from groundswell.serving.errors import FailedPrecondition

_ITEM_BYTES = 350
"""The bytes of a cached item vector besides its values."""
# A hop to the batcher's thread and back takes about as long as the head of one user.
_ON_LOOP_BELOW_S = 0.002


class History(NamedTuple):
    """The input of the profile head for one user."""

    chunk_vectors: NDArray[np.float32]
    """[N, t] the newest full chunks, oldest first."""
    chunk_ages: NDArray[np.float32]
    """[N] see `features.chunks.chunk_ages`."""
    recent_vectors: NDArray[np.float32]
    """[m, c] the context vectors of the newest events, oldest first."""
    recent_tensors: WindowTensors
    """The other inputs of these m events."""


class ProfileModels:
    """A loaded, warm bundle. Raises BundleError (BUNDLE_CORRUPT) when it cannot be."""

    def __init__(
        self,
        bundle: Bundle,
        threads: int,
        *,
        max_batch: int,
        max_queue: int,
        max_queue_bytes: int,
        max_items: int,
        max_item_bytes: int,
        max_text_bytes: int,
    ) -> None:
        self.id = bundle.id
        self.manifest = bundle.manifest
        self.spec = Spec.of(bundle.manifest)
        item_bytes = _ITEM_BYTES + 4 * bundle.manifest.context_dimension
        num_items = min(max_items, max_item_bytes // item_bytes)
        self.contexts = ItemVectorCache(self._contexts_of_items, num_items)
        self._rows = bundle.rows
        self._item_head = bundle.item_head(threads)
        self._context_head = bundle.context_head(threads)
        self._profile_head = bundle.profile_head(threads)
        self._interest_head = bundle.interest_head(threads)
        self._profiles = MicroBatcher(
            self._run_head,
            name="profile",
            max_batch=max_batch,
            max_queue=max_queue,
            max_bytes=max_queue_bytes,
            size=_history_bytes,
            on_loop_below_s=_ON_LOOP_BELOW_S,
        )
        self.texts = TextEncodings(
            bundle.text_encoder(threads),
            max_queue=max_queue,
            max_queue_bytes=max_queue_bytes,
            max_bytes=max_text_bytes,
        )

    async def close(self) -> None:
        """Finish what was submitted and free the threads."""
        await self._profiles.close()
        await self.texts.close()

    async def long_vectors(self, histories: Sequence[History]) -> list[NDArray[np.float32]]:
        """Return the long-term vectors [d] of users. Single users have priority over several.

        Raises ResourceExhausted (OVERLOADED).
        """
        if len(histories) == 1:
            return [await self._profiles.submit(histories[0])]
        return await self._profiles.submit_all(histories)

    async def item_vectors(
        self, text_vectors: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return item vectors [n, d] of text vectors [n, t]; row −1: not in the bundle."""
        return await asyncio.to_thread(self._item_head.run, text_vectors=text_vectors, rows=rows)

    async def vectors_of_texts(
        self, text_vectors: Sequence[NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """Return vectors [n, d] in the item space of text vectors [t] that are no item's."""
        if not text_vectors:
            return np.zeros((0, self.manifest.dimension), np.float32)
        texts = np.stack(text_vectors)
        return await self.item_vectors(texts, np.full(len(texts), -1, np.int64))

    async def vectors_of_items(self, items: Sequence[ItemText]) -> dict[int, NDArray[np.float32]]:
        """Return the vectors [d] of items by number; zeros stand for a text without a vector."""
        return await self._of_items(items, self._item_head)

    async def _contexts_of_items(self, items: Sequence[ItemText]) -> dict[int, NDArray[np.float32]]:
        """Return the context vectors [c] of items by number, as `vectors_of_items`."""
        return await self._of_items(items, self._context_head)

    async def _of_items(
        self, items: Sequence[ItemText], head: OnnxModel
    ) -> dict[int, NDArray[np.float32]]:
        if not items:
            return {}
        texts = np.zeros((len(items), self.manifest.text.dimension), np.float32)
        for place, item in enumerate(items):
            if item.text_vector is not None:
                texts[place] = np.frombuffer(item.text_vector, "<f4")
        rows = np.array([self._rows.get(item.item_id, -1) for item in items], np.int64)
        vectors = await asyncio.to_thread(head.run, text_vectors=texts, rows=rows)
        # Copies: a row that is kept would keep the array of all rows.
        return {item.item_no: vector.copy() for item, vector in zip(items, vectors, strict=True)}

    async def interests(self, text_vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the category distribution [C] of a text.

        Raises FailedPrecondition (NO_CATEGORIES) when the bundle has none.
        """
        head = self._interest_head
        if head is None:
            raise FailedPrecondition("NO_CATEGORIES", "the served bundle has no categories")
        vectors = await self.vectors_of_texts([text_vector])
        # The last value of an item vector is its popularity, which a text has not; a user's is 1.
        vectors[:, -1] = 1.0
        probabilities = await asyncio.to_thread(head.run, vectors=vectors)
        first: NDArray[np.float32] = probabilities[0]
        return first

    def _run_head(self, histories: list[History]) -> list[NDArray[np.float32]]:
        chunks = _chunk_inputs(histories, self.manifest.text.dimension)
        recent = _recent_inputs(histories, self.manifest.context_dimension)
        # Copies: a row that is kept would keep the array of all rows.
        return [row.copy() for row in self._profile_head.run(**chunks, **recent)]


def _history_bytes(history: History) -> int:
    arrays = (*history[:3], *history.recent_tensors)
    return sum(array.nbytes for array in arrays)


def _chunk_inputs(histories: Sequence[History], t: int) -> dict[str, NDArray[np.generic]]:
    """Pad the chunks on the right to the longest history."""
    lengths = np.array([len(h.chunk_ages) for h in histories], np.int64)
    longest = max(1, int(lengths.max()))
    chunks = np.zeros((len(histories), longest, t), np.float32)
    ages = np.zeros((len(histories), longest), np.float32)
    for row, (history, n) in enumerate(zip(histories, lengths, strict=True)):
        chunks[row, :n], ages[row, :n] = history.chunk_vectors, history.chunk_ages
    return {
        "chunk_vectors": chunks,
        "chunk_ages": ages,
        "num_chunks": lengths,
    }


def _recent_inputs(histories: Sequence[History], c: int) -> dict[str, NDArray[np.generic]]:
    """Pad the newest events on the right to the longest history."""
    lengths = np.array([len(h.recent_vectors) for h in histories], np.int64)
    shape = len(histories), max(1, int(lengths.max()))
    vectors = np.zeros((*shape, c), np.float32)
    actions = np.zeros(shape, np.int64)
    gaps, starts = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for row, (history, n) in enumerate(zip(histories, lengths, strict=True)):
        vectors[row, :n] = history.recent_vectors
        actions[row, :n], gaps[row, :n], starts[row, :n] = history.recent_tensors
    return {
        "recent_vectors": vectors,
        "recent_actions": actions,
        "recent_gaps": gaps,
        "recent_starts": starts,
        "recent_lengths": lengths,
    }
