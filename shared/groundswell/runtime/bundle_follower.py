"""Polls the pointer of a folder of bundles, and hands each new current bundle to a server."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.errors import BundleError
from groundswell.artifacts.store import BundleStore, Signature
from groundswell.runtime.backoff import ExponentialBackoff
from groundswell.serving.telemetry import count

_log = structlog.get_logger(__name__)

_LONGEST_POLL_S = 5.0
"""The longest wait between two reads of a pointer that cannot be read."""
_FAILED_DELAYS_S = (1.0, 30.0)
"""The first and the longest wait before a bundle is tried again after an error."""
_REFUSED_DELAYS_S = (60.0, 3600.0)
"""The same after a refusal (a BundleError). A change of the bundle's files ends the wait."""
_NOT_AT_RANDOM = 1.0


@dataclass
class _Taking:
    """A bundle on its way to being served."""

    bundle_id: str
    task: asyncio.Task[None]
    signature: Signature | None


@dataclass
class _Failure:
    """Why the current bundle is not served, and when it is tried again."""

    bundle_id: str
    problem: str
    signature: Signature | None
    """The files of a refused bundle, which is tried again when they change; else None."""
    is_refusal: bool
    backoff: ExponentialBackoff
    again_at: float


class BundleFollower:
    """Polls the `current` pointer of a store and calls `on_bundle` with every new bundle.

    `on_bundle` may take any time: the pointer is polled meanwhile, and when it moves
    the call is cancelled. A cancelled call must leave the earlier bundle served. A bundle that
    cannot be loaded, or that `on_bundle` refuses with a BundleError, is tried again when its files
    change, or after a minute and then ever more rarely; after any other error it is tried again
    within seconds. No error ends the follower. The same error is logged once in a row.

    `first` gets the current bundle's id and returns the id of the bundle to begin with, which may
    be another one that can be served at once. The current one is then taken like any later one.
    `read` names the bundle to follow, in the place of the pointer.
    """

    def __init__(
        self,
        store: BundleStore,
        poll_s: float,
        on_bundle: Callable[[Bundle], Awaitable[None]],
        *,
        first: Callable[[str], Awaitable[str]] | None = None,
        read: Callable[[], str | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._poll_s = poll_s
        self._on_bundle = on_bundle
        self._first = first
        self._read = read or store.current
        self._clock = clock
        self._settled: str | None = None
        """The id of the bundle that `on_bundle` took last."""
        self._taking: _Taking | None = None
        self._failure: _Failure | None = None
        self._unread = ExponentialBackoff(
            2 * poll_s, max(poll_s, _LONGEST_POLL_S), shortest_share=_NOT_AT_RANDOM
        )
        self._is_read = True
        """Whether the pointer could be read last time."""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Hand over the current bundle, then follow in the background.

        Raises BundleError when there is none or when it is refused.
        """
        try:
            current = await asyncio.to_thread(self._read)
            if current is None:
                raise BundleError("NO_CURRENT", f"{self._store.root} has no current bundle")
            chosen = current if self._first is None else await self._first(current)
            await self._take(chosen)
        except OSError as error:
            where = error.filename or self._store.root
            raise BundleError("BUNDLES_UNREADABLE", f"{where}: {error.strerror}") from error
        self._settled = chosen
        self.begin()

    def begin(self) -> None:
        """Follow in the background."""
        self._task = asyncio.create_task(self._follow())

    def refused(self) -> dict[str, str]:
        """Return the problem of the current bundle by its id, if it was refused."""
        failure = self._failure
        return {failure.bundle_id: failure.problem} if failure and failure.is_refusal else {}

    async def close(self) -> None:
        """Stop following, and give up a bundle that is being taken."""
        tasks = [self._task, None if self._taking is None else self._taking.task]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _take(self, bundle_id: str) -> None:
        bundle = await asyncio.to_thread(self._store.load, bundle_id)
        await self._on_bundle(bundle)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s if self._is_read else self._unread.next_s())
            try:
                current = await asyncio.to_thread(self._read)
            except (OSError, BundleError) as error:
                self._not_read(error)
                continue
            self._is_read = True
            self._unread.reset()
            try:
                await self._follow_to(current)
            except Exception:  # noqa: BLE001 - a server must follow later bundles
                count("bundle_follow_failures", what="follower")
                _log.exception("bundle_follower_failed", bundle_id=current)

    async def _follow_to(self, current: str | None) -> None:
        """Make one step towards serving the bundle that the pointer names."""
        if self._taking is not None:
            is_wanted = current is None or current == self._taking.bundle_id
            if is_wanted and not self._taking.task.done():
                return
            await self._finish(self._taking)
            self._taking = None
        if self._failure is not None and self._failure.bundle_id != current:
            self._failure = None
        if current is None or current == self._settled:
            return
        signature = await self._signature(current)
        if self._failure is None or self._is_due(self._failure, signature):
            task = asyncio.create_task(self._take(current))
            self._taking = _Taking(current, task, signature)

    async def _finish(self, taking: _Taking) -> None:
        """Note how a taking ended; cancel it when it still runs."""
        if not taking.task.done():
            _log.info("candidate_given_up", bundle_id=taking.bundle_id)
            taking.task.cancel()
        (result,) = await asyncio.gather(taking.task, return_exceptions=True)
        if result is None:
            self._settled, self._failure = taking.bundle_id, None
        elif not isinstance(result, asyncio.CancelledError):
            self._failed(taking, result)

    def _failed(self, taking: _Taking, error: BaseException) -> None:
        is_refusal = isinstance(error, BundleError)
        first_s, longest_s = _REFUSED_DELAYS_S if is_refusal else _FAILED_DELAYS_S
        before = self._failure
        problem = f"{type(error).__name__}: {error}"
        if before is not None and before.is_refusal is is_refusal:
            backoff = before.backoff
        else:
            backoff = ExponentialBackoff(first_s, longest_s, shortest_share=_NOT_AT_RANDOM)
        self._failure = _Failure(
            taking.bundle_id,
            problem,
            taking.signature if is_refusal else None,
            is_refusal,
            backoff,
            self._clock() + backoff.next_s(),
        )
        is_news = before is None or before.problem != problem
        if isinstance(error, BundleError):
            count("bundles_refused", reason=error.reason)
            if is_news:
                _log.error(
                    "bundle_refused",
                    bundle_id=taking.bundle_id,
                    reason=error.reason,
                    problem=str(error),
                )
        else:
            count("bundle_follow_failures", what="taking")
            if is_news:
                _log.error("bundle_not_taken_yet", bundle_id=taking.bundle_id, exc_info=error)

    def _not_read(self, error: OSError | BundleError) -> None:
        count("bundle_follow_failures", what="pointer")
        if self._is_read:
            _log.error("bundle_pointer_not_read", problem=str(error))
        self._is_read = False

    def _is_due(self, failure: _Failure, signature: Signature | None) -> bool:
        has_changed = failure.signature is not None and signature not in (None, failure.signature)
        return has_changed or self._clock() >= failure.again_at

    async def _signature(self, bundle_id: str) -> Signature | None:
        try:
            return await asyncio.to_thread(self._store.signature, bundle_id)
        except OSError:
            return None
