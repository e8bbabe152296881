"""Imports events with the aio client: in batches, over a new stream when one breaks."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from typing import TypeAlias

import grpc

from groundswell.client.errors import GroundswellError, from_call, from_rpc_error
from groundswell.client.retries import Reopening
from groundswell.common.v1 import event_pb2
from groundswell.profile.v1 import event_service_pb2 as events_pb2

AnyEvents: TypeAlias = Iterable[event_pb2.Event] | AsyncIterable[event_pb2.Event]
ImportCall: TypeAlias = (
    "grpc.aio.StreamStreamCall[events_pb2.ImportEventsRequest, events_pb2.ImportEventsResponse]"
)


async def import_batches(
    start: Callable[[float], ImportCall],
    events: AnyEvents,
    size: int,
    timeout_s: float,
    give_up_s: float,
) -> AsyncGenerator[events_pb2.ImportEventsResponse, None]:
    """Give one answer per batch; `start(timeout)` opens a stream.

    A stream that breaks after an answer is opened again, and goes on with the batch that was not
    answered. Raises GroundswellError, and what reading `events` raises.
    """
    reopening = Reopening(give_up_s, timeout_s)
    opened = _Stream(start(timeout_s))
    try:
        async for request in _batches(events, size):
            while True:
                try:
                    answer = await opened.answer_to(request)
                    break
                except GroundswellError as error:
                    await asyncio.sleep(reopening.wait_s(error))
                opened.close()
                opened = _Stream(start(reopening.left_s))
            reopening.answered()
            yield answer
        # Every batch is answered, so a connection that breaks now does not matter.
        await opened.finish()
    finally:
        opened.close()


class _Stream:
    """One call, which gets a batch when the one before it is answered.

    When the server has ended the call, a write of grpc.aio replaces the status, and so the reason,
    by INTERNAL. Between two batches a server ends a call only because it shuts down.
    """

    def __init__(self, started: ImportCall) -> None:
        self._started = started

    async def answer_to(
        self, request: events_pb2.ImportEventsRequest
    ) -> events_pb2.ImportEventsResponse:
        """Send a batch and return its answer. Raises GroundswellError."""
        if self._started.done():
            raise await self._ended()
        try:
            await self._started.write(request)
        except grpc.aio.AioRpcError as error:
            broken = from_rpc_error(error)
            if error.code() is grpc.StatusCode.INTERNAL and not broken.reason:
                broken = GroundswellError(grpc.StatusCode.UNAVAILABLE, "the stream has ended")
            raise broken from error
        try:
            answer = await self._started.read()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        if isinstance(answer, events_pb2.ImportEventsResponse):
            return answer
        raise await self._ended()

    async def finish(self) -> None:
        """End the requests, and wait for the end of the call. Raises GroundswellError."""
        try:
            await self._started.done_writing()
            # Nothing more comes but the status, and that may be an error.
            if await self._started.read() is not grpc.aio.EOF:
                raise RuntimeError("the server answered more batches than there were")
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise from_rpc_error(error) from error

    def close(self) -> None:
        """End the call, if it has not ended."""
        self._started.cancel()

    async def _ended(self) -> GroundswellError:
        started = self._started
        return from_call(
            await started.code(), await started.details(), await started.trailing_metadata()
        )


async def _batches(events: AnyEvents, size: int) -> AsyncIterator[events_pb2.ImportEventsRequest]:
    batch: list[event_pb2.Event] = []
    async for event in _as_async(events):
        batch.append(event)
        if len(batch) == size:
            yield events_pb2.ImportEventsRequest(events=batch)
            batch = []
    if batch:
        yield events_pb2.ImportEventsRequest(events=batch)


async def _as_async(events: AnyEvents) -> AsyncIterator[event_pb2.Event]:
    if isinstance(events, AsyncIterable):
        async for event in events:
            yield event
    else:
        for event in events:
            yield event
