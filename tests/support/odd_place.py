"""The place of odd commands: a server whose answers are empty, and a prepared log."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from groundswell.profile.v1.event_service_pb2 import ImportEventsResponse
from tests.support.odd_commands import Place
from tests.support.recorder import Recorder
from tests.support.worlds import prepared_world


def _accept(requests: Any, _: Any) -> Iterator[ImportEventsResponse]:
    for request in requests:
        yield ImportEventsResponse(num_accepted=len(request.events))


@contextmanager
def odd_place(folder: Path) -> Iterator[Place]:
    """Start and fill it."""
    recorder = Recorder()
    recorder.answers["ImportEvents"] = _accept
    try:
        yield Place(recorder.address, prepared_world(folder, users=8, items=24))
    finally:
        recorder.stop()
