"""Decides when the log of events may be read again after a failure."""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import structlog

from groundswell.runtime.backoff import ExponentialBackoff
from groundswell.serving.telemetry import count, gauge

_log = structlog.get_logger(__name__)

_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.5, 5.0
"""The first and the longest wait between two failing reads for one user."""
_PROBE_EVERY_S = 1.0
"""The wait between two reads of the whole process while the log is down."""
_USERS_OF_AN_OUTAGE = 3
"""The log counts as down after failures for so many users in a row. Failures for one user alone do
not affect the others."""
_MAX_USERS = 1_000
"""How many failing users are remembered."""


class _FailingUser(NamedTuple):
    backoff: ExponentialBackoff
    again_at: float
    """When the log may be read for this user next."""


def _new_backoff() -> ExponentialBackoff:
    return ExponentialBackoff(_FIRST_DELAY_S, _LONGEST_DELAY_S, shortest_share=0.75)


class LogGate:
    """Allows reads of the log while it answers; in an outage it allows one a second.

    So the load on a failing log does not grow with the number of calls. One answer ends an outage.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        gauge("session_log_down", 0)
        self._failing: OrderedDict[bytes, _FailingUser] = OrderedDict()
        self._failed_in_a_row: set[bytes] = set()
        self._probe_at: float | None = None
        """When the log may be read next; None while it is not down."""

    def expects_failure(self, user_mark: bytes) -> bool:
        """Whether a read for a user is likely to fail."""
        return self._probe_at is not None or user_mark in self._failing

    def wait_s(self, user_mark: bytes) -> float:
        """Return after how many seconds the log may be read for a user; 0: now."""
        failing = self._failing.get(user_mark)
        ends = (self._probe_at, None if failing is None else failing.again_at)
        return max([0.0, *(end - self._clock() for end in ends if end is not None)])

    def asks(self) -> None:
        """Note that a read begins: while the log is down, the next one has to wait."""
        if self._probe_at is not None:
            self._probe_at = self._clock() + _PROBE_EVERY_S

    def failed(self, user_mark: bytes) -> None:
        """Note that a read for a user failed."""
        before = self._failing.pop(user_mark, None)
        backoff = before.backoff if before is not None else _new_backoff()
        self._failing[user_mark] = _FailingUser(backoff, self._clock() + backoff.next_s())
        if len(self._failing) > _MAX_USERS:
            self._failing.popitem(last=False)
        self._failed_in_a_row.add(user_mark)
        if self._probe_at is None and len(self._failed_in_a_row) >= _USERS_OF_AN_OUTAGE:
            self._probe_at = self._clock() + _PROBE_EVERY_S
            count("session_log_outages")
            gauge("session_log_down", 1)
            _log.warning("log_down")

    def answered(self, user_mark: bytes) -> None:
        """Note that a read for a user succeeded."""
        self._failing.pop(user_mark, None)
        self.reached()

    def reached(self) -> None:
        """Note that the log answered, so it is not down."""
        self._failed_in_a_row.clear()
        if self._probe_at is not None:
            self._probe_at = None
            self._failing.clear()
            gauge("session_log_down", 0)
            _log.info("log_back")
