"""Adaptive throttling: refuses calls in the client while their service refuses many of them.

Source: "Handling Overload", chapter 21 of Site Reliability Engineering (Beyer et al., O'Reilly,
2016), section "Client-Side Throttling".
"""

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from groundswell.client.errors import OVERLOADED, GroundswellError, OverloadedError

# K: a service is sent up to so many times the calls that it accepts. The book says 2, and less
# where a refusal costs much of what an answer costs. Here it costs a tenth of it.
K = 1.5
WINDOW_S = 10.0
# At least a tenth of the calls is sent, so that a service that recovers is noticed.
MAX_SHARE = 0.9
# Fewer refusals within the window are chance, and no overload.
MIN_REFUSALS = 10
# A service that refused nothing for so long has recovered: its calls are all sent again.
QUIET_S = 2.0
_NUM_SLICES = 10
_FIRST_RETRY_S = 0.1


@dataclass
class _Slice:
    """The calls that ended within a tenth of the window."""

    number: int
    requests: int = 0
    accepts: int = 0
    refusals: int = 0


class Throttle:
    """Decides for the calls of one method whether to send them. Thread-safe.

    Counts the calls that ended in the last `WINDOW_S` seconds: `requests` are all of them, also
    those that were refused here; `accepts` are those that the service did not end with OVERLOADED.
    A call is refused with probability max(0, (requests - k * accepts) / (requests + 1)), and with
    at most `max_share`, so 0 refuses none. None is refused after fewer than `MIN_REFUSALS` refusals
    by the service within the window, nor `QUIET_S` seconds after the last one.
    """

    def __init__(
        self,
        max_share: float = MAX_SHARE,
        *,
        k: float = K,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._k = k
        self._slice_s = WINDOW_S / _NUM_SLICES
        self._max_share = max_share
        self._clock = clock
        self._rng = rng
        self._lock = threading.Lock()
        self._slices: deque[_Slice] = deque()
        self._requests = 0
        self._accepts = 0
        self._refusals = 0
        self._refused_at = -math.inf
        self._retry_after_s = _FIRST_RETRY_S

    @property
    def refused_share(self) -> float:
        """The probability that the next call is refused here."""
        with self._lock:
            self._slide()
            is_quiet = self._clock() - self._refused_at > QUIET_S
            if is_quiet or self._refusals < MIN_REFUSALS:
                return 0.0
            excess = self._requests - self._k * self._accepts
            return min(max(0.0, excess / (self._requests + 1)), self._max_share)

    def check(self) -> None:
        """Raise OverloadedError when the next call is not to be sent."""
        share = self.refused_share
        if share and self._rng() < share:
            self._count()
            raise OverloadedError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "not sent: the service has refused many of the last calls",
                reason=OVERLOADED,
                retry_after_s=self._retry_after_s,
                is_local=True,
            )

    def ended(self, error: GroundswellError | None = None) -> None:
        """Count a call that was sent and has ended, with an error or without."""
        is_refused = isinstance(error, OverloadedError)
        if is_refused and error is not None and error.retry_after_s is not None:
            self._retry_after_s = error.retry_after_s
        self._count(accepts=int(not is_refused), refusals=int(is_refused))

    def _count(self, accepts: int = 0, refusals: int = 0) -> None:
        with self._lock:
            if refusals:
                self._refused_at = self._clock()
            now = self._slide()
            if not self._slices or self._slices[-1].number != now:
                self._slices.append(_Slice(now))
            self._slices[-1].requests += 1
            self._slices[-1].accepts += accepts
            self._slices[-1].refusals += refusals
            self._requests += 1
            self._accepts += accepts
            self._refusals += refusals

    def _slide(self) -> int:
        """Drop the calls that left the window; return the number of the slice of now."""
        now = int(self._clock() // self._slice_s)
        while self._slices and self._slices[0].number <= now - _NUM_SLICES:
            old = self._slices.popleft()
            self._requests -= old.requests
            self._accepts -= old.accepts
            self._refusals -= old.refusals
        return now
