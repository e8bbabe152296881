"""Makes calls of the sync client: with a deadline, and with errors of the client."""

from collections.abc import Callable, Generator, Iterator
from typing import Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from groundswell.client.errors import check_size, from_rpc_error

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response")
Answer = TypeVar("Answer", covariant=True)


class StreamOfAnswers(Protocol[Answer]):
    """What gRPC returns for a streaming call."""

    def __iter__(self) -> Iterator[Answer]: ...

    def cancel(self) -> bool: ...


def call(
    method: "grpc.UnaryUnaryMultiCallable[Request, Response]",
    request: Request,
    timeout: float | None,
    default_s: float,
) -> Response:
    """The answer of a call. Raises GroundswellError."""
    check_size(request)
    try:
        return method(request, timeout=default_s if timeout is None else timeout)
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error


def stream(start: Callable[[], StreamOfAnswers[Response]]) -> Generator[Response, None, None]:
    """The answers of a streaming call; leaving them early ends it. Raises GroundswellError."""
    answers = start()
    try:
        yield from answers
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error
    finally:
        answers.cancel()
