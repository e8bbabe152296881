"""Makes calls of the aio client: with a deadline, and with errors of the client."""

from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from groundswell.client.errors import check_size, from_rpc_error

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response")


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
