"""Imports events with the aio client: in batches, over a new stream when one breaks."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from groundswell.client.errors import GroundswellError
from groundswell.client.import_streams import AsyncImportCall, AsyncImportStream
from groundswell.client.requests import AnyEvents, async_event_batches
from groundswell.client.retries import Reopening
from groundswell.profile.v1.event_service_pb2 import ImportEventsResponse


async def import_batches(
    start: Callable[..., AsyncImportCall],
    events: AnyEvents,
    size: int,
    timeout_s: float,
    give_up_s: float,
) -> AsyncGenerator[ImportEventsResponse, None]:
    """Give one answer per batch; `start` is the method of gRPC that opens a stream.

    A stream that breaks after an answer is opened again, and goes on with the batch that was not
    answered. Raises GroundswellError, and what reading `events` raises.
    """
    reopening = Reopening(give_up_s, timeout_s)
    stream = AsyncImportStream(start, timeout_s)
    try:
        async for request in async_event_batches(events, size):
            while True:
                try:
                    answer = await stream.answer_to(request)
                    break
                except GroundswellError as error:
                    await asyncio.sleep(reopening.wait_s(error))
                stream.close()
                stream = AsyncImportStream(start, reopening.left_s)
            reopening.answered()
            yield answer
        # Every batch is answered, so a connection that breaks now does not matter.
        await stream.finish()
    finally:
        stream.close()
