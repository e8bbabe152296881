"""Chooses the bundle to start with: one whose text encoder has encoded the stored users."""

import asyncio

import structlog

from groundswell.artifacts.store import BundleStore
from groundswell.profile_service.store.coverage import covered_items, covered_users
from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.profiles import Spec

_log = structlog.get_logger(__name__)

_NEARLY_ALL = 0.99
"""An encoder may be unable to read a few users or items."""


async def covered_bundle(database: Database, store: BundleStore, current: str) -> str:
    """Return the bundle to begin with: the current one, unless it still has to be backfilled.

    It has to be when its encoder covers fewer users than that of another bundle in the folder, or
    fewer items where it reads no histories. Then that other one was served when the process ended,
    and is returned. Raises OSError, and Unavailable (STORE_UNAVAILABLE).
    """
    manifests = await asyncio.to_thread(store.manifests)
    if current not in manifests:
        return current  # loading it will raise the right error
    specs = {one: Spec.of(manifest) for one, manifest in manifests.items()}
    if specs[current].reads_histories:
        num_users = await database.read(covered_users)
        numbers = {one: num_users.get(spec, 0) for one, spec in specs.items()}
    else:
        num_items = await database.read(covered_items)
        numbers = {one: num_items.get(spec.fingerprint, 0) for one, spec in specs.items()}
    most = max(numbers.values())
    if numbers[current] >= _NEARLY_ALL * most:
        return current
    best = [one for one, number in numbers.items() if number == most]
    chosen = max(best, key=lambda one: manifests[one].created_at)
    _log.warning(
        "begins_with_another",
        bundle_id=chosen,
        current=current,
        covered=most,
        covered_of_current=numbers[current],
    )
    return chosen
