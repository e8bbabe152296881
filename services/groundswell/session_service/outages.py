"""When the log may be asked: not again at once after it failed, for one user or for everyone."""

import random
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import structlog

from groundswell.serving.telemetry import count, gauge

_log = structlog.get_logger(__name__)

_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.5, 5.0
"""Between two questions about one user whose last one failed."""
_PROBE_EVERY_S = 1.0
"""Between two questions of the whole process while the log is down."""
_USERS_OF_AN_OUTAGE = 3
"""So many users' questions in a row must fail before the log counts as down: what is wrong with one
user must not harm the others."""
_MAX_USERS = 1_000
"""How many failing users are remembered."""


class _Failing(NamedTuple):
    delay_s: float
    again_at: float


class LogGate:
    """Lets questions through to the log while it answers; in an outage, one a second to probe it.

    The load on a log that fails must not rise with the number of reads. One answer ends an outage.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failing: OrderedDict[bytes, _Failing] = OrderedDict()
        self._failed_in_a_row: set[bytes] = set()
        self._probe_at: float | None = None
        """When the log is asked next; None while it is not down."""

    def expects_failure(self, user_key: bytes) -> bool:
        """Whether asking for a user is likely to cost time and give nothing."""
        return self._probe_at is not None or user_key in self._failing

    def wait_s(self, user_key: bytes) -> float:
        """Return for how long the log must not be asked for a user; 0: it may be asked now."""
        failing = self._failing.get(user_key)
        ends = (self._probe_at, None if failing is None else failing.again_at)
        return max([0.0, *(end - self._clock() for end in ends if end is not None)])

    def asks(self) -> None:
        """Note that the log is asked: while it is down, nobody else asks for a while."""
        if self._probe_at is not None:
            self._probe_at = self._clock() + _PROBE_EVERY_S

    def failed(self, user_key: bytes) -> None:
        """Note that asking for a user failed."""
        before = self._failing.pop(user_key, None)
        delay_s = _FIRST_DELAY_S if before is None else min(2 * before.delay_s, _LONGEST_DELAY_S)
        again_at = self._clock() + delay_s * random.uniform(0.75, 1.0)
        self._failing[user_key] = _Failing(delay_s, again_at)
        if len(self._failing) > _MAX_USERS:
            self._failing.popitem(last=False)
        self._failed_in_a_row.add(user_key)
        if self._probe_at is None and len(self._failed_in_a_row) >= _USERS_OF_AN_OUTAGE:
            self._probe_at = self._clock() + _PROBE_EVERY_S
            count("session_log_outages")
            gauge("session_log_down", 1)
            _log.warning("log_down")

    def answered(self, user_key: bytes) -> None:
        """Note that asking for a user succeeded."""
        self._failing.pop(user_key, None)
        self.reached()

    def reached(self) -> None:
        """Note that the log answered anything at all: it is not down."""
        self._failed_in_a_row.clear()
        if self._probe_at is not None:
            self._probe_at = None
            self._failing.clear()
            gauge("session_log_down", 0)
            _log.info("log_back")
