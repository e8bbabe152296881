"""When a watch that was cut off is taken up again."""

import random
import time

import grpc

from groundswell.client.errors import GroundswellError

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0


class Backoff:
    """Waits that double up to five seconds, with jitter, until `give_up_s` have passed in vain."""

    def __init__(self, give_up_s: float) -> None:
        self._give_up_s = give_up_s
        self._failing_since: float | None = None
        self._wait_s = FIRST_WAIT_S

    def worked(self) -> None:
        """There was an answer: the next failure is the first again."""
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
    """Whether a watch that ended so can be taken up again: nobody answered, or all are busy."""
    return error.status is grpc.StatusCode.UNAVAILABLE or error.retry_after_s is not None
