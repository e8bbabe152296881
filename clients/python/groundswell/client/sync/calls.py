# Generated from aio/calls.py by `make client`: change that file.
"""Makes calls of the sync client: with a deadline, and with errors of the client."""

from collections.abc import Callable, Generator, Iterator
from typing import Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from groundswell.client.errors import check_size, closed_error, from_rpc_error
from groundswell.client.throttling import Throttle

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response")
Answer = TypeVar("Answer", covariant=True)


class Answers(Protocol[Answer]):
    """What gRPC returns for a streaming call."""

    def __iter__(self) -> Iterator[Answer]: ...

    def cancel(self) -> bool: ...


class ThrottledCalls:
    """Makes the calls of one service. While it refuses those of a method, not all are sent.

    Each method has a throttle of its own, since a service admits each method by itself.
    """

    def __init__(self, max_share: float) -> None:
        self._max_share = max_share
        self._throttles: dict[object, Throttle] = {}

    def __call__(
        self,
        method: "grpc.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        timeout: float | None,
        default_s: float,
    ) -> Response:
        """The answer of a call. Raises GroundswellError."""
        check_size(request)
        throttle = self._throttle_of(method)
        throttle.check()
        try:
            answer = method(request, timeout=default_s if timeout is None else timeout)
        except grpc.RpcError as error:
            failure = from_rpc_error(error)
            throttle.ended(failure)
            raise failure from error
        except ValueError as error:
            raise closed_error() from error
        throttle.ended()
        return answer

    def _throttle_of(self, method: object) -> Throttle:
        found = self._throttles.get(method)
        return found or self._throttles.setdefault(method, Throttle(self._max_share))


def stream(
    start: Callable[[], Answers[Response]],
) -> Generator[Response, None, None]:
    """The answers of a streaming call; leaving them early ends it. Raises GroundswellError."""
    try:
        answers = start()
    except ValueError as error:
        raise closed_error() from error
    try:
        for answer in answers:
            yield answer
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error
    finally:
        answers.cancel()
