"""Decides whether, and when, a broken stream is opened again."""

import math
import random
import time

import grpc

from groundswell.client.errors import GroundswellError

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0


class Backoff:
    """Waits that double up to five seconds, with jitter, until all has failed for `give_up_s`."""

    def __init__(self, give_up_s: float) -> None:
        self._give_up_s = give_up_s
        self._failing_since: float | None = None
        self._wait_s = FIRST_WAIT_S

    def worked(self) -> None:
        """Note an answer: the next wait is the first one again."""
        self._failing_since = None
        self._wait_s = FIRST_WAIT_S

    def next_wait_s(self, at_least_s: float | None = None) -> float | None:
        """How long to wait after a failure; None when it is time to give up.

        `at_least_s` is what the server asked for, None when it did not.
        """
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since >= self._give_up_s:
            return None
        wait_s = self._wait_s * random.uniform(0.5, 1.0)
        self._wait_s = min(LONGEST_WAIT_S, 2 * self._wait_s)
        return wait_s if at_least_s is None else max(at_least_s, wait_s)


def may_resume(error: GroundswellError) -> bool:
    """Whether a stream can be opened again after an error: no server answered, or it was busy."""
    return error.status is grpc.StatusCode.UNAVAILABLE or error.retry_after_s is not None


class Reopening:
    """Decides whether, and when, a stream that ended with an error is opened again.

    `may_resume` must allow it; mostly the server closed an old connection. A call that never had an
    answer is not opened again, unless `from_first` is set, so that a wrong address raises at once.
    `timeout_s` is for all streams together.
    """

    def __init__(
        self, give_up_s: float, timeout_s: float = math.inf, *, from_first: bool = False
    ) -> None:
        self._backoff = Backoff(give_up_s)
        self._deadline = time.monotonic() + timeout_s
        self._may_reopen = from_first

    @property
    def left_s(self) -> float:
        """The rest of the timeout, in seconds."""
        return self._deadline - time.monotonic()

    def answered(self) -> None:
        """Note an answer."""
        self._may_reopen = True
        self._backoff.worked()

    def wait_s(self, error: GroundswellError) -> float:
        """How long to wait before the next stream. Raises the error when there is none."""
        wait_s = None
        if self._may_reopen and may_resume(error):
            wait_s = self._backoff.next_wait_s(error.retry_after_s)
        if wait_s is None or wait_s >= self.left_s:
            raise error
        return wait_s
