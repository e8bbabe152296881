"""Puts one wrapper around the calls of each method: admission, statuses of errors, metrics."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import grpc
import structlog

from groundswell.serving import telemetry
from groundswell.serving.access import Door, access_of
from groundswell.serving.around import (
    Behaviour,
    Context,
    Handler,
    behaviour_of,
    is_stream,
    with_behaviour,
)
from groundswell.serving.audit import AuditLog
from groundswell.serving.decoding import decoding
from groundswell.serving.draining import DrainedStreams
from groundswell.serving.errors import (
    ResourceExhausted,
    ServiceError,
    Unauthenticated,
    Unimplemented,
    end_call,
    is_expected,
)
from groundswell.serving.overload import NO_ADMISSIONS, Admissions, admitted
from groundswell.serving.pacing import Pacer
from groundswell.serving.stream_limits import StreamLimits
from groundswell.serving.tracing import traced

_RETRY_AFTER_S = 0.1

_log = structlog.get_logger(__name__)

# Health and reflection must answer when nothing else does.
_ALWAYS_ADMITTED = ("/grpc.health.", "/grpc.reflection.")


class Calls(grpc.GenericRpcHandler):
    """What servicers are added to in place of a server: puts a wrapper around each method.

    An interceptor would look for the handler at every call. From the outside in: the door, which
    checks tokens, a method's admission, its metrics, the status of what it raises, the bounds of
    calls or streams in flight, the audit log, reading the request, the servicer.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        *,
        max_concurrent_rpcs: int,
        max_streams: int,
        max_streams_per_peer: int,
        admissions: Admissions = NO_ADMISSIONS,
        door: Door | None = None,
        audit: AuditLog | None = None,
    ) -> None:
        self.services: Sequence[str] = ()
        """The full names of the services that the process has."""
        self.drained = DrainedStreams()
        self._server = server
        self._max = max_concurrent_rpcs
        self._num_in_flight = 0
        self._streams = StreamLimits(max_streams, max_streams_per_peer)
        self._admissions = admissions
        self._door, self._audit = door, audit
        self._pacer = Pacer()
        self._unknown: Handler = grpc.stream_stream_rpc_method_handler(self._refuse)
        server.add_generic_rpc_handlers((self,))

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None:
        """Add the methods of a service to the server, each in its wrapper."""
        wrapped = {
            name: self._wrap(f"/{service_name}/{name}", handler)
            for name, handler in method_handlers.items()
        }
        self._server.add_registered_method_handlers(service_name, wrapped)

    def add_generic_rpc_handlers(self, _handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: generated code registers the same methods."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:  # noqa: ARG002
        """Return the handler of every other method, which refuses it."""
        return self._unknown

    def _wrap(self, method: str, handler: Handler) -> Handler:
        behaviour = self._decoding(method, handler)
        if is_stream(handler):
            bounded = self._bounded_stream(method, handler, behaviour)
        elif method.startswith(_ALWAYS_ADMITTED):
            bounded = behaviour
        else:
            bounded = self._bounded(behaviour)
        kind = _KINDS[handler.request_streaming, handler.response_streaming]
        metrics = telemetry.RpcMetrics(kind, *method.split("/", 2)[1:])
        measured = _measured(method, metrics, bounded)
        if not is_stream(handler) and not method.startswith(_ALWAYS_ADMITTED):
            measured = traced(method, measured)
        made = with_behaviour(handler, measured)
        admission = self._admissions.get(method)
        if admission is not None:
            made = admitted(made, metrics, admission, self._pacer)
        if self._door is None:
            return made
        refuse = _measured(method, metrics, _raise)
        return with_behaviour(made, self._door.before(method, behaviour_of(made), refuse))

    def _decoding(self, method: str, handler: Handler) -> Behaviour:
        deserialize = handler.request_deserializer or bytes
        if self._audit is None or not access_of(method).reads_user:
            return decoding(handler, deserialize)
        reading = decoding(handler, self._audit.reading(deserialize))
        return self._audit.around(method, reading)

    def _bounded(self, behaviour: Behaviour) -> Behaviour:
        """Refuse calls at once while as many as the process can take are in flight."""

        async def answer(request: object, context: Context) -> object:
            if self._num_in_flight >= self._max:
                telemetry.count("calls_refused")
                raise ResourceExhausted(
                    "OVERLOADED",
                    f"{self._max} calls are in flight, which is all that this process takes",
                    retry_after_s=_RETRY_AFTER_S,
                )
            self._num_in_flight += 1
            try:
                return await behaviour(request, context)
            finally:
                self._num_in_flight -= 1

        return answer

    def _bounded_stream(self, method: str, handler: Handler, behaviour: Behaviour) -> Behaviour:
        """Bound the open streams, and end those that would never end in a shutdown."""
        places = self._streams.places_of(method)

        async def answer(request: object, context: Context) -> object:
            with places.take(context.peer()):
                return await behaviour(request, context)

        async def until_drained(request: object, context: Context) -> object:
            with self.drained.until_drained():
                return await answer(request, context)

        return answer if handler.request_streaming else until_drained

    async def _refuse(self, _requests: AsyncIterator[bytes], context: Context) -> None:
        served = ", ".join(self.services)
        message = f"this process does not serve the method that was called; it serves {served}"
        error: ServiceError = Unimplemented("METHOD_UNKNOWN", message)
        try:
            if self._door is not None:
                self._door.check_known(context)
        except Unauthenticated as refusal:
            error = refusal
        await end_call(context, error)


async def _raise(error: ServiceError, _context: Context) -> None:
    raise error


def _measured(method: str, metrics: telemetry.RpcMetrics, behaviour: Behaviour) -> Behaviour:
    """Count, time and log calls, and end those that raise with the status of the exception."""
    logs = _log.is_enabled_for(logging.DEBUG)

    async def answer(request: object, context: Context) -> object:
        metrics.started()
        began = time.perf_counter()
        code = grpc.StatusCode.OK
        try:
            try:
                return await behaviour(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - this is where every exception ends
                await _end(method, context, error)
                return None
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except grpc.aio.AbortError:
            code = _as_code(context.code())
            raise
        finally:
            seconds = time.perf_counter() - began
            metrics.handled(code, seconds)
            if logs:
                _log.debug("call", method=method[1:], code=code.name, seconds=round(seconds, 6))

    return answer


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


_KINDS = {
    (False, False): "unary",
    (False, True): "server_stream",
    (True, False): "client_stream",
    (True, True): "bidi_stream",
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _as_code(code: grpc.StatusCode | int) -> grpc.StatusCode:
    return code if isinstance(code, grpc.StatusCode) else _CODES[code]
