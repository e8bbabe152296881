"""Refuses a call at once when the calls before it leave it too little of its time."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

# The weight of the newest call in the averages.
_WEIGHT = 0.1
_BASE_WEIGHT = 0.02
# With so few in flight there is no queue worth the name, and something has to be measured.
_FEW = 8
# Before the first call nothing is known: what a cheap call takes.
_FIRST_GUESS_S = 0.002
# The share of a call's time that it may wait for others; the rest is for the call itself.
_WAIT_SHARE = 0.25
_MIN_RETRY_S = 0.1


@dataclass(frozen=True, slots=True)
class Admitted:
    """A call in flight."""

    began: float
    area: float
    """The sum over time of the calls in flight, when it began."""
    time_s: float
    """What it has for asking others."""


class DeadlineAdmission:
    """Estimates how long a new call would wait for those in flight.

    All calls in flight share one event loop, and the services that they ask: each waits for each.
    So the wait is the number of calls in flight times what one call costs the others. That cost is
    measured in two ways, of which the greater counts: the processor time between two ends of calls,
    which is right from the first burst on, and by how much calls took longer than when they were
    few, for each call in flight, which sees overloaded upstreams and neighbours too.

    A call has `share` of what its deadline leaves, `default_s` without one, but at most `longest_s`
    for asking others. It is refused when it would wait for more than half of that: then a whole
    answer is no longer certain. It belongs to the event loop.
    """

    def __init__(
        self,
        *,
        default_s: float,
        share: float = 1.0,
        longest_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._default_s = default_s
        self._share = share
        self._longest_s = longest_s
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._num = 0
        self._area = 0.0
        self._area_at = clock()
        self._cpu_at = cpu_clock()
        self._cpu_s = _FIRST_GUESS_S
        self._slowed_s = 0.0
        self._base_s = math.inf

    @property
    def wait_s(self) -> float:
        """How long a call that comes now would wait for those in flight."""
        return self._num * max(self._cpu_s, self._slowed_s)

    def retry_after_s(self, remaining_s: float | None) -> float | None:
        """Say when a call that comes now had better come again; None: it can be taken now.

        `remaining_s` is what its deadline leaves; None without one.
        """
        if self._num < _FEW:
            return None
        wait_s = self.wait_s
        excess_s = wait_s - _WAIT_SHARE * self._time_s(remaining_s)
        return None if excess_s <= 0 else max(math.ceil(excess_s * 10) / 10, _MIN_RETRY_S)

    def begin(self, remaining_s: float | None) -> Admitted:
        """A call begins."""
        now = self._advance()
        if self._num == 0:
            self._cpu_at = self._cpu_clock()
        self._num += 1
        return Admitted(now, self._area, self._time_s(remaining_s))

    def end(self, call: Admitted, *, answered: bool) -> None:
        """A call ended, with an answer or with an error, which says nothing about the cost."""
        now = self._advance()
        self._num -= 1
        cpu_at = self._cpu_clock()
        self._cpu_s += _WEIGHT * (cpu_at - self._cpu_at - self._cpu_s)
        self._cpu_at = cpu_at
        took_s = now - call.began
        # One that used all of its time waited for a service that hangs: no fewer calls help there.
        if answered and 0 < took_s < call.time_s:
            self._learn(took_s, (self._area - call.area) / took_s)

    def _learn(self, took_s: float, mean_num: float) -> None:
        if took_s < self._base_s:
            self._base_s = took_s
        elif mean_num < _FEW:
            self._base_s += _BASE_WEIGHT * (took_s - self._base_s)
        # With few in flight this is an upper bound alone.
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
