"""Makes the inputs of the profile head from what is stored of users."""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.features.chunks import chunk_ages
from groundswell.features.window import WindowTensors, window_tensors
from groundswell.profile_service.profiles.models import History, ProfileModels
from groundswell.profile_service.store import profiles as statements
from groundswell.profile_service.store.database import DatabaseConnection
from groundswell.profile_service.store.items import ItemText
from groundswell.profile_service.store.recent import unpack


class StoredHistory(NamedTuple):
    """What is stored of one user."""

    profile: Any
    chunks: list[Any]
    recent: NDArray[np.void]
    """[m] the newest events; see `recent.LAYOUT`."""


class StoredHistories(NamedTuple):
    """The stored input of the head for several users, as one transaction reads it."""

    by_user: dict[int, StoredHistory]
    item_vectors: dict[int, NDArray[np.float32]]
    """The cached vectors of the newest events' items, by number."""
    item_texts: list[ItemText]
    """What the vectors of the other items are computed from."""


def load_histories(
    connection: DatabaseConnection,
    user_nos: Collection[int],
    models: ProfileModels,
    lineage: str,
) -> StoredHistories:
    """Load the stored input of the head for users who have a profile."""
    if not user_nos:
        return StoredHistories({}, {}, [])
    profiles = statements.find_profiles(connection, user_nos, models.spec)
    newest, length = models.manifest.max_chunks, models.manifest.recent_length
    first = {number: max(0, row.num_chunks - newest) for number, row in profiles.items()}
    chunks = statements.newest_chunks(connection, first, models.spec)
    by_user = {
        number: StoredHistory(row, _chunks(row, chunks[number], newest), _recent(row, length))
        for number, row in profiles.items()
    }
    item_nos = {n for user in by_user.values() for n in user.recent["item_no"].tolist()}
    return StoredHistories(by_user, *models.contexts.load(connection, item_nos, lineage))


async def histories(
    stored: StoredHistories, models: ProfileModels, revision: int, lineage: str
) -> dict[int, History]:
    """Make the inputs of the head, by user.

    `revision` and `lineage` are those of the catalogue in the transaction that loaded `stored`.
    """
    encoded = await models.contexts.encode(stored.item_texts, revision, lineage)
    vectors = stored.item_vectors | encoded
    return {number: _history(user, vectors, models) for number, user in stored.by_user.items()}


def _history(
    user: StoredHistory, vectors: dict[int, NDArray[np.float32]], models: ProfileModels
) -> History:
    manifest = models.manifest
    chunks = np.array([np.frombuffer(c.vector, "<f2") for c in user.chunks], np.float32)
    times_us = np.array([c.last_time_us for c in user.chunks], np.int64)
    recent = [vectors[item_no] for item_no in user.recent["item_no"].tolist()]
    return History(
        chunks.reshape(-1, manifest.text.dimension),
        chunk_ages(times_us, user.profile.last_event_us, use_time=manifest.use_time),
        np.array(recent, np.float32).reshape(-1, manifest.context_dimension),
        _tensors(user.recent, use_time=manifest.use_time),
    )


def _tensors(recent: NDArray[np.void], *, use_time: bool) -> WindowTensors:
    starts = recent["starts_session"].astype(bool)
    return window_tensors(recent["time_us"], recent["action"], starts, use_time=use_time)


def _chunks(profile: Any, stored: list[Any], newest: int) -> list[Any]:
    """Return the newest chunks that a profile covers; the worker may have stored later ones."""
    return [chunk for chunk in stored if chunk.chunk_no < profile.num_chunks][-newest:]


def _recent(profile: Any, length: int) -> NDArray[np.void]:
    """Return the newest stored events; none for a row that the worker has yet to cover again."""
    events = unpack(profile.recent or b"")
    return events[max(len(events) - length, 0) :]
