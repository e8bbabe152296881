"""Chooses the bundle to start with: one whose text encoder has encoded the stored users."""

import asyncio

import structlog

from groundswell.artifacts.manifest import Manifest
from groundswell.artifacts.store import BundleStore
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.profiles import Spec, covered_users

_log = structlog.get_logger(__name__)

_NEARLY_ALL = 0.99
"""An encoder may be unable to read a few users."""


def spec_of(manifest: Manifest) -> Spec:
    """Return the part of a manifest that decides which stored chunks a bundle can use."""
    return Spec(manifest.text.fingerprint, manifest.chunk_length)


async def covered_bundle(database: Database, store: BundleStore, current: str) -> str:
    """Return the bundle to begin with: the current one, unless it still has to be backfilled.

    It has to be when its encoder covers fewer users than that of another bundle in the folder. Then
    that other one was served when the process ended, and is returned. Raises OSError, and
    Unavailable (STORE_UNAVAILABLE).
    """
    manifests = await asyncio.to_thread(store.manifests)
    if current not in manifests:
        return current  # loading it will raise the right error
    num_covered = await database.read(covered_users)
    numbers = {one: num_covered.get(spec_of(m), 0) for one, m in manifests.items()}
    most = max(numbers.values())
    if numbers[current] >= _NEARLY_ALL * most:
        return current
    best = [one for one, number in numbers.items() if number == most]
    chosen = max(best, key=lambda one: manifests[one].created_at)
    _log.warning(
        "begins_with_another",
        bundle_id=chosen,
        current=current,
        users=most,
        users_of_current=numbers[current],
    )
    return chosen
