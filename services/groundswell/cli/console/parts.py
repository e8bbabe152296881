"""Holds parts of pages that may fail, and writes times and degradations in words."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Generic, NamedTuple, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from groundswell.cli.display.answers import DEGRADATIONS
from groundswell.client import GroundswellError
from groundswell.ranker.v1.ranker_service_pb2 import Degradation

Value = TypeVar("Value")

_UNITS = (("s", 60), ("min", 60), ("h", 24))


class PagePart(NamedTuple, Generic[Value]):
    """A part of a page, or why it is not there."""

    value: Value | None
    error: str = ""


def part(call: "Future[Value] | Callable[[], Value]") -> "PagePart[Value]":
    """Wait for a call of a service, or make it."""
    try:
        return PagePart(call.result() if isinstance(call, Future) else call())
    except GroundswellError as error:
        return PagePart(None, str(error))


def notes(degradations: Sequence["Degradation.ValueType"]) -> list[str]:
    """Say how an answer falls short."""
    return [DEGRADATIONS.get(kind, Degradation.Name(kind)) for kind in degradations]


def age(seconds: float) -> str:
    """Write a time span in its largest unit."""
    for unit, size in _UNITS:
        if abs(seconds) < size:
            return f"{seconds:.0f} {unit}"
        seconds /= size
    return f"{seconds:,.0f} days"


def moment(time: Timestamp) -> datetime:
    """Return a time in UTC."""
    return time.ToDatetime(UTC)


def clock(time: Timestamp) -> str:
    """Write a time, in UTC."""
    return f"{moment(time):%Y-%m-%d %H:%M} UTC"
