"""Refuses calls that would wait too long, before anything is spent on them."""

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any, TypeAlias

import grpc
from grpc_status import rpc_status

from groundswell.serving import telemetry
from groundswell.serving.admission import DeadlineAdmission
from groundswell.serving.around import (
    Context,
    Handler,
    WrappingInterceptor,
    behaviour_of,
    with_behaviour,
)
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


class OverloadInterceptor(WrappingInterceptor):
    """Ends a call with OVERLOADED and RetryInfo when its admission refuses it.

    This has to be the outermost interceptor: at five times the load that a process can take, most
    calls end here, and an exception would have to pass through all other interceptors.
    """

    def __init__(self, admissions: Admissions) -> None:
        super().__init__()
        self._admissions = admissions
        self._pacer = Pacer()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        if handler_call_details.method in self._admissions:
            return await super().intercept_service(continuation, handler_call_details)
        # Not kept: the name may be any text that a caller sent.
        return await continuation(handler_call_details)

    def wrapped(self, method: str, handler: Handler) -> Handler:
        """Return a handler that asks the method's admission first."""
        return _admitted(handler, method, self._admissions[method], self._pacer)


def _admitted(handler: Handler, method: str, admission: DeadlineAdmission, pacer: Pacer) -> Handler:
    behaviour = behaviour_of(handler)
    metrics = telemetry.RpcMetrics("unary", *method.split("/")[1:])

    async def answer(request: Any, context: Context) -> Any:
        remaining_s = context.time_remaining()
        retry_after_s = admission.retry_after_s(remaining_s)
        if retry_after_s is not None:
            began = time.perf_counter()
            _refuse(context, retry_after_s)
            metrics.started()
            metrics.handled(grpc.StatusCode.RESOURCE_EXHAUSTED, time.perf_counter() - began)
            return None
        call, answered = admission.begin(remaining_s), False
        try:
            await pacer.start()
            try:
                response = await behaviour(request, context)
            finally:
                pacer.end()
            answered = True
        finally:
            admission.end(call, answered=answered)
        return response

    return with_behaviour(handler, answer, handler.request_deserializer)


def _refuse(context: Context, retry_after_s: float) -> None:
    telemetry.count("calls_refused")
    error, details = _refusal(retry_after_s)
    pushback = (PUSHBACK_KEY, str(retry_pushback_ms(error)))
    context.set_trailing_metadata(((rpc_status.GRPC_DETAILS_METADATA_KEY, details), pushback))
    context.set_details(error.message)
    context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)


@cache  # At most one entry for each tenth of a second up to the longest wait.
def _refusal(retry_after_s: float) -> tuple[ResourceExhausted, bytes]:
    error = ResourceExhausted(
        "OVERLOADED",
        "the calls before this one would take up its time",
        retry_after_s=retry_after_s,
    )
    return error, to_status(error).SerializeToString()
