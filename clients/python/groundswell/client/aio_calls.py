"""How the aio client makes a call: with a deadline, and with errors of its own."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from typing import TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message

from groundswell.client.errors import GroundswellError, check_size, from_call, from_rpc_error
from groundswell.common.v1 import event_pb2
from groundswell.profile.v1 import event_service_pb2 as events_pb2

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response")

AnyEvents: TypeAlias = Iterable[event_pb2.Event] | AsyncIterable[event_pb2.Event]
ImportCall: TypeAlias = (
    "grpc.aio.StreamStreamCall[events_pb2.ImportEventsRequest, events_pb2.ImportEventsResponse]"
)


async def call(
    method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",
    request: Request,
    timeout: float | None,
    default_s: float,
) -> Response:
    """The answer of a call. Raises GroundswellError."""
    check_size(request)
    try:
        return await method(request, timeout=default_s if timeout is None else timeout)
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def stream(
    start: "Callable[[], grpc.aio.UnaryStreamCall[Request, Response]]",
) -> AsyncGenerator[Response, None]:
    """The answers of a streaming call; leaving them early ends it. Raises GroundswellError."""
    answers = start()
    try:
        async for answer in answers:
            yield answer
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    finally:
        answers.cancel()


async def import_batches(
    started: ImportCall, events: AnyEvents, size: int
) -> AsyncGenerator[events_pb2.ImportEventsResponse, None]:
    """Send the events in batches and give the answers as they come. Raises GroundswellError.

    A batch goes out when the one before it is answered: in grpc.aio a write that meets the
    server's end of the call replaces its status, and with it the reason, by INTERNAL.
    """
    try:
        async for request in _batches(events, size):
            if started.done():
                raise await _ended(started)
            await started.write(request)
            yield await _next_answer(started)
        await started.done_writing()
        # Nothing more comes but the status, and that may be an error.
        if await started.read() is not grpc.aio.EOF:
            raise RuntimeError("the server answered more batches than there were")
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    finally:
        started.cancel()


async def _next_answer(started: ImportCall) -> events_pb2.ImportEventsResponse:
    answer = await started.read()
    if isinstance(answer, events_pb2.ImportEventsResponse):
        return answer
    raise await _ended(started)


async def _ended(started: ImportCall) -> GroundswellError:
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
