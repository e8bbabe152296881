"""Reads requests inside the call, so that bytes that are no message get a reason."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.message import DecodeError

from groundswell.serving.around import Behaviour, Context, Handler, behaviour_of, writing
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.limits import MAX_REQUEST_BYTES


def decoding(handler: Handler, deserialize: Callable[[bytes], Any]) -> Behaviour:
    """Return what a handler does, given the bytes of its requests, which `deserialize` reads.

    gRPC itself would answer bytes that it cannot read with UNKNOWN and the text of the exception.
    """
    behaviour = writing(behaviour_of(handler))
    read: Any = _read_all if handler.request_streaming else _read

    async def answer(sent: Any, context: Context) -> Any:
        return await behaviour(read(sent, deserialize), context)

    return answer


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
