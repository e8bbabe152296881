"""Estimates how long a new call would wait, and refuses it when too little time would be left."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

# The weight of the newest call in the averages.
_WEIGHT = 0.1
_BASE_WEIGHT = 0.02
# The processor clock is read at one of so many ends of calls: while threads run on other cores,
# reading it can take as long as a cheap call.
_CPU_EVERY = 8
_CPU_WEIGHT = 0.3
# So few calls in flight make no queue, and they are needed to measure what a call costs.
_FEW = 8
# The cost that is assumed before the first call was measured: that of a cheap call.
_FIRST_GUESS_S = 0.002
# The share of a call's time that it may wait for others; the rest is for the call itself.
_WAIT_SHARE = 0.25
# The same where an answer is whole or none, so that only a wait up to the deadline is of no use.
_LONG_WAIT_SHARE = 0.8
_MIN_RETRY_S = 0.1


@dataclass(frozen=True, slots=True)
class Admitted:
    """A call in flight."""

    began: float
    area: float
    """The integral over time of the number of calls in flight, up to when this call began."""
    time_s: float
    """The time that this call has for asking other services."""


class DeadlineAdmission:
    """Estimates how long a new call would wait for those in flight.

    All calls in flight share one event loop and the services that they ask, so each delays the
    others. The wait is the number of calls in flight times the delay that one call causes. That
    delay is measured in two ways, and the greater one counts. The first is the processor time
    between ends of calls, by a sample of them: it is right from the first burst on. The second is
    how much longer calls take than when few are in flight, divided by the number in flight: it also
    shows overloaded services and busy neighbours on the machine.

    For asking other services a call has `share` of the time that its deadline leaves (of
    `default_s` without a deadline), and at most `longest_s`. A call is refused when it would wait
    for more than `wait_share` of that; after more than a quarter, an answer from several services
    is not certain to be complete. `is_paced` tells whether calls start in their order (see Pacer).
    Not thread-safe: it belongs to the event loop.
    """

    def __init__(
        self,
        *,
        default_s: float,
        share: float = 1.0,
        longest_s: float = math.inf,
        wait_share: float = _WAIT_SHARE,
        is_paced: bool = True,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._default_s = default_s
        self._share = share
        self._longest_s = longest_s
        self._wait_share = wait_share
        self.is_paced = is_paced
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._num = 0
        self._area = 0.0
        self._area_at = clock()
        self._cpu_at: float | None = None
        """When the sample of processor time began; None while there is none."""
        self._num_ended = 0
        """The calls that ended since."""
        self._num_bursts = 0
        self._cpu_s = _FIRST_GUESS_S
        self._slowed_s = 0.0
        self._base_s = math.inf

    @property
    def wait_s(self) -> float:
        """The seconds that a new call would wait for those in flight."""
        return self._num * max(self._cpu_s, self._slowed_s)

    def retry_after_s(self, remaining_s: float | None) -> float | None:
        """Return after how many seconds a new call should be tried again; None to take it now.

        `remaining_s` is the time that its deadline leaves; None without a deadline.
        """
        if self._num < _FEW:
            return None
        wait_s = self.wait_s
        excess_s = wait_s - self._wait_share * self._time_s(remaining_s)
        return None if excess_s <= 0 else max(math.ceil(excess_s * 10) / 10, _MIN_RETRY_S)

    def begin(self, remaining_s: float | None) -> Admitted:
        """Count a call that begins."""
        now = self._advance()
        if self._num == 0:
            self._begin_burst()
        self._num += 1
        return Admitted(now, self._area, self._time_s(remaining_s))

    def end(self, call: Admitted, *, answered: bool) -> None:
        """Count a call that ended. A call without an answer does not change the estimate."""
        now = self._advance()
        self._num -= 1
        self._num_ended += 1
        if self._num_ended >= _CPU_EVERY or (self._num == 0 and self._cpu_at is not None):
            self._sample_cpu()
        took_s = now - call.began
        # A call that used all of its time waited for a service that hangs: not for other calls.
        if answered and 0 < took_s < call.time_s:
            self._learn(took_s, (self._area - call.area) / took_s)

    def _begin_burst(self) -> None:
        """Begin a sample, at some of the calls that find none in flight: what ran before is no cost
        of a call."""
        is_sampled = self._num_bursts % _CPU_EVERY == 0
        self._cpu_at = self._cpu_clock() if is_sampled else None
        self._num_bursts += 1
        self._num_ended = 0

    def _sample_cpu(self) -> None:
        cpu_at = self._cpu_clock()
        if self._cpu_at is not None:
            cost_s = (cpu_at - self._cpu_at) / self._num_ended
            self._cpu_s += _CPU_WEIGHT * (cost_s - self._cpu_s)
        self._cpu_at, self._num_ended = cpu_at, 0

    def _learn(self, took_s: float, mean_num: float) -> None:
        if took_s < self._base_s:
            self._base_s = took_s
        elif mean_num < _FEW:
            self._base_s += _BASE_WEIGHT * (took_s - self._base_s)
        # With few calls in flight this is only an upper bound.
        slowed_s = (took_s - self._base_s if mean_num >= _FEW else took_s) / mean_num
        if mean_num >= _FEW or slowed_s < self._slowed_s:
            self._slowed_s += _WEIGHT * (slowed_s - self._slowed_s)

    def _advance(self) -> float:
        now = self._clock()
        self._area += self._num * (now - self._area_at)
        self._area_at = now
        return now

    def _time_s(self, remaining_s: float | None) -> float:
        remaining_s = self._default_s if remaining_s is None else max(remaining_s, 0.0)
        return min(self._share * remaining_s, self._longest_s)


def until_deadline(service: str, *methods: str) -> dict[str, DeadlineAdmission]:
    """Admissions of a service's methods, each by itself: their calls cost differently.

    A call is refused when it would still wait at its deadline; without a deadline it is not.
    """
    return {
        f"/{service}/{method}": DeadlineAdmission(
            default_s=math.inf, wait_share=_LONG_WAIT_SHARE, is_paced=False
        )
        for method in methods
    }
