"""Ends streams of answers that never end by themselves (a watch) when the process shuts down."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from groundswell.serving.errors import Unavailable

_RETRY_AFTER_S = 0.1


class DrainedStreams:
    """The open streams that would use up the time that calls in flight get to finish.

    Their clients get UNAVAILABLE (DRAINING) and can open the stream at another process.
    """

    def __init__(self) -> None:
        self._draining = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def drain(self) -> None:
        """End these streams now, and refuse new ones."""
        self._draining = True
        for task in tuple(self._tasks):
            task.cancel()

    @contextmanager
    def until_drained(self) -> Iterator[None]:
        """Run a stream inside. Raises Unavailable (DRAINING)."""
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
    return Unavailable("DRAINING", "the process is shutting down", retry_after_s=_RETRY_AFTER_S)
