"""Waits for what comes true some time."""

import time
from collections.abc import Callable


def eventually(holds: Callable[[], object], timeout_s: float = 15.0) -> None:
    """Wait until something holds. Raises AssertionError when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.02)
