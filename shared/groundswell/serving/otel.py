"""Makes OpenTelemetry's spans of calls, batches and stages, and exports them.

OpenTelemetry's own instrumentation of grpc.aio is built of interceptors. Those cost a task for each
call, traced or not, so this wraps methods and channels instead. No span holds data of a user.
"""

import asyncio
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, cast

import grpc
from opentelemetry import trace
from opentelemetry.context import Context as TraceContext
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from groundswell.serving.around import Behaviour, Context
from groundswell.serving.tracing import TimedStage

_CODE = "rpc.grpc.status_code"
_HEADERS = ("traceparent", "tracestate")
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""The statuses that are errors of a server; the others are what its caller asked for."""
_propagator = TraceContextTextMapPropagator()
_LAST_SPANS_S = 2.0


class Tracing:
    """Makes the spans of one process. The variables OTEL_* say where they go."""

    def __init__(self, part: str, ratio: float) -> None:
        """Trace a share of the calls whose callers do not say whether they are traced."""
        name = os.environ.get("OTEL_SERVICE_NAME", f"groundswell-{part}")
        resource = Resource.create({SERVICE_NAME: name})
        sampler = ParentBased(TraceIdRatioBased(ratio))
        self._provider = TracerProvider(sampler=sampler, resource=resource)
        self._exporter = OTLPSpanExporter()
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("groundswell")
        # Texts of exceptions may hold data of users.
        self._begin = partial(
            self._tracer.start_as_current_span,
            record_exception=False,
            set_status_on_exception=False,
        )

    def close(self) -> None:
        """Send the last spans; a collector that does not take them in two seconds gets none."""
        giving_up = threading.Timer(_LAST_SPANS_S, self._exporter.shutdown)
        giving_up.start()
        self._provider.shutdown()
        giving_up.cancel()

    def current(self) -> Span | None:
        """Return the span of this task, if it is exported."""
        span = trace.get_current_span()
        return span if span.is_recording() else None

    def current_id(self) -> str:
        """Return the id of this task's trace; empty without one."""
        context = trace.get_current_span().get_span_context()
        return trace.format_trace_id(context.trace_id) if context.is_valid else ""

    def child(self, name: str) -> AbstractContextManager[object]:
        """Begin a span below the current one, if that is exported."""
        if self.current() is None:
            return nullcontext()
        return self._begin(name)

    def root(
        self, name: str, attributes: Mapping[str, str | int]
    ) -> AbstractContextManager[object]:
        """Begin a trace."""
        return self._begin(name, TraceContext(), attributes=attributes)

    def add_batch(
        self,
        parent: Span,
        ran: TimedStage,
        stages: Sequence[TimedStage],
        *,
        size: int,
        waited_ns: int,
    ) -> None:
        """Add the span of a batch that has run, and those of its stages."""
        attributes = {"batch.size": size, "batch.waited_ms": waited_ns / 1e6}
        span = self._add(parent, ran, attributes)
        for stage in stages:
            self._add(span, stage)

    def _add(
        self, parent: Span, stage: TimedStage, attributes: Mapping[str, int | float] | None = None
    ) -> Span:
        below = trace.set_span_in_context(parent)
        span = self._tracer.start_span(
            stage.name, below, start_time=stage.began_ns, attributes=attributes
        )
        span.end(stage.ended_ns)
        return span

    def answering(self, method: str, behaviour: Behaviour) -> Behaviour:
        """Answer a call of a method within a span, a child of the one that the caller names."""
        attributes = _attributes(method)

        async def answer(request: object, context: Context) -> object:
            metadata = context.invocation_metadata() or ()
            sent = {key: value for key, value in metadata if key in _HEADERS}
            parent = _propagator.extract(sent, TraceContext())
            with self._begin(method[1:], parent, SpanKind.SERVER, attributes) as span:
                try:
                    response = await behaviour(request, context)
                except asyncio.CancelledError:
                    _end_code(span, grpc.StatusCode.CANCELLED)
                    raise
                except grpc.aio.AbortError:
                    code = context.code()
                    _end_code(span, code if isinstance(code, grpc.StatusCode) else _CODES[code])
                    raise
                _end_code(span, grpc.StatusCode.OK)
                return response

        return answer

    def calling(self, channel: grpc.aio.Channel) -> grpc.aio.Channel:
        """Hand on the trace in each call of one request and one answer."""
        return cast("grpc.aio.Channel", _TracedChannel(channel, self._tracer))


class _TracedChannel:
    """A channel whose unary calls have spans; streams are not traced, since they last for long."""

    def __init__(self, channel: grpc.aio.Channel, tracer: trace.Tracer) -> None:
        self._channel = channel
        self._tracer = tracer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def unary_unary(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Return what calls a method."""
        call = self._channel.unary_unary(method, *arguments, **named)
        name, attributes = method[1:], _attributes(method)

        def traced(
            request: Any, *, metadata: Sequence[tuple[str, str]] = (), **options: Any
        ) -> Any:
            current = trace.get_current_span()
            if not current.get_span_context().is_valid:
                return call(request, metadata=tuple(metadata), **options)
            span = current
            if current.is_recording():
                span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)
            headers: dict[str, str] = {}
            _propagator.inject(headers, trace.set_span_in_context(span))
            begun = call(request, metadata=(*metadata, *headers.items()), **options)
            if span is not current:
                begun.add_done_callback(lambda ended: _end_soon(span, ended))
            return begun

        return traced


def _attributes(method: str) -> dict[str, str]:
    service, _, name = method[1:].partition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}


def _end_code(span: Span, code: grpc.StatusCode) -> None:
    span.set_attribute(_CODE, code.value[0])
    if code in _FAULTS:
        span.set_status(StatusCode.ERROR)


_ending: set["asyncio.Task[None]"] = set()


def _end_soon(span: Span, ended: Any) -> None:
    """End the span of a call that has ended, once its status is known."""

    async def end(end_ns: int) -> None:
        _end_code(span, await ended.code())
        span.end(end_ns)

    task = asyncio.get_running_loop().create_task(end(time.time_ns()))
    _ending.add(task)
    task.add_done_callback(_ending.discard)
