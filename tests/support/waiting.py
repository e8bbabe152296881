"""Waits for what comes true some time."""

import time
from collections.abc import Callable


def eventually(
    holds: Callable[[], object],
    timeout_s: float = 15.0,
    tell: Callable[[], str] = lambda: "it did not come to hold",
) -> None:
    """Wait until something holds. Raises AssertionError with what `tell` says if not in time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, tell()
        time.sleep(0.02)
