"""Refuses calls that would wait too long, before anything is spent on them."""

import asyncio
import time
from collections.abc import Mapping
from functools import cache
from typing import Any, NoReturn, TypeAlias

import grpc
from grpc_status import rpc_status

from groundswell.serving import telemetry
from groundswell.serving.admission import DeadlineAdmission
from groundswell.serving.around import Behaviour, Context, Handler, behaviour_of
from groundswell.serving.errors import (
    PUSHBACK_KEY,
    ResourceExhausted,
    retry_pushback_ms,
    to_status,
)
from groundswell.serving.pacing import Pacer

Admissions: TypeAlias = Mapping[str, DeadlineAdmission]
"""By method, such as "/package.Service/Method". The calls of methods that share an admission count
together. Only methods with one request and one answer can have one."""

NO_ADMISSIONS: Admissions = {}


def admitted(
    handler: Handler, metrics: telemetry.RpcMetrics, admission: DeadlineAdmission, pacer: Pacer
) -> Handler:
    """Return a handler whose calls are admitted, or refused with OVERLOADED and RetryInfo.

    This is the outermost part of a call, and refuses it before its request is read: at five times
    the load that a process can take, most calls end here. To gRPC it takes a stream of requests,
    since gRPC calls such a handler first, which saves a turn of the event loop.
    """
    behaviour = behaviour_of(handler)
    refusals = _Refusals(metrics)

    async def answer(_requests: Any, context: Context) -> Any:
        remaining_s = context.time_remaining()
        retry_after_s = admission.retry_after_s(remaining_s)
        if retry_after_s is not None:
            await refusals.end(context, retry_after_s, remaining_s)
        request = await context.read()
        if request is grpc.aio.EOF:
            raise asyncio.CancelledError  # The client is gone.
        # Asked again: other calls may have begun while the request was read.
        remaining_s = context.time_remaining()
        retry_after_s = admission.retry_after_s(remaining_s)
        if retry_after_s is not None:
            await refusals.end(context, retry_after_s, remaining_s)
        call, answered = admission.begin(remaining_s), False
        try:
            if admission.is_paced:
                response = await _paced(pacer, behaviour, request, context)
            else:
                response = await behaviour(request, context)
            answered = True
        finally:
            admission.end(call, answered=answered)
        return response

    made: Handler = grpc.stream_unary_rpc_method_handler(
        answer, handler.request_deserializer, handler.response_serializer
    )
    return made


async def _paced(pacer: Pacer, behaviour: Behaviour, request: Any, context: Context) -> Any:
    if not pacer.starts():
        await pacer.turn()
    try:
        return await behaviour(request, context)
    finally:
        pacer.end()


class _Refusals:
    """Ends the refused calls of a method, and counts them."""

    def __init__(self, metrics: telemetry.RpcMetrics) -> None:
        self._metrics = metrics
        self._refused = telemetry.counter("calls_refused")

    async def end(
        self, context: Context, retry_after_s: float, remaining_s: float | None
    ) -> NoReturn:
        """End a call, which has `remaining_s` left."""
        began = time.perf_counter()
        error, details = _refusal(retry_after_s)
        pushback = (PUSHBACK_KEY, str(retry_pushback_ms(error, remaining_s)))
        ends = ((rpc_status.GRPC_DETAILS_METADATA_KEY, details), pushback)
        self._refused.inc()
        self._metrics.started()
        try:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, error.message, ends)
        finally:
            self._metrics.handled(grpc.StatusCode.RESOURCE_EXHAUSTED, time.perf_counter() - began)
        raise AssertionError("a call was ended, and goes on")


@cache  # At most one entry for each tenth of a second up to the longest wait.
def _refusal(retry_after_s: float) -> tuple[ResourceExhausted, bytes]:
    error = ResourceExhausted(
        "OVERLOADED",
        "the calls before this one would take up its time",
        retry_after_s=retry_after_s,
    )
    return error, to_status(error).SerializeToString()
