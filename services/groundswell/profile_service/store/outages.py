"""Detects outages of the database, during which calls fail at once."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import structlog

from groundswell.profile_service.store.failures import Cause, cause_of, code_of, service_error
from groundswell.runtime.backoff import ExponentialBackoff
from groundswell.serving.telemetry import count, gauge

_log = structlog.get_logger(__name__)

_SUSPECT_S = 1.0
"""When a transaction takes longer, a probe checks whether the database answers at all."""
_PROBE_TIMEOUT_S = 2.0
_FIRST_PROBE_S = 0.1
_LAST_PROBE_S = 1.0
_GRACE_S = 0.1
"""If a transaction works between the start of the first probe and so long after its failure, the
database is there, and only takes no more connections."""
_CALM_S = 5.0
"""Transactions count as working again after so long without a failure. In a partial outage hundreds
a second work and fail in turn, and each change would be logged."""


class _Failures:
    """The failures of one kind of transaction."""

    def __init__(self) -> None:
        self.logged: set[Cause] = set()
        self.failed_at = 0.0


class Outages:
    """Tracks whether the database can be reached. While it cannot, one probe tries repeatedly.

    One failed connection is no proof: only its backend may have ended, or the server allows no more
    connections. So `probe` decides, together with transactions that still work. Without a probe,
    every call tries the database itself.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[None]] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._probe = probe
        self._clock = clock
        self._is_down = False
        gauge("store_down", 0)
        self._probing: asyncio.Task[None] | None = None
        self._num_worked = 0
        self._failing: dict[str, _Failures] = {}
        """By kind of transaction."""

    def check(self) -> None:
        """Raise Unavailable (STORE_UNAVAILABLE) while the database is gone."""
        if self._is_down:
            count("store_failures", cause=Cause.GONE.value)
            raise service_error(Cause.GONE)

    def failed(self, kind: str, cause: Cause, error: BaseException) -> None:
        """Record a failed transaction. Each cause is logged once, until transactions work again."""
        count("store_failures", cause=cause.value)
        failing = self._failing.setdefault(kind, _Failures())
        failing.failed_at = self._clock()
        if cause not in failing.logged:
            failing.logged.add(cause)
            # The text may hold values of a statement, so only its kind and code are logged.
            name = type(getattr(error, "orig", error)).__name__
            code = code_of(error)
            _log.warning("store_fails", kind=kind, cause=cause.value, error=name, code=code)
        if cause is Cause.GONE:
            self._suspect()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Use this around a wait for a transaction: a long wait starts the probe."""
        timer = asyncio.get_running_loop().call_later(_SUSPECT_S, self._suspect)
        try:
            yield
        finally:
            timer.cancel()

    def worked(self, kind: str) -> None:
        """Record a transaction that worked."""
        self._num_worked += 1
        failing = self._failing.get(kind)
        if failing is not None and self._clock() >= failing.failed_at + _CALM_S:
            del self._failing[kind]
            _log.info("store_works_again", kind=kind)

    async def close(self) -> None:
        """Stop the probe."""
        if self._probing is not None:
            self._probing.cancel()
            with suppress(asyncio.CancelledError):
                await self._probing

    def _suspect(self) -> None:
        if self._probe is not None and self._probing is None:
            self._probing = asyncio.create_task(self._probe_until_back(self._probe))

    async def _probe_until_back(self, probe: Callable[[], Awaitable[None]]) -> None:
        backoff = ExponentialBackoff(_FIRST_PROBE_S, _LAST_PROBE_S)
        try:
            num_worked = self._num_worked
            is_reached = await self._is_reached(probe)
            if not is_reached:
                await asyncio.sleep(_GRACE_S)
                is_reached = self._num_worked > num_worked
            while not is_reached:
                self._set_down(True)
                await asyncio.sleep(backoff.next_s())
                is_reached = await self._is_reached(probe)
        finally:
            self._set_down(False)
            self._probing = None

    async def _is_reached(self, probe: Callable[[], Awaitable[None]]) -> bool:
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                await probe()
        except Exception as error:  # noqa: BLE001 - then each call tries the database itself
            return cause_of(error) is not Cause.GONE
        return True

    def _set_down(self, is_down: bool) -> None:
        if is_down is self._is_down:
            return
        self._is_down = is_down
        gauge("store_down", is_down)
        _log.warning("store_down" if is_down else "store_back")
