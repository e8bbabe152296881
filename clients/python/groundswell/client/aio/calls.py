"""Makes calls of the aio client: with a deadline, and with errors of the client."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from groundswell.client.errors import check_size, from_rpc_error
from groundswell.client.throttling import Throttle

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response")
Answer = TypeVar("Answer", covariant=True)


class AsyncAnswers(Protocol[Answer]):
    """What gRPC returns for a streaming call."""

    def __aiter__(self) -> AsyncIterator[Answer]: ...

    def cancel(self) -> bool: ...


class AsyncThrottledCalls:
    """Makes the calls of one service. While it is overloaded, not all of them are sent."""

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle

    async def __call__(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        timeout: float | None,
        default_s: float,
    ) -> Response:
        """The answer of a call. Raises GroundswellError."""
        check_size(request)
        self._throttle.check()
        try:
            answer = await method(request, timeout=default_s if timeout is None else timeout)
        except grpc.aio.AioRpcError as error:
            failure = from_rpc_error(error)
            self._throttle.ended(failure)
            raise failure from error
        self._throttle.ended()
        return answer


async def stream(
    start: Callable[[], AsyncAnswers[Response]],
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
