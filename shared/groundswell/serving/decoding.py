"""Reads requests inside the call, so that bytes that are no message get a reason."""

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from google.protobuf.message import DecodeError

from groundswell.serving.around import (
    Context,
    Handler,
    WrappingInterceptor,
    behaviour_of,
    with_behaviour,
)
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.limits import MAX_REQUEST_BYTES


class DecodingInterceptor(WrappingInterceptor):
    """Lets gRPC pass bytes on, and reads the message just before the servicer is called.

    gRPC itself would answer bytes that it cannot read with UNKNOWN and the text of the exception.
    This has to be the innermost interceptor.
    """

    def wrapped(self, method: str, handler: Handler) -> Handler:  # noqa: ARG002 - the same for all
        """Return a handler that reads the requests itself."""
        behaviour, deserialize = behaviour_of(handler), handler.request_deserializer
        read: Any = _read_all if handler.request_streaming else _read

        async def answer(sent: Any, context: Context) -> Any:
            return await behaviour(read(sent, deserialize), context)

        async def stream(sent: Any, context: Context) -> AsyncIterator[Any]:
            async with aclosing(behaviour(read(sent, deserialize), context)) as responses:
                async for response in responses:
                    yield response

        decoding = stream if inspect.isasyncgenfunction(behaviour) else answer
        return with_behaviour(handler, decoding, None)


async def _read_all(
    sent: AsyncIterator[bytes], deserialize: Callable[[bytes], Any]
) -> AsyncIterator[Any]:
    async for one in sent:
        yield _read(one, deserialize)


def _read(sent: bytes, deserialize: Callable[[bytes], Any]) -> Any:
    if len(sent) > MAX_REQUEST_BYTES:
        raise InvalidArgument(
            "MESSAGE_TOO_LARGE",
            f"the request is {len(sent):,} bytes long; at most {MAX_REQUEST_BYTES:,} are taken",
        )
    try:
        return deserialize(sent)
    except DecodeError:
        # Its text may hold what was sent.
        raise InvalidArgument(
            "REQUEST_MALFORMED",
            "the request is not a message of this method, or a text in it is not UTF-8",
        ) from None
