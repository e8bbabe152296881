"""Interceptors of every call: metrics, statuses of errors, drain, admission."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc
import structlog

from groundswell.serving import telemetry
from groundswell.serving.around import (
    Around,
    CallInterceptor,
    Context,
    Handler,
    WrappingInterceptor,
    behaviour_of,
    is_stream,
    with_behaviour,
    writing,
)
from groundswell.serving.errors import ResourceExhausted, Unavailable, end_call, is_expected

RETRY_AFTER_S = 0.1

_log = structlog.get_logger(__name__)

# Health and reflection must answer when nothing else does.
_ALWAYS_ADMITTED = ("/grpc.health.", "/grpc.reflection.")


class ErrorInterceptor(WrappingInterceptor):
    """Ends a call that raised with the status of its exception, through the one table."""

    def wrapped(self, method: str, handler: Handler) -> Handler:
        """Return a handler that ends its call when it raises."""
        behaviour = writing(behaviour_of(handler))

        async def answer(request: Any, context: Context) -> Any:
            try:
                return await behaviour(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - this is where every exception ends
                return await _end(method, context, error)

        return with_behaviour(handler, answer, handler.request_deserializer)


async def _end(method: str, context: Context, error: Exception) -> None:
    if not is_expected(error):
        # The text, which may hold ids and texts of users, is for DEBUG alone.
        _log.error("call_failed", method=method, **telemetry.unexpected(error))
        _log.debug("call_failed_because", method=method, exc_info=error)
    try:
        await end_call(context, error)
    except grpc.aio.InternalError:
        # The client is gone.
        raise asyncio.CancelledError from None


class DrainInterceptor(CallInterceptor):
    """Ends streams of answers that never end by themselves (a watch) when the process shuts down.

    They would use up the time that calls in flight get to finish. Their clients get UNAVAILABLE
    (DRAINING) and can open the stream at another process.
    """

    def __init__(self) -> None:
        super().__init__()
        self._draining = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def around(self, method: str, handler: Handler) -> Around | None:  # noqa: ARG002
        streams_answers = handler.response_streaming and not handler.request_streaming
        return self._until_drained if streams_answers else None

    def drain(self) -> None:
        """End these streams now, and refuse new ones."""
        self._draining = True
        for task in tuple(self._tasks):
            task.cancel()

    @contextmanager
    def _until_drained(self, _context: Context) -> Iterator[None]:
        task = asyncio.current_task()
        if self._draining or task is None:
            raise _shutting_down()
        self._tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._draining:
                raise
            task.uncancel()
            raise _shutting_down() from None
        finally:
            self._tasks.discard(task)


def _shutting_down() -> Unavailable:
    return Unavailable("DRAINING", "the process is shutting down", retry_after_s=RETRY_AFTER_S)


class AdmissionInterceptor(CallInterceptor):
    """Refuses calls at once while as many as the process can take are in flight."""

    def __init__(self, max_concurrent_rpcs: int) -> None:
        super().__init__()
        self._max = max_concurrent_rpcs
        self._num_in_flight = 0

    def around(self, method: str, handler: Handler) -> Around | None:
        # Streams have a bound of their own.
        is_free = is_stream(handler) or method.startswith(_ALWAYS_ADMITTED)
        return None if is_free else self._admitted

    @contextmanager
    def _admitted(self, _context: Context) -> Iterator[None]:
        if self._num_in_flight >= self._max:
            telemetry.count("calls_refused")
            raise ResourceExhausted(
                "OVERLOADED",
                f"{self._max} calls are in flight, which is all that this process takes",
                retry_after_s=RETRY_AFTER_S,
            )
        self._num_in_flight += 1
        try:
            yield
        finally:
            self._num_in_flight -= 1


class TelemetryInterceptor(CallInterceptor):
    """Counts and times every call, and logs it at the level DEBUG."""

    def around(self, method: str, handler: Handler) -> Around:
        _, service, name = method.split("/", 2)
        kind = _KINDS[handler.request_streaming, handler.response_streaming]
        return partial(self._measured, telemetry.RpcMetrics(kind, service, name))

    @contextmanager
    def _measured(self, metrics: telemetry.RpcMetrics, context: Context) -> Iterator[None]:
        metrics.started()
        begin = time.perf_counter()
        code = grpc.StatusCode.OK
        try:
            yield
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except grpc.aio.AbortError:
            code = _as_code(context.code())
            raise
        finally:
            seconds = time.perf_counter() - begin
            metrics.handled(code, seconds)
            _log.debug("call", method=metrics.method, code=code.name, seconds=round(seconds, 6))


_KINDS = {
    (False, False): "unary",
    (False, True): "server_stream",
    (True, False): "client_stream",
    (True, True): "bidi_stream",
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _as_code(code: grpc.StatusCode | int) -> grpc.StatusCode:
    return code if isinstance(code, grpc.StatusCode) else _CODES[code]
