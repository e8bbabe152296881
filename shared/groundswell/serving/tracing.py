"""Traces calls through the services, where `GROUNDSWELL_TRACES` is set; else it does nothing.

OpenTelemetry is imported when tracing starts, so that a process without traces needs none of it.
"""

import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import grpc

from groundswell.serving.around import Behaviour
from groundswell.serving.settings import PREFIX, ServingSettings

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from groundswell.serving.otel import Tracing

T = TypeVar("T")

_tracing: "Tracing | None" = None
_NOTHING = nullcontext()


class TimedStage(NamedTuple):
    """A stage of a batch, and when it ran: ns since 1970."""

    name: str
    began_ns: int
    ended_ns: int


_stages: ContextVar[list[TimedStage] | None] = ContextVar("stages", default=None)
"""The stages of the batch that runs now, if any of its items is traced."""


def start_traces(settings: ServingSettings, part: str) -> None:
    """Trace from now on, as `groundswell-PART`; to be called before channels are opened.

    Raises StartError (EXTRA_MISSING) without the extra `traces`.
    """
    global _tracing
    if settings.traces is None:
        return
    # Imported here, since it needs an extra; StartError's module imports this one.
    try:
        from groundswell.serving.otel import Tracing
    except ModuleNotFoundError as error:
        from groundswell.serving.server import StartError

        message = f"{PREFIX}TRACES needs the extra: pip install 'groundswell[traces]'"
        raise StartError("EXTRA_MISSING", message) from error
    _tracing = Tracing(part, settings.traces)


def stop_traces() -> None:
    """Send what was traced and not yet sent."""
    global _tracing
    if _tracing is not None:
        _tracing.close()
        _tracing = None


def traced(method: str, behaviour: Behaviour) -> Behaviour:
    """Return what answers a call of a method within a span, a child of the caller's."""
    return behaviour if _tracing is None else _tracing.answering(method, behaviour)


def traced_channel(channel: grpc.aio.Channel) -> grpc.aio.Channel:
    """Return a channel whose calls of one request and one answer hand on the trace."""
    return channel if _tracing is None else _tracing.calling(channel)


def stage(name: str) -> AbstractContextManager[object]:
    """Trace a step of the call or the batch that this task or thread works on, if it is traced."""
    if _tracing is None:
        return _NOTHING
    stages = _stages.get()
    return _tracing.child(name) if stages is None else _noted(stages, name)


def new_trace(name: str, **attributes: str | int) -> AbstractContextManager[object]:
    """Begin a trace for work that no call asked for."""
    return _NOTHING if _tracing is None else _tracing.root(name, attributes)


def current_span() -> "Span | None":
    """Return the span of this task, if it is sent anywhere."""
    return None if _tracing is None else _tracing.current()


def current_trace_id() -> str:
    """Return the id of this task's trace as 32 hexadecimal digits; empty without one."""
    return "" if _tracing is None else _tracing.current_id()


def batch(
    name: str, size: int, waited: "Collection[tuple[Span, int]]"
) -> AbstractContextManager[object]:
    """Give each traced item of a batch a span of it, with its stages.

    `waited` has the span of each such item's call, and when it began to wait: ns since 1970.
    """
    return _of_batch(name, size, waited) if waited else _NOTHING


@contextmanager
def _of_batch(name: str, size: int, waited: "Collection[tuple[Span, int]]") -> Iterator[None]:
    stages: list[TimedStage] = []
    token, began_ns = _stages.set(stages), time.time_ns()
    try:
        yield
    finally:
        _stages.reset(token)
        if _tracing is not None:
            ran = TimedStage(name, began_ns, time.time_ns())
            # The items of one call have one span.
            for span, since_ns in dict(waited).items():
                _tracing.add_batch(span, ran, stages, size=size, waited_ns=began_ns - since_ns)


@contextmanager
def _noted(stages: list[TimedStage], name: str) -> Iterator[None]:
    began_ns = time.time_ns()
    try:
        yield
    finally:
        stages.append(TimedStage(name, began_ns, time.time_ns()))
