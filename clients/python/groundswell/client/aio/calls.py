"""Makes calls of the aio client: with a deadline, and with errors of the client."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from groundswell.client.errors import check_size, closed_error, from_rpc_error
from groundswell.client.throttling import Throttle

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response")
Answer = TypeVar("Answer", covariant=True)


class AsyncAnswers(Protocol[Answer]):
    """What gRPC returns for a streaming call."""

    def __aiter__(self) -> AsyncIterator[Answer]: ...

    def cancel(self) -> bool: ...


class AsyncThrottledCalls:
    """Makes the calls of one service. While it refuses those of a method, not all are sent.

    Each method has a throttle of its own, since a service admits each method by itself.
    """

    def __init__(self, max_share: float) -> None:
        self._max_share = max_share
        self._throttles: dict[object, Throttle] = {}

    async def __call__(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        timeout: float | None,
        default_s: float,
    ) -> Response:
        """The answer of a call. Raises GroundswellError."""
        check_size(request)
        throttle = self._throttle_of(method)
        throttle.check()
        try:
            answer = await method(request, timeout=default_s if timeout is None else timeout)
        except grpc.aio.AioRpcError as error:
            failure = from_rpc_error(error)
            throttle.ended(failure)
            raise failure from error
        except grpc.aio.UsageError as error:
            raise closed_error() from error
        throttle.ended()
        return answer

    def _throttle_of(self, method: object) -> Throttle:
        found = self._throttles.get(method)
        return found or self._throttles.setdefault(method, Throttle(self._max_share))


async def stream(
    start: Callable[[], AsyncAnswers[Response]],
) -> AsyncGenerator[Response, None]:
    """The answers of a streaming call; leaving them early ends it. Raises GroundswellError."""
    try:
        answers = start()
    except grpc.aio.UsageError as error:
        raise closed_error() from error
    try:
        async for answer in answers:
            yield answer
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    finally:
        answers.cancel()
