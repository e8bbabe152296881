"""A circuit breaker: a service that does not answer is not waited for until it answers again."""

import time
from collections.abc import Callable

import structlog

from groundswell.serving.telemetry import gauge

_log = structlog.get_logger(__name__)

_FAILURES = 5
"""So many failures without an answer in between open it."""
_PROBE_EVERY_S = 0.5


class Breaker:
    """Opens after some failures in a row, and closes at the first answer.

    While it is open a caller asks the service now and then, and does not wait for the answer: so
    no call pays for finding out that the service is still down. Not thread-safe: it belongs to the
    event loop.
    """

    def __init__(self, upstream: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._upstream = upstream
        gauge("upstream_down", 0, upstream=upstream)
        self._clock = clock
        self._failures = 0
        self._probe_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the service is taken for down."""
        return self._failures >= _FAILURES

    def may_probe(self) -> bool:
        """Whether to ask an open breaker's service now: True once in half a second."""
        now = self._clock()
        if now < self._probe_at:
            return False
        self._probe_at = now + _PROBE_EVERY_S
        return True

    def failed(self) -> None:
        """Note a call that the service did not answer."""
        was_open = self.is_open
        self._failures += 1
        if self.is_open and not was_open:
            self._probe_at = self._clock() + _PROBE_EVERY_S
            self._tell(is_down=True)

    def answered(self) -> None:
        """Note that the service answered, if only with an error of its own."""
        was_open, self._failures = self.is_open, 0
        if was_open:
            self._tell(is_down=False)

    def _tell(self, *, is_down: bool) -> None:
        gauge("upstream_down", int(is_down), upstream=self._upstream)
        _log.warning("upstream_down" if is_down else "upstream_back", upstream=self._upstream)
