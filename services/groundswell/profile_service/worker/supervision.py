"""Runs the encoder worker again after every failure, and reports a lasting one."""

import time
from asyncio import sleep
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from groundswell.runtime.backoff import ExponentialBackoff
from groundswell.serving import telemetry
from groundswell.serving.errors import ServiceError

_log = structlog.get_logger(__name__)

_FIRST_DELAY_S = 0.25
_LAST_DELAY_S = 2.0
"""The longest wait, so that the worker goes on soon after the cause of a failure is gone."""
FAILING_AFTER_S = 2.0
"""Failures in a row are reported when they have lasted this long."""


class Report(Protocol):
    """A function that notes whether a part of the process fails."""

    async def __call__(self, *, failing: bool) -> None: ...


class Supervisor:
    """Runs turns of work until it is cancelled, whatever they raise.

    After a failed turn the next one comes with a growing delay. Failures in a row are logged once
    per kind of error, and reported when they last. The metrics `worker_failing`,
    `worker_failures_in_a_row` and `worker_last_success_timestamp_seconds` follow every turn.
    """

    def __init__(self, report: Report, *, failing_after_s: float = FAILING_AFTER_S) -> None:
        self._report = report
        self._failing_after_s = failing_after_s
        self._num_failures = 0
        self._failing_since: float | None = None
        self._is_reported = False
        self._kinds: set[str] = set()

    async def run(self, turn: Callable[[], Awaitable[None]]) -> None:
        """Take turns for ever."""
        self._measure()
        backoff = ExponentialBackoff(_FIRST_DELAY_S, _LAST_DELAY_S)
        while True:
            try:
                await turn()
            except Exception as error:  # noqa: BLE001 - the worker must run again
                await self._failed(error)
                await sleep(backoff.next_s())
            else:
                backoff.reset()
                await self._succeeded()

    async def _failed(self, error: Exception) -> None:
        now = time.monotonic()
        self._num_failures += 1
        self._failing_since = now if self._failing_since is None else self._failing_since
        kind = error.reason if isinstance(error, ServiceError) else type(error).__name__
        if kind not in self._kinds:
            self._kinds.add(kind)
            if isinstance(error, ServiceError):
                _log.warning("worker_fails", kind=kind)
            else:
                _log.error("worker_fails", **telemetry.unexpected(error))
        if not self._is_reported and now - self._failing_since >= self._failing_after_s:
            self._is_reported = True
            await self._report(failing=True)
        self._measure()

    async def _succeeded(self) -> None:
        telemetry.gauge("worker_last_success_timestamp_seconds", time.time())
        if not self._num_failures:
            return
        _log.info("worker_works_again", num_failures=self._num_failures)
        self._num_failures, self._failing_since = 0, None
        self._kinds.clear()
        if self._is_reported:
            self._is_reported = False
            await self._report(failing=False)
        self._measure()

    def _measure(self) -> None:
        telemetry.gauge("worker_failing", bool(self._num_failures))
        telemetry.gauge("worker_failures_in_a_row", self._num_failures)
