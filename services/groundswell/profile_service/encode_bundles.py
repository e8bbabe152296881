"""What a worker process reads with: the current bundle's text encoder, and earlier ones a while."""

import asyncio
import time

import structlog

from groundswell.artifacts.bundle import Bundle
from groundswell.profile_service.coverage import spec_of
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.workers import Workers

_log = structlog.get_logger(__name__)

_KEEP_S = 3600.0
"""How long an earlier encoder reads on: nobody tells this process when the last ranker has left it.
"""
_TEND_EVERY_S = 30.0


class EncodedBundles:
    """Follows bundles with a worker alone; as `bundles.LoadedBundles`, without what serves."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._current: Spec | None = None
        self._left_at: dict[Spec, float] = {}
        """When each earlier encoder was the current one last."""
        self._tending: asyncio.Task[None] | None = None

    async def take(self, bundle: Bundle) -> None:
        """Read everything with a bundle's encoder, and from then on what comes."""
        spec = spec_of(bundle.manifest)
        if self._current is None:
            await self._workers.begin(bundle, spec)
            self._tending = asyncio.create_task(self._tend())
        else:
            self._left_at[spec] = time.monotonic()
            try:
                await self._workers.backfill(bundle, spec)
                await self._workers.serve(bundle, spec)
            except BaseException:
                del self._left_at[spec]
                await self._keep_needed()
                raise
            self._left_at[self._current] = time.monotonic()
        self._current = spec
        _log.info("bundle_followed", bundle_id=bundle.id, fingerprint=spec.fingerprint)

    async def close(self) -> None:
        """Stop following."""
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(_TEND_EVERY_S)
            await self._keep_needed()

    async def _keep_needed(self) -> None:
        since = time.monotonic() - _KEEP_S
        await self._workers.keep({spec for spec, left in self._left_at.items() if left >= since})
