"""Chooses the text encoders of a worker process: the current one, and earlier ones for an hour."""

import asyncio
import time
from collections.abc import Collection

import structlog

from groundswell.artifacts.bundle import Bundle
from groundswell.profile_service.store.profiles import Spec
from groundswell.profile_service.worker.running import RunningWorker

_log = structlog.get_logger(__name__)

_KEEP_S = 3600.0
"""How long an earlier encoder stays in use. This process cannot know when no ranker needs it."""
_TEND_EVERY_S = 30.0


class WorkerBundles:
    """Follows bundles for a worker alone; `bundles.ProfileBundles` does it for a service."""

    def __init__(self, worker: RunningWorker) -> None:
        self._worker = worker
        self._current: Spec | None = None
        self._left_at: dict[Spec, float] = {}
        """When each earlier encoder stopped being the current one."""
        self._beside: dict[str, Spec] = {}
        """The encoders of variants' bundles."""
        self._tending: asyncio.Task[None] | None = None

    async def take(self, bundle: Bundle) -> None:
        """Read everything with a bundle's encoder, and then every new event and item."""
        spec = Spec.of(bundle.manifest)
        if self._current is None:
            await self._worker.begin(bundle, spec)
            self._tending = asyncio.create_task(self._tend())
        else:
            self._left_at[spec] = time.monotonic()
            try:
                await self._worker.backfill(bundle, spec)
                await self._worker.serve(bundle, spec)
            except BaseException:
                del self._left_at[spec]
                await self._keep_needed()
                raise
            self._left_at[self._current] = time.monotonic()
        self._current = spec
        _log.info("bundle_followed", bundle_id=bundle.id, fingerprint=spec.fingerprint)

    async def take_beside(self, bundle: Bundle) -> None:
        """Read with the encoder of a variant's bundle too, as long as it is wanted."""
        spec = self._beside[bundle.id] = Spec.of(bundle.manifest)
        await self._worker.backfill(bundle, spec)

    def want(self, bundle_ids: Collection[str]) -> None:
        """Let go of the encoders of all variants' bundles but these."""
        self._beside = {one: spec for one, spec in self._beside.items() if one in bundle_ids}

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
        recent = {spec for spec, left in self._left_at.items() if left >= since}
        await self._worker.keep(recent | {*self._beside.values()})
