"""A collector of OpenTelemetry's traces over gRPC, which keeps the spans that services send."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)


@dataclass(frozen=True)
class Received:
    """A span, and the service that sent it."""

    service: str
    name: str
    trace_id: str
    span_id: bytes
    parent_id: bytes
    attributes: dict[str, Any]


class Collector(TraceServiceServicer):
    """Keeps all spans that it gets."""

    def __init__(self) -> None:
        self.address = ""
        self._spans: list[Received] = []
        self._lock = threading.Lock()

    def spans(self, trace_id: str = "") -> list[Received]:
        """The spans of one trace, or all."""
        with self._lock:
            return [one for one in self._spans if trace_id in ("", one.trace_id)]

    def Export(
        self,
        request: ExportTraceServiceRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> ExportTraceServiceResponse:
        """Take spans."""
        for group in request.resource_spans:
            service = _values(group.resource.attributes)["service.name"]
            received = [
                Received(
                    service,
                    span.name,
                    span.trace_id.hex(),
                    span.span_id,
                    span.parent_span_id,
                    _values(span.attributes),
                )
                for scope in group.scope_spans
                for span in scope.spans
            ]
            with self._lock:
                self._spans += received
        return ExportTraceServiceResponse()


@contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector on loopback."""
    kept = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    add_TraceServiceServicer_to_server(kept, server)  # type: ignore[no-untyped-call]
    kept.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield kept
    server.stop(None).wait()


def exporting(to: Collector, ratio: float = 1.0) -> dict[str, str]:
    """The variables of a process that sends its traces to a collector at once."""
    return {
        "GROUNDSWELL_TRACES": str(ratio),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{to.address}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
