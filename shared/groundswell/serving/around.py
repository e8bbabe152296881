"""Wraps the handlers of methods, each once; most interceptors of the suite build on it."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, aclosing
from typing import Any, TypeAlias

import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Around: TypeAlias = Callable[["Context"], AbstractContextManager[None]]


class WrappingInterceptor(grpc.aio.ServerInterceptor):
    """Puts another handler in the place of each method's handler.

    gRPC looks a handler up at every call; each one is wrapped once and kept.
    """

    def __init__(self) -> None:
        self._wrapped: dict[str, Handler] = {}

    def wrapped(self, method: str, handler: Handler) -> Handler:
        """Return the handler to use for a method; it may be the given one."""
        raise NotImplementedError

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        method = handler_call_details.method
        if method not in self._wrapped:
            handler = await continuation(handler_call_details)
            if handler is None:
                # No servicer has the method. This is not kept: callers could fill the memory.
                return None
            self._wrapped[method] = self.wrapped(method, handler)
        return self._wrapped[method]


class CallInterceptor(WrappingInterceptor):
    """Enters a context manager around the calls of every method."""

    def around(self, method: str, handler: Handler) -> Around | None:
        """Return the context manager to enter around calls of a method; None enters none."""
        raise NotImplementedError

    def wrapped(self, method: str, handler: Handler) -> Handler:
        """Return a handler that enters what `around` gives."""
        around = self.around(method, handler)
        return handler if around is None else _entering(handler, around)


def behaviour_of(handler: Handler) -> Any:
    """Return the servicer's method that a handler calls."""
    return (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )


def with_behaviour(handler: Handler, behaviour: Any, deserializer: Any) -> Handler:
    """Return a handler of the same kind that reads with a deserializer and calls a function."""
    make: Any = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    made: Handler = make(behaviour, deserializer, handler.response_serializer)
    return made


def is_stream(handler: Handler) -> bool:
    """Whether requests or answers of the method are a stream, which its client may keep open."""
    return bool(handler.request_streaming or handler.response_streaming)


def writing(behaviour: Any) -> Any:
    """Return a coroutine function that calls a servicer's method, and writes what it generates.

    A stream then ends as soon as its client is gone: gRPC itself would leave a generator suspended,
    with all that it holds, until the garbage collector finds it. A method that is a coroutine is
    returned as it is; it may also answer with a stream, by `context.write`.
    """
    if not inspect.isasyncgenfunction(behaviour):
        return behaviour

    async def write_all(request: Any, context: Context) -> None:
        async with aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                await _write(context, response)

    return write_all


def _entering(handler: Handler, around: Around) -> Handler:
    behaviour = writing(behaviour_of(handler))

    async def answer(request: Any, context: Context) -> Any:
        with around(context):
            return await behaviour(request, context)

    return with_behaviour(handler, answer, handler.request_deserializer)


async def _write(context: Context, response: Any) -> None:
    try:
        await context.write(response)
    except (grpc.aio.InternalError, grpc.aio.UsageError) as error:
        # The client is gone, or its deadline is over: to the servicer this is a cancelled call.
        raise asyncio.CancelledError from error
