"""Logs and metrics: one format, one registry, names in one place."""

import io
import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import grpc
import structlog
from prometheus_client import Counter, Gauge, Histogram

from groundswell.serving.redaction import secrets_of, without
from groundswell.serving.settings import ServingSettings
from groundswell.serving.tracing import current_trace_id

# From half a millisecond (an answer from a cache) to ten seconds (a batch).
SECONDS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# The fields of our own lines that hold the text of an error.
_ERROR_TEXTS = ("detail", "error", "problem")

M = TypeVar("M", Counter, Gauge, Histogram)


def configure_logging(settings: ServingSettings) -> None:
    """Send structlog and the libraries' own logging to stderr in the format of the settings.

    Texts of errors, ours and the libraries', lose the secrets and passwords of the settings.
    """
    secrets = secrets_of(settings)
    set_up_logging(settings.log_level, settings.log_format, final=True, secrets=secrets)


def set_up_logging(
    level: str, log_format: str, *, final: bool, secrets: tuple[str, ...] = ()
) -> None:
    """As `configure_logging`, before there are settings; unless `final` it may be set up again."""
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")
    # Tracebacks stay without local variables: those hold users' ids and texts.
    renderer: structlog.types.Processor = structlog.processors.JSONRenderer()
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
        _hiding(secrets),
    ]
    if log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    number = logging.getLevelNamesMapping()[level]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=final,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=shared,
        )
    )
    handler.addFilter(_is_no_hang_up)
    # INFO lines of libraries are left out; their warnings are logged.
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def _add_trace_id(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    trace_id = current_trace_id()
    return {**event, "trace_id": trace_id} if trace_id else event


def _is_no_hang_up(record: logging.LogRecord) -> bool:
    """Whether a library's line says more than that a client left its call.

    A client may leave at any moment. The call itself is counted and logged as CANCELLED.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, grpc.aio.InternalError)


def _hiding(secrets: tuple[str, ...]) -> structlog.types.Processor:
    """Take the secrets out of the texts of exceptions, and of what libraries log."""

    def hide(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        is_foreign = "_record" in event
        for name in ("exception", *(("event",) if is_foreign else _ERROR_TEXTS)):
            if isinstance(event.get(name), str):
                event[name] = without(event[name], secrets)
        return event

    return hide


def unexpected(error: BaseException) -> dict[str, str]:
    """Return the fields of a log line about an unexpected error: its kind and its frames.

    Its text is left out: it may hold ids and texts of users.
    """
    frames = "".join(traceback.format_tb(error.__traceback__))
    return {"kind": type(error).__name__, "frames": frames}


def count(name: str, amount: float = 1, **labels: str) -> None:
    """Add to the counter `groundswell_<name>_total`; a name always has the same labels."""
    counter(name, **labels).inc(amount)


@cache  # Looking the labels up takes longer than adding.
def counter(name: str, **labels: str) -> Counter:
    """Return the counter that `count` adds to."""
    return _labelled(_counter(f"groundswell_{name}_total", tuple(sorted(labels))), labels)


def gauge(name: str, value: float, **labels: str) -> None:
    """Set the gauge `groundswell_<name>`."""
    _labelled(_gauge(_name(name), tuple(sorted(labels))), labels).set(value)


def gauge_of(name: str, read: Callable[[], float]) -> None:
    """Let the gauge `groundswell_<name>` have what `read` returns at each scrape."""
    _gauge(_name(name), ()).set_function(read)


def replace_info(name: str, **labels: str) -> None:
    """Make these the only labels of the gauge `groundswell_<name>`, which is 1."""
    info = _gauge(_name(name), tuple(sorted(labels)))
    info.clear()
    info.labels(**labels).set(1)


@cache
def histogram(
    name: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = SECONDS_BUCKETS
) -> Histogram:
    """Return the histogram `groundswell_<name>`."""
    return Histogram(_name(name), name.replace("_", " "), labels, buckets=buckets)


def _name(name: str) -> str:
    return f"groundswell_{name}"


def _labelled(metric: M, labels: dict[str, str]) -> M:
    return metric.labels(**labels) if labels else metric


@cache
def _counter(name: str, labels: tuple[str, ...]) -> Counter:
    return Counter(name, name.replace("_", " "), labels)


@cache
def _gauge(name: str, labels: tuple[str, ...]) -> Gauge:
    return Gauge(name, name.replace("_", " "), labels)


class RpcMetrics:
    """One method's metrics, named as go-grpc-middleware names them."""

    def __init__(self, kind: str, service: str, method: str) -> None:
        self._labels = (kind, service, method)
        self._started = _rpc_started().labels(*self._labels)
        self._seconds = _rpc_seconds().labels(*self._labels)
        self._handled: dict[grpc.StatusCode, Counter] = {}

    def started(self) -> None:
        """A call begins."""
        self._started.inc()

    def handled(self, code: grpc.StatusCode, seconds: float) -> None:
        """A call has ended."""
        if code not in self._handled:
            name = code.name.title().replace("_", "") if code.name != "OK" else "OK"
            self._handled[code] = _rpc_handled().labels(*self._labels, name)
        self._handled[code].inc()
        self._seconds.observe(seconds)


class BatchMetrics:
    """The metrics of the batchers of one name in this process."""

    def __init__(self, name: str) -> None:
        labels = ("batcher",)
        self._waiting = _gauge(_name("batch_waiting"), labels).labels(name)
        self._size = histogram("batch_size", labels, _BATCH_BUCKETS).labels(name)
        self._waited = histogram("batch_waited_seconds", labels).labels(name)
        self._ran = histogram("batch_run_seconds", labels).labels(name)

    def waits(self, number: int) -> None:
        """So many more items wait, or fewer."""
        self._waiting.inc(number)

    @contextmanager
    def running(self, since_ns: Sequence[int]) -> Iterator[None]:
        """A batch runs; `since_ns` says when each item began to wait."""
        began_ns = time.time_ns()
        for ns in since_ns:
            self._waited.observe((began_ns - ns) / 1e9)
        try:
            yield
        finally:
            self._size.observe(len(since_ns))
            self._ran.observe((time.time_ns() - began_ns) / 1e9)


_RPC_LABELS = ("grpc_type", "grpc_service", "grpc_method")


@cache
def _rpc_started() -> Counter:
    return Counter("grpc_server_started_total", "RPCs started on the server.", _RPC_LABELS)


@cache
def _rpc_handled() -> Counter:
    return Counter(
        "grpc_server_handled_total",
        "RPCs completed on the server, by status.",
        (*_RPC_LABELS, "grpc_code"),
    )


@cache
def _rpc_seconds() -> Histogram:
    return Histogram(
        "grpc_server_handling_seconds",
        "Time until an RPC had been handled by the server.",
        _RPC_LABELS,
        buckets=SECONDS_BUCKETS,
    )
