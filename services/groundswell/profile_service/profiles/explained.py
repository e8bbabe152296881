"""Says what each event and each chunk of a history does for an item, by leaving it out."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.features.window import WindowTensors
from groundswell.profile_service.profiles.models import History, ProfileModels


class Effects(NamedTuple):
    """The change of u_l · v by each part of a history: with it, less without it."""

    event_item_nos: NDArray[np.int64]
    """[m] of the newest events that the head reads, oldest first."""
    event_times_us: NDArray[np.int64]
    """[m]"""
    of_events: NDArray[np.float64]
    """[m]"""
    chunk_times_us: NDArray[np.int64]
    """[n] when the chunks that the head reads ended, oldest first."""
    of_chunks: NDArray[np.float64]
    """[n]"""
    lineage: str
    """That of the database that the item numbers belong to."""


async def effects(
    whole: History, models: ProfileModels, item_vector: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the effects [m] of the events and [n] of the chunks of a history on an item [d].

    The head runs once for each of them. Raises ResourceExhausted (OVERLOADED).
    """
    m, n = len(whole.recent_vectors), len(whole.chunk_vectors)
    vectors = await models.long_vectors([whole, *_without_each(whole)])
    products = np.stack(vectors).astype(np.float64) @ item_vector.astype(np.float64)
    lost = products[0] - products[1:]
    if m > 1:
        return lost[:m], lost[m:]
    return np.full(m, products[0]), lost[:n]  # the head reads no history without an event


def _without_each(whole: History) -> Iterator[History]:
    """Leave out each event, then each chunk. The gap after an event that is left out stays."""
    m, n = len(whole.recent_vectors), len(whole.chunk_vectors)
    for left_out in range(m if m > 1 else 0):
        kept = np.arange(m) != left_out
        tensors = WindowTensors(*(values[kept] for values in whole.recent_tensors))
        yield whole._replace(recent_vectors=whole.recent_vectors[kept], recent_tensors=tensors)
    for left_out in range(n):
        kept = np.arange(n) != left_out
        yield whole._replace(
            chunk_vectors=whole.chunk_vectors[kept], chunk_ages=whole.chunk_ages[kept]
        )
