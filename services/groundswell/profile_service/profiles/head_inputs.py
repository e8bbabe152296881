"""Makes the inputs of the profile head from what is stored of users."""

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from groundswell.features.chunks import chunk_ages
from groundswell.features.window import window_tensors
from groundswell.profile_service.profiles.models import History, ProfileModels
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.items import item_texts_by_number
from groundswell.profile_service.store.profiles import StoredProfile
from groundswell.profile_service.store.recent import unpack


def recent_events(stored: StoredProfile, models: ProfileModels) -> NDArray[np.void]:
    """Return [m] the newest events that the head reads; see `recent.LAYOUT`."""
    return unpack(stored.recent or b"")[-models.manifest.recent_length :]


async def item_vectors(
    item_nos: set[int], models: ProfileModels, database: Database, generation: int
) -> dict[int, NDArray[np.float32]]:
    """Return the vectors [c] of items that the head reads, by number.

    Those that are not cached are read from the database, after `generation`. Raises as
    `Database.read`.
    """
    found = models.contexts.find(item_nos, database.changes)
    missing = item_nos - found.keys()
    if not missing:
        return found
    fingerprint = models.spec.fingerprint
    read = partial(item_texts_by_number, item_nos=missing, fingerprint=fingerprint)
    return found | await models.contexts.encode(await database.read_once(read), generation)


def history(
    stored: StoredProfile,
    recent: NDArray[np.void],
    vectors: Mapping[int, NDArray[np.float32]],
    models: ProfileModels,
) -> History:
    """Make the input of the head for a user with events, from the vectors of their items."""
    manifest = models.manifest
    read = np.array([vectors[item_no] for item_no in recent["item_no"].tolist()], np.float32)
    starts = recent["starts_session"].astype(bool)
    return History(
        stored.chunk_vectors.astype(np.float32).reshape(-1, manifest.text.dimension),
        chunk_ages(stored.chunk_times_us, int(recent["time_us"][-1]), use_time=manifest.use_time),
        read.reshape(-1, manifest.context_dimension),
        window_tensors(recent["time_us"], recent["action"], starts, use_time=manifest.use_time),
    )
