"""Loads new bundles into the profile service, and keeps earlier ones while they are used."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from groundswell.artifacts.bundle import Bundle
from groundswell.profile_service.profiles.models import ProfileModels
from groundswell.profile_service.settings import ProfileSettings
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.worker.running import RunningWorker
from groundswell.runtime.held_bundles import HeldBundles

_log = structlog.get_logger(__name__)

_TEND_EVERY_S = 5.0


class ProfileBundles:
    """Takes new bundles beside the served one, and swaps one reference when they are ready.

    A bundle with another text encoder is served only once the worker has read everything with it.
    Until then the old bundle is served, and the worker reads new events and items with both
    encoders. The first bundle is served at once.
    """

    def __init__(self, settings: ProfileSettings, worker: RunningWorker) -> None:
        self._settings = settings
        self._worker = worker
        self.held: HeldBundles[ProfileModels] = HeldBundles(
            self._candidate, keep_s=settings.bundle_keep_s, max_held=settings.max_bundles
        )
        self._prepared: list[Spec] = []
        """The encoders of the bundles that are being loaded."""
        self._specs: set[Spec] = set()
        """The encoders in use. One that went out of use comes back with a swap alone."""
        self._tending: asyncio.Task[None] | None = None

    async def take(self, bundle: Bundle) -> None:
        """Load a bundle, let the worker read everything with its encoder, serve it.

        Earlier bundles stay loaded while they are in use; one of them is served again at once. A
        cancelled call changes nothing. Raises BundleError when the bundle cannot be served.
        """
        models = self.held.find(bundle.id) or await self._candidate(bundle)
        # Inside it is in use: else it could be closed before it is served again.
        with self._in_preparation(models.spec), self.held.using((models,), models):
            await self._worker.serve(bundle, models.spec)
            self.held.serve(models)
        if self._tending is None:
            self._tending = asyncio.create_task(self._tend())
        _log.info("bundle_served", bundle_id=bundle.id)

    def reads_histories(self) -> bool:
        """Whether an encoder in use reads histories as text."""
        # Before the first bundle anything may be needed.
        return not self._specs or any(spec.reads_histories for spec in self._specs)

    async def close(self) -> None:
        """Close what is loaded."""
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)
        await self.held.close()

    async def _candidate(self, bundle: Bundle) -> ProfileModels:
        """Load a bundle; return when everything has been read with its encoder."""
        settings = self._settings
        models = await asyncio.to_thread(
            ProfileModels,
            bundle,
            settings.threads,
            max_batch=settings.max_batch,
            max_queue=settings.max_queue,
            max_queue_bytes=settings.max_queue_bytes,
            max_items=settings.max_cached_items,
            max_item_bytes=settings.max_cached_item_bytes,
            max_text_bytes=settings.max_cached_text_bytes,
        )
        _log.info("bundle_loaded", bundle_id=bundle.id, fingerprint=models.spec.fingerprint)
        try:
            with self._in_preparation(models.spec):
                if self.held.served is None:
                    await self._worker.begin(bundle, models.spec)
                else:
                    await self._worker.backfill(bundle, models.spec)
        except BaseException:
            await models.close()
            await self._keep_needed()
            raise
        return models

    @contextmanager
    def _in_preparation(self, spec: Spec) -> Iterator[None]:
        """Keep an encoder in use that no held bundle may need yet."""
        self._specs.add(spec)
        self._prepared.append(spec)
        try:
            yield
        finally:
            self._prepared.remove(spec)

    async def _tend(self) -> None:
        """Let the worker stop using the encoders of bundles that no call asks for any more."""
        while True:
            await asyncio.sleep(_TEND_EVERY_S)
            await self._keep_needed()

    async def _keep_needed(self) -> None:
        needed = {one.spec for one in self.held.all() if self.held.is_asked_for(one)}
        self._specs &= needed | {*self._prepared}
        await self._worker.keep(self._specs)
