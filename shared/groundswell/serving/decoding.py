"""Reads requests inside the call: bytes that are no message, or too many, are bad input."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from groundswell.serving.errors import InvalidArgument
from groundswell.serving.limits import MAX_REQUEST_BYTES

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_MAKERS: dict[tuple[bool, bool], Any] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class DecodingInterceptor(grpc.aio.ServerInterceptor):
    """Hands bytes to gRPC's place for messages and reads them next to the servicer.

    gRPC itself would answer what it cannot read with UNKNOWN and the text of the exception. This
    has to be the innermost interceptor.
    """

    def __init__(self) -> None:
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        method = handler_call_details.method
        if method not in self._wrapped:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            self._wrapped[method] = _decoding(handler)
        return self._wrapped[method]


def _decoding(handler: Handler) -> Handler:
    behaviour: Any = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    read = _read_all if handler.request_streaming else _read
    deserialize: Any = handler.request_deserializer

    async def answer(sent: Any, context: Context) -> Any:
        return await behaviour(read(sent, deserialize), context)

    async def stream(sent: Any, context: Context) -> AsyncIterator[Any]:
        async with aclosing(behaviour(read(sent, deserialize), context)) as responses:
            async for response in responses:
                yield response

    make = _MAKERS[handler.request_streaming, handler.response_streaming]
    wrapped = stream if inspect.isasyncgenfunction(behaviour) else answer
    made: Handler = make(wrapped, None, handler.response_serializer)
    return made


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
            "REQUEST_MALFORMED", "the request is no message of this method, or a text no UTF-8"
        ) from None
