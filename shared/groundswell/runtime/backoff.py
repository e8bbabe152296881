"""Waits that grow with every failure in a row."""

import random


class ExponentialBackoff:
    """The wait before the next try: it doubles up to a longest one, and starts over by `reset`.

    Each wait is shortened at random, to half of it at most, so that processes that failed together
    do not try again together.
    """

    def __init__(self, first_s: float, longest_s: float, *, shortest_share: float = 0.5) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._shortest_share = shortest_share
        self._full_s = first_s

    def next_s(self) -> float:
        """Return how long to wait now; the next wait is twice as long."""
        wait_s = self._full_s * random.uniform(self._shortest_share, 1.0)
        self._full_s = min(2 * self._full_s, self._longest_s)
        return wait_s

    def reset(self) -> None:
        """Begin with the first wait again: a try has succeeded."""
        self._full_s = self._first_s
