"""Joins the writes of concurrent calls: what waits when the database is free is one transaction."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection

from groundswell.profile_service.store.database import Database
from groundswell.profile_service.store.engines import Work
from groundswell.serving.errors import ServiceError

T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S")
T_contra = TypeVar("T_contra", contravariant=True)

_MAX_ROWS = 1_000
"""A group takes no more rows, unless its first call alone has more."""
_MAX_GROUPS = 2
"""While one group waits for the disk, another one is worked out."""


class Written(NamedTuple, Generic[R, S]):
    """What a transaction did for some calls."""

    results: Sequence[R | None]
    """One for each call, in their order; None where the call has to be written alone."""
    summary: S


class Write(Protocol[T_contra, R, S]):
    """The body of a transaction that writes the rows of several calls."""

    def __call__(
        self, connection: Connection, calls: Sequence[Sequence[T_contra]], *, alone: bool
    ) -> Written[R, S]:
        """Write what can be written now; with `alone` also wait for locks of other writers."""
        ...


@dataclass(slots=True, eq=False)
class _Call(Generic[T, R]):
    rows: Sequence[T]
    result: asyncio.Future[R]


class GroupCommit(Generic[T, R, S]):
    """Writes the rows of many calls, as many calls to a transaction as wait when it begins.

    No call waits for others to come. A call that ends while it waits is left out; one whose
    transaction has begun is written. When a transaction fails by an error that one call may cause,
    each of its calls is written alone, and so is a call for which `write` returns None. After each
    commit, `committed` gets its summary. The server bounds how many calls wait.
    """

    def __init__(
        self, database: Database, write: Write[T, R, S], committed: Callable[[S], None]
    ) -> None:
        self._database = database
        self._write = write
        self._committed = committed
        self._waiting: deque[_Call[T, R]] = deque()
        self._num_groups = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, rows: Sequence[T]) -> R:
        """Return the result of one call's rows, committed. Raises what `Database.write` raises."""
        call = _Call[T, R](rows, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._num_groups < _MAX_GROUPS:
            self._num_groups += 1
            self._start(self._write_groups())
        return await call.result

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write_groups(self) -> None:
        try:
            while self._waiting:
                await self._transact(self._waiting, alone=False)
        finally:
            self._num_groups -= 1

    async def _transact(self, waiting: deque[_Call[T, R]], *, alone: bool) -> None:
        """Write the first of the calls that wait."""
        calls: list[_Call[T, R]] = []

        def begin() -> Work[Written[R, S]]:
            calls.extend(_taken(waiting))
            rows = [call.rows for call in calls]
            return lambda connection: self._write(connection, rows, alone=alone)

        try:
            results, summary = await self._database.write_when_free(begin)
        except Exception as error:  # noqa: BLE001 - it belongs to the callers, who get it
            if len(calls) > 1 and not isinstance(error, ServiceError):
                self._write_alone(calls)
            else:
                # Where no transaction could begin, it is the error of all that wait.
                _fail(calls or _drained(waiting), error)
            return
        self._committed(summary)
        for call, result in zip(calls, results, strict=True):
            if result is None:
                self._write_alone([call])
            elif not call.result.done():
                call.result.set_result(result)

    def _write_alone(self, calls: Sequence[_Call[T, R]]) -> None:
        for call in calls:
            self._start(self._transact(deque([call]), alone=True))


def _taken(waiting: deque[_Call[T, R]]) -> list[_Call[T, R]]:
    """Take the first calls that wait, without those that have ended."""
    calls: list[_Call[T, R]] = []
    num_rows = 0
    while waiting and (not calls or num_rows + len(waiting[0].rows) <= _MAX_ROWS):
        call = waiting.popleft()
        if not call.result.done():
            calls.append(call)
            num_rows += len(call.rows)
    return calls


def _drained(waiting: deque[_Call[T, R]]) -> list[_Call[T, R]]:
    calls = list(waiting)
    waiting.clear()
    return calls


def _fail(calls: Sequence[_Call[T, R]], error: Exception) -> None:
    for call in calls:
        if not call.result.done():
            call.result.set_exception(error)
