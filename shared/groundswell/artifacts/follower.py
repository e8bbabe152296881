"""Keeps a server on the current bundle: loads a new one beside the old and hands it over."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.store import BundleStore

_log = structlog.get_logger(__name__)


class BundleFollower:
    """Polls the `current` pointer of a store and calls `on_bundle` with every new bundle.

    A bundle that cannot be loaded, or that `on_bundle` refuses with a BundleError, is reported to
    `on_refused` and not tried again until the pointer moves; the old one serves on. Any other
    error of `on_bundle` is logged and tried again at the next poll.
    """

    def __init__(
        self,
        store: BundleStore,
        poll_s: float,
        on_bundle: Callable[[Bundle], Awaitable[None]],
        on_refused: Callable[[str, BundleError], None],
    ) -> None:
        self._store = store
        self._poll_s = poll_s
        self._on_bundle = on_bundle
        self._on_refused = on_refused
        self._settled: str | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Hand over the current bundle, then follow in the background.

        Raises BundleError when there is none or when it is refused: a server cannot start without.
        """
        current = self._store.current()
        if current is None:
            raise BundleError("NO_CURRENT", f"{self._store.root} has no current bundle")
        await self._hand_over(current)
        self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _hand_over(self, bundle_id: str) -> None:
        bundle = await asyncio.to_thread(self._store.load, bundle_id)
        await self._on_bundle(bundle)
        self._settled = bundle_id

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            current = self._store.current()
            if current is None or current == self._settled:
                continue
            try:
                await self._hand_over(current)
            except BundleError as error:
                self._settled = current
                self._on_refused(current, error)
            except Exception:  # noqa: BLE001 - a server must outlive a swap that fails
                _log.exception("bundle_not_taken_yet", bundle_id=current)
