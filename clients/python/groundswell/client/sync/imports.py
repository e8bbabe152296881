# Generated from aio/imports.py by `make client`: change that file.
"""Imports events with the sync client: in batches, over a new stream when one breaks."""

import time
from collections.abc import Callable, Generator

from groundswell.client.errors import GroundswellError
from groundswell.client.import_streams import ImportCall, ImportStream
from groundswell.client.requests import Events, event_batches
from groundswell.client.retries import Reopening
from groundswell.profile.v1.event_service_pb2 import ImportEventsResponse


def import_batches(
    start: Callable[..., ImportCall],
    events: Events,
    size: int,
    timeout_s: float,
    give_up_s: float,
) -> Generator[ImportEventsResponse, None, None]:
    """Give one answer per batch; `start` is the method of gRPC that opens a stream.

    A stream that breaks after an answer is opened again, and goes on with the batch that was not
    answered. Raises GroundswellError, and what reading `events` raises.
    """
    reopening = Reopening(give_up_s, timeout_s)
    stream = ImportStream(start, timeout_s)
    try:
        for request in event_batches(events, size):
            while True:
                try:
                    answer = stream.answer_to(request)
                    break
                except GroundswellError as error:
                    time.sleep(reopening.wait_s(error))
                stream.close()
                stream = ImportStream(start, reopening.left_s)
            reopening.answered()
            yield answer
        # Every batch is answered, so a connection that breaks now does not matter.
        stream.finish()
    finally:
        stream.close()
