"""Says which items begin or cease to be available as time goes on."""

import heapq
import time
from collections.abc import Sequence

from groundswell.ranker_service.catalogue import CatalogueItem


class AvailabilityTurns:
    """The future times at which items turn available or unavailable. Not thread-safe.

    To ask whether one has come costs nothing, however many items there are.
    """

    def __init__(self) -> None:
        self._turns: list[tuple[int, int]] = []
        """A heap of (microseconds since 1970, item number)."""

    def put(self, items: Sequence[CatalogueItem]) -> None:
        """Note the times of new and of changed items; an earlier time of an item stays."""
        now = now_us()
        for item in items:
            for time_us in (item.available_from_us, item.available_until_us):
                if time_us is not None and time_us > now:
                    heapq.heappush(self._turns, (time_us, item.item_no))

    def is_due(self) -> bool:
        """Whether an item has turned since the last call of `due`."""
        turns = self._turns
        return bool(turns) and turns[0][0] <= now_us()

    def due(self) -> set[int]:
        """Return the numbers of the items that have turned since the last call."""
        due = set()
        while self.is_due():
            due.add(heapq.heappop(self._turns)[1])
        return due


def now_us() -> int:
    """Return the time in microseconds since 1970."""
    return time.time_ns() // 1000
