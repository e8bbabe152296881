"""The bundles that the profile service can answer for: the served one and the one before it."""

import asyncio

import structlog

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.manifest import Manifest
from groundswell.profile_service.encoder import ProfileModels
from groundswell.profile_service.profiles import Profiles
from groundswell.profile_service.settings import ProfileSettings
from groundswell.profile_service.worker import HOPELESS
from groundswell.profile_service.workers import Workers
from groundswell.serving.errors import FailedPrecondition, Unavailable

_log = structlog.get_logger(__name__)


class LoadedBundles:
    """Takes new bundles beside the served one, and swaps one reference when they are ready.

    A bundle with another text encoder is served only once the worker has read everything with it;
    until then the old one serves. The first bundle is served at once: there is no older one.
    """

    def __init__(self, settings: ProfileSettings, workers: Workers, profiles: Profiles) -> None:
        self._settings = settings
        self._workers = workers
        self._profiles = profiles
        self._current: ProfileModels | None = None
        self._previous: ProfileModels | None = None

    def get(self, bundle_id: str) -> ProfileModels:
        """Return a loaded bundle, the served one for an empty id.

        Raises FailedPrecondition (BUNDLE_NOT_LOADED), and Unavailable (NO_BUNDLE) before the first.
        """
        if self._current is None:
            raise Unavailable("NO_BUNDLE", "no bundle is loaded yet")
        if bundle_id in ("", self._current.id):
            return self._current
        if self._previous is not None and bundle_id == self._previous.id:
            return self._previous
        raise FailedPrecondition(
            "BUNDLE_NOT_LOADED", f"bundle {bundle_id!r} is not loaded", field="bundle_id"
        )

    def served(self) -> tuple[str, Manifest]:
        """Return the id and the manifest of the served bundle. Raises Unavailable (NO_BUNDLE)."""
        bundle = self.get("")
        return bundle.id, bundle.manifest

    def loaded_ids(self) -> list[str]:
        """Name the bundles that are loaded, the served one first."""
        return [bundle.id for bundle in self.loaded()]

    def loaded(self) -> list[ProfileModels]:
        """Return the bundles that are loaded, the served one first."""
        return [models for models in (self._current, self._previous) if models is not None]

    async def take(self, bundle: Bundle) -> None:
        """Load a bundle, let the worker follow it, serve it; the one before stays loaded.

        Raises BundleError when it cannot be served.
        """
        settings = self._settings
        if self._previous is not None and self._previous.id == bundle.id:
            models = self._previous
            self._previous = None
        else:
            models = await asyncio.to_thread(
                ProfileModels,
                bundle,
                settings.threads,
                max_batch=settings.max_batch,
                max_queue=settings.max_queue,
                max_items=settings.max_cached_items,
            )
        spec_changed = self._current is not None and self._current.spec != models.spec
        await self._workers.follow(bundle, models.spec)
        if spec_changed:
            # What cannot be encoded at all must not keep the bundle from being served.
            waiting = self._profiles.refresh((), max_attempts=HOPELESS)
            async for progress in waiting:
                _log.info("backfilling", bundle_id=bundle.id, users_left=progress.num_users_left)
        dropped, self._previous, self._current = self._previous, self._current, models
        if dropped is not None:
            self._profiles.forget(dropped.id)
            await dropped.close()
        _log.info("bundle_served", bundle_id=bundle.id)

    async def close(self) -> None:
        """Close what is loaded."""
        for models in self.loaded():
            await models.close()
