"""Says which items begin or cease to be available as time goes on."""

import heapq
import time
from collections.abc import Sequence

from groundswell.ranker_service.catalogue import CatalogueItem

_MOST_PER_ITEM, _SPARE = 4, 1_024
"""An item has two times; with more than this, earlier ones are forgotten."""


class AvailabilityTurns:
    """The future times at which items turn available or unavailable. Not thread-safe.

    To ask whether one has come costs nothing, however many items there are.
    """

    def __init__(self) -> None:
        self._turns: list[tuple[int, int]] = []
        """A heap of (microseconds since 1970, item number). It may hold earlier times of items."""
        self._times: dict[int, tuple[int, ...]] = {}
        """The times of each item that were in the future when it was noted."""

    def put(self, items: Sequence[CatalogueItem]) -> None:
        """Note the times of new and of changed items."""
        now = now_us()
        for item in items:
            given = (item.available_from_us, item.available_until_us)
            times = tuple(time_us for time_us in given if time_us is not None and time_us > now)
            if times == self._times.get(item.item_no, ()):
                continue
            self._times[item.item_no] = times
            for time_us in times:
                heapq.heappush(self._turns, (time_us, item.item_no))
        if len(self._turns) > _MOST_PER_ITEM * len(self._times) + _SPARE:
            self._forget(now)

    def _forget(self, now: int) -> None:
        """Keep no time but those that will still come."""
        coming = {no: tuple(t for t in times if t > now) for no, times in self._times.items()}
        # What has just turned is still to be told.
        told = [turn for turn in self._turns if turn[0] <= now]
        self._times = {no: times for no, times in coming.items() if times}
        self._turns = told + [(t, no) for no, times in self._times.items() for t in times]
        heapq.heapify(self._turns)

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
