"""Takes the handlers of methods apart, and puts them together again around another function."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behaviour: TypeAlias = Callable[[Any, "Context"], Awaitable[Any]]
"""Answers a call, given its request, or the stream of its requests."""


def behaviour_of(handler: Handler) -> Any:
    """Return the servicer's method that a handler calls."""
    return (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )


def with_behaviour(handler: Handler, behaviour: Behaviour) -> Handler:
    """Return a handler of the same kind that gets the bytes of requests and calls a function."""
    make: Any = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    made: Handler = make(behaviour, None, handler.response_serializer)
    return made


def is_stream(handler: Handler) -> bool:
    """Whether requests or answers of the method are a stream, which its client may keep open."""
    return bool(handler.request_streaming or handler.response_streaming)


def writing(behaviour: Any) -> Behaviour:
    """Return a coroutine function that calls a servicer's method, and writes what it generates.

    A stream then ends as soon as its client is gone: gRPC itself would leave a generator suspended,
    with all that it holds, until the garbage collector finds it. A method that is a coroutine is
    returned as it is; it may also answer with a stream, by `context.write`.
    """
    if not inspect.isasyncgenfunction(behaviour):
        made: Behaviour = behaviour
        return made

    async def write_all(request: Any, context: Context) -> None:
        async with aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                await _write(context, response)

    return write_all


async def _write(context: Context, response: Any) -> None:
    try:
        await context.write(response)
    except (grpc.aio.InternalError, grpc.aio.UsageError) as error:
        # The client is gone, or its deadline is over: to the servicer this is a cancelled call.
        raise asyncio.CancelledError from error
