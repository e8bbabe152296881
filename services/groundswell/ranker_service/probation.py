"""Compares the answers of a new bundle with those of the one before it, and finds it bad or not."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from groundswell.ranker.v1.ranker_service_pb2 import Degradation

FAILED, EMPTY = "failed", "empty"
_BAD_DEGRADATIONS = {
    Degradation.DEGRADATION_PROFILE_UNAVAILABLE: "without the long-term vector",
    Degradation.DEGRADATION_SESSION_UNAVAILABLE: "without the short-term vector",
}
"""Signs that an encoder's model fails. A service that is down is not its bundle's fault."""
_LEAST_BAD = 10
_MORE_THAN_BEFORE = 0.1
"""The share of bad answers that a new bundle may have beyond that of the one before it."""
_MOST_COUNTED = 2_000
"""Then the counts are halved: newer answers count more."""


def badness(degradations: Sequence[Degradation.ValueType], *, is_empty: bool) -> str:
    """Say what is bad about an answer; empty for a good one."""
    bad = (_BAD_DEGRADATIONS[one] for one in degradations if one in _BAD_DEGRADATIONS)
    return EMPTY if is_empty else next(bad, "")


class Probation:
    """Counts good and bad answers; a bundle is on probation for `for_s` after it was swapped in."""

    def __init__(self, for_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._for_s = for_s
        self._clock = clock
        self._bundle_id = ""
        self._ends = 0.0
        self._counts: Counter[str] = Counter()
        self._share_before = 0.0

    def begin(self, bundle_id: str) -> None:
        """Put the bundle that is served from now on on probation; the first one is not."""
        if self._bundle_id:
            self._ends = self._clock() + self._for_s
            self._share_before = self._bad_share()
        self._restart(bundle_id)

    def end(self, bundle_id: str) -> None:
        """Trust the bundle that is served again from now on."""
        self._ends = 0.0
        self._restart(bundle_id)

    def note(self, bundle_id: str, bad: str) -> str:
        """Count an answer; say why the bundle must leave, or nothing."""
        if bundle_id != self._bundle_id:
            return ""
        self._counts[bad] += 1
        if self._counts.total() >= _MOST_COUNTED:
            self._counts = Counter({kind: num // 2 for kind, num in self._counts.items()})
        if not bad or self._clock() >= self._ends:
            return ""
        num_bad, share = self._counts.total() - self._counts[""], self._bad_share()
        if num_bad < _LEAST_BAD or share <= self._share_before + _MORE_THAN_BEFORE:
            return ""
        kinds = ", ".join(f"{num} {kind}" for kind, num in self._counts.items() if kind)
        return (
            f"{share:.0%} of {self._counts.total()} answers were bad ({kinds}), "
            f"{self._share_before:.0%} before it"
        )

    def _restart(self, bundle_id: str) -> None:
        self._bundle_id, self._counts = bundle_id, Counter()

    def _bad_share(self) -> float:
        total = self._counts.total()
        return 1 - self._counts[""] / total if total else 0.0
