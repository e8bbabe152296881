"""Imports events with the sync client: in batches, over a new stream when one breaks."""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial

from groundswell.client.errors import GroundswellError
from groundswell.client.requests import Events, event_batches
from groundswell.client.retries import Reopening
from groundswell.client.sync_calls import StreamOfAnswers, stream
from groundswell.profile.v1 import event_service_pb2 as events_pb2

Start = Callable[
    [Iterator[events_pb2.ImportEventsRequest], float],
    StreamOfAnswers[events_pb2.ImportEventsResponse],
]


def import_batches(
    start: Start, events: Events, size: int, timeout_s: float, give_up_s: float
) -> Generator[events_pb2.ImportEventsResponse, None, None]:
    """Give one answer per batch; `start(requests, timeout)` opens a stream.

    A stream that breaks after an answer is opened again, and goes on with the first batch that
    was not answered. Raises GroundswellError, and what reading `events` raises.
    """
    batches = _Batches(events, size)
    reopening = Reopening(give_up_s, timeout_s)
    while True:
        try:
            opened = partial(start, batches.unanswered(), reopening.left_s)
            with closing(stream(opened)) as answers:
                for answer in answers:
                    batches.answered()
                    reopening.answered()
                    yield answer
            return
        except GroundswellError as error:
            if batches.error is not None:
                raise batches.error from None
            time.sleep(reopening.wait_s(error))


class _Batches:
    """The batches that are not answered yet, and all later ones.

    gRPC reads requests in a thread of its own, which may read ahead and run longer than its stream.
    The batches that it has read stay here for the next stream. When the caller's events raise, gRPC
    only cancels the call, so `error` keeps what they raised.
    """

    def __init__(self, events: Events, size: int) -> None:
        self.error: Exception | None = None
        self._source = event_batches(events, size)
        self._kept = deque[events_pb2.ImportEventsRequest]()
        self._first = 0
        """The number of the first batch that is kept."""
        self._lock = threading.Lock()

    def answered(self) -> None:
        """Forget the first batch."""
        with self._lock:
            self._kept.popleft()
            self._first += 1

    def unanswered(self) -> Iterator[events_pb2.ImportEventsRequest]:
        """Read from the first batch that is not answered, to the end."""
        number = self._first
        while (batch := self._numbered(number)) is not None:
            yield batch
            number += 1

    def _numbered(self, number: int) -> events_pb2.ImportEventsRequest | None:
        """The batch of a number; None after the last one."""
        with self._lock:
            place = number - self._first
            if place < 0:
                return None  # A stream that has ended still reads.
            if place < len(self._kept):
                return self._kept[place]
            try:
                batch = next(self._source, None)
            except Exception as error:
                self.error = error
                raise
            if batch is not None:
                self._kept.append(batch)
            return batch
