"""A stream that imports batches of events: the one part that gRPC's two interfaces do differently.

The aio interface writes requests and reads answers; the other one reads requests from an iterator.
"""

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Protocol, TypeAlias

import grpc

from groundswell.client.errors import GroundswellError, closed_error, from_call, from_rpc_error
from groundswell.profile.v1.event_service_pb2 import ImportEventsRequest, ImportEventsResponse

AsyncImportCall: TypeAlias = "grpc.aio.StreamStreamCall[ImportEventsRequest, ImportEventsResponse]"


class ImportCall(Protocol):
    """What gRPC returns for a stream of answers."""

    def __next__(self) -> ImportEventsResponse: ...

    def cancel(self) -> bool: ...


class ImportStream:
    """One call, which gets a batch when the one before it is answered."""

    def __init__(self, start: Callable[..., ImportCall], timeout_s: float) -> None:
        # gRPC reads the requests in a thread of its own, until there is a None.
        self._requests = SimpleQueue[ImportEventsRequest | None]()
        requests: Iterator[ImportEventsRequest | None] = iter(self._requests.get, None)
        try:
            self._answers = start(requests, timeout=timeout_s)
        except ValueError as error:
            raise closed_error() from error

    def answer_to(self, request: ImportEventsRequest) -> ImportEventsResponse:
        """Send a batch and return its answer. Raises GroundswellError."""
        self._requests.put(request)
        try:
            return next(self._answers)
        except StopIteration:
            raise GroundswellError(grpc.StatusCode.OK, "the server ended the stream") from None
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def finish(self) -> None:
        """End the requests, and wait for the end of the call. Raises GroundswellError."""
        self._requests.put(None)
        try:
            next(self._answers)
        except StopIteration:
            return
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise from_rpc_error(error) from error
            return
        raise RuntimeError("the server answered more batches than there were")

    def close(self) -> None:
        """End the call, if it has not ended."""
        self._answers.cancel()
        self._requests.put(None)


class AsyncImportStream:
    """One call, which gets a batch when the one before it is answered.

    When the server has ended the call, a write of grpc.aio replaces the status, and so the reason,
    by INTERNAL. Between two batches a server ends a call only because it shuts down.
    """

    def __init__(self, start: Callable[..., AsyncImportCall], timeout_s: float) -> None:
        try:
            self._started = start(timeout=timeout_s)
        except grpc.aio.UsageError as error:
            raise closed_error() from error

    async def answer_to(self, request: ImportEventsRequest) -> ImportEventsResponse:
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
        if isinstance(answer, ImportEventsResponse):
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
