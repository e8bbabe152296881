"""Joins concurrent calls: those that wait when their turn comes are carried out as one."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from groundswell.serving.errors import ServiceError

T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class CallRunner(Protocol[T, R_co]):
    """Carries out some calls as one."""

    async def __call__(
        self, begin: Callable[[], list[Sequence[T]]], *, again: bool
    ) -> Sequence[R_co | None]:
        """Return one result for each call that `begin` returns, in their order.

        `begin` is called once, when it is their turn: until then calls can join or leave, and
        perhaps none is left. A call with the result None is carried out `again`, until it has
        another one.
        """
        ...


@dataclass(slots=True, eq=False)
class _Call(Generic[T, R]):
    rows: Sequence[T]
    result: asyncio.Future[R]


class JoinedCalls(Generic[T, R]):
    """Carries out calls together, as many as wait when their turn comes.

    No call waits for others to come; `max_runs` groups are under way at most. A call that ends
    while it waits is left out; one that has begun is carried out. Several calls have at most
    `max_rows` in all. When they fail by an error that one of them may cause, each is carried out
    alone, all at once: these runs, and those of calls without a result, come on top of `max_runs`.
    The server bounds how many calls wait.
    """

    def __init__(self, run: CallRunner[T, R], *, max_rows: int, max_runs: int) -> None:
        self._run = run
        self._max_rows = max_rows
        self._max_runs = max_runs
        self._waiting: deque[_Call[T, R]] = deque()
        self._num_runs = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, rows: Sequence[T]) -> R:
        """Return the result of one call. Raises what `run` raises."""
        call = _Call[T, R](rows, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._num_runs < self._max_runs:
            self._num_runs += 1
            self._start(self._run_all())
        return await call.result

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_all(self) -> None:
        try:
            while self._waiting:
                await self._run_some(self._waiting, again=False)
        finally:
            self._num_runs -= 1

    async def _run_some(self, waiting: deque[_Call[T, R]], *, again: bool) -> None:
        """Carry out the first of the calls that wait."""
        calls: list[_Call[T, R]] | None = None

        def begin() -> list[Sequence[T]]:
            nonlocal calls
            calls = self._taken(waiting)
            return [call.rows for call in calls]

        try:
            results = await self._run(begin, again=again)
        except Exception as error:  # noqa: BLE001 - it belongs to the callers, who get it
            if calls is not None and len(calls) > 1 and not isinstance(error, ServiceError):
                self._run_alone(calls)
            else:
                # Before any could begin, it is the error of all that wait.
                _fail(_drained(waiting) if calls is None else calls, error)
            return
        left_out = deque[_Call[T, R]]()
        for call, result in zip(calls or (), results, strict=True):
            if result is None:
                left_out.append(call)
            elif not call.result.done():
                call.result.set_result(result)
        if left_out:
            self._start(self._run_some(left_out, again=True))

    def _run_alone(self, calls: Sequence[_Call[T, R]]) -> None:
        for call in calls:
            self._start(self._run_some(deque([call]), again=True))

    def _taken(self, waiting: deque[_Call[T, R]]) -> list[_Call[T, R]]:
        """Take the first calls that wait, without those that have ended."""
        calls: list[_Call[T, R]] = []
        num_rows = 0
        while waiting and (not calls or num_rows + len(waiting[0].rows) <= self._max_rows):
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
