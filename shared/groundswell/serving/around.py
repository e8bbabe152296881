"""Puts an async context manager around the calls of every method; interceptors build on it."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, TypeAlias

import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Around: TypeAlias = Callable[["Context"], AbstractAsyncContextManager[None]]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Enters an async context manager around the calls of every method."""

    def __init__(self) -> None:
        # A handler is looked up at every call; wrapping it once per method keeps that cheap.
        self._wrapped: dict[str, Handler] = {}

    def around(self, method: str, handler: Handler) -> Around | None:
        """What to enter around the calls of a method; None leaves it alone."""
        raise NotImplementedError

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        method = handler_call_details.method
        if method in self._wrapped:
            return self._wrapped[method]
        handler = await continuation(handler_call_details)
        if handler is None:
            # Nobody serves the method. Not kept: callers could fill the memory with names.
            return None
        around = self.around(method, handler)
        self._wrapped[method] = handler if around is None else _wrap(handler, around)
        return self._wrapped[method]


def is_stream(handler: Handler) -> bool:
    """Whether a call of the method lasts for as long as its client likes."""
    return bool(handler.request_streaming or handler.response_streaming)


def _wrap(handler: Handler, around: Around) -> Handler:
    behaviour: Any = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )

    async def answer(request: Any, context: Context) -> Any:
        async with around(context):
            return await behaviour(request, context)

    async def write_all(request: Any, context: Context) -> None:
        """Answer a stream by writing: only so does the end of a client end the generator at once.

        gRPC would leave a generator suspended where it stands, with all that it holds, until the
        garbage collector finds it.
        """
        async with around(context), aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                await _write(context, response)

    make: Any = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    # A coroutine may also answer with a stream, by context.write: it is wrapped as one answer.
    wrapped = write_all if inspect.isasyncgenfunction(behaviour) else answer
    made: Handler = make(wrapped, handler.request_deserializer, handler.response_serializer)
    return made


async def _write(context: Context, response: Any) -> None:
    try:
        await context.write(response)
    except (grpc.aio.InternalError, grpc.aio.UsageError) as error:
        # The client is gone, or its time is over. For the call that is the same as being cancelled.
        raise asyncio.CancelledError from error
