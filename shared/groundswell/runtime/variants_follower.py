"""Follows the variants of a folder of bundles, and has their bundles loaded."""

import asyncio
from collections.abc import Collection
from typing import Protocol

import structlog

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.store import BundleStore
from groundswell.artifacts.variants import Variants, read_variants
from groundswell.runtime.bundle_follower import BundleFollower
from groundswell.serving.telemetry import count

_log = structlog.get_logger(__name__)


class Beside(Protocol):
    """Holds bundles beside the served one."""

    async def take_beside(self, bundle: Bundle) -> None:
        """Load a bundle, and hold it as long as it is wanted. Raises BundleError."""

    def want(self, bundle_ids: Collection[str]) -> None:
        """Let go of all that was held beside but these."""


class VariantsFollower:
    """Keeps the variants as the file has them, and their bundles loaded.

    A wrong file changes nothing. A bundle that cannot be loaded is tried again as one that is to be
    served (see BundleFollower); its variant has no users meanwhile.
    """

    def __init__(self, store: BundleStore, poll_s: float, beside: Beside) -> None:
        self.variants = Variants()
        """As in the file."""
        self._store = store
        self._poll_s = poll_s
        self._beside = beside
        self._followers: dict[str, BundleFollower] = {}
        self._problem = ""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the file, then follow it in the background."""
        await self._take()
        self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for follower in self._followers.values():
            await follower.close()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            await self._take()

    async def _take(self) -> None:
        try:
            found = await asyncio.to_thread(read_variants, self._store.root)
        except (OSError, BundleError) as error:
            if str(error) != self._problem:
                count("variants_unreadable")
                _log.error("variants_not_read", problem=str(error))
            self._problem = str(error)
            return
        self._problem = ""
        if found == self.variants:
            return
        for gone in self._followers.keys() - found.bundles:
            await self._followers.pop(gone).close()
        self._beside.want(found.bundles)
        for bundle_id in found.bundles - self._followers.keys():
            self._followers[bundle_id] = self._begun(bundle_id)
        self.variants = found
        _log.info("variants_taken", names=[one.name for one in found.variants])

    def _begun(self, bundle_id: str) -> BundleFollower:
        take = self._beside.take_beside
        follower = BundleFollower(self._store, self._poll_s, take, read=lambda: bundle_id)
        follower.begin()
        return follower
