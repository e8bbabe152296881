"""Runs the items of many callers in batches, beside the event loop or, when cheap, on it."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from groundswell.serving import tracing
from groundswell.serving.errors import ResourceExhausted, Unavailable
from groundswell.serving.telemetry import BatchMetrics

if TYPE_CHECKING:
    from opentelemetry.trace import Span

T = TypeVar("T")
R = TypeVar("R")

RETRY_AFTER_S = 0.1

_BULK_TURN = 4
"""While items wait in both lanes, every fourth place in a batch is for a bulk item."""
_FIRST_GUESS_S = 0.01
"""The processor time that an item is assumed to take before any was measured."""
_MEASURED = 8
"""Of cheap runs one in so many is measured: on a busy machine, to read the processor time lets
other processes run first."""
_WEIGHT = 0.1
"""The weight of the newest batch in the running mean of what items take."""


@dataclass(slots=True, eq=False)
class _Waiting(Generic[T, R]):
    """An item that waits."""

    item: T
    result: asyncio.Future[R]
    size: int
    since_ns: int
    """When it began to wait: ns since 1970."""
    span: "Span | None"
    """That of its call, if it is traced."""


class _Lane(Generic[T, R]):
    """The items that wait, in their order."""

    def __init__(self) -> None:
        self.waiting: deque[_Waiting[T, R]] = deque()
        self.num_bytes = 0


class MicroBatcher(Generic[T, R]):
    """Collects items while a batch runs and runs them as the next one; it never waits for more.

    `run_batch` gets 1 to `max_batch` items, fewer where they cost more by `weight`, and returns one
    result each, in order; it runs in this batcher's only thread. Cheap items run on the event loop
    instead: a single one at once if none waits or runs, one in each turn of the loop, and those
    that came after it together. They are cheap when they take less than `on_loop_below_s`, by the
    running mean of the processor time of an item, and the size of none is above `on_loop_max_size`.
    When a batch of several items fails, each is run alone, so that a bad one fails alone. An item
    whose caller is gone is dropped before a batch forms.

    There are two lanes. Single items go before bulk items, which come many at once. In each lane
    at most `max_queue` items wait, of at most `max_bytes` together by `size`; one more is refused
    at once. An empty lane takes items of any size, up to `max_queue` of them.

    `name` is that of its metrics and spans.
    """

    def __init__(
        self,
        run_batch: Callable[[list[T]], Sequence[R]],
        *,
        name: str,
        max_batch: int,
        max_queue: int,
        max_bytes: float = math.inf,
        size: Callable[[T], int] = lambda _: 0,
        weight: Callable[[T], int] = lambda _: 1,
        on_loop_below_s: float = 0.0,
        on_loop_max_size: float = math.inf,
    ) -> None:
        self._run_batch = run_batch
        self._name = name
        self._metrics = BatchMetrics(name)
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._max_bytes = max_bytes
        self._size = size
        self._weight = weight
        self._on_loop_below_s = on_loop_below_s
        self._on_loop_max_size = on_loop_max_size
        self._item_s = _FIRST_GUESS_S
        self._num_runs = 0
        self._ran_on_loop = False
        """Whether an item ran on the event loop in this turn of it."""
        self._single: _Lane[T, R] = _Lane()
        self._bulk: _Lane[T, R] = _Lane()
        self._num_taken = 0
        self._pump: asyncio.Task[None] | None = None
        self._closed = False
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batch")

    async def submit(self, item: T) -> R:
        """The result of one item. Raises ResourceExhausted (OVERLOADED) when too many wait."""
        if self._may_run_on_loop() and self._is_cheap([item]):
            self._ran_on_loop = True
            asyncio.get_running_loop().call_soon(self._begin_turn)
            span, now_ns = tracing.current_span(), time.time_ns()
            return self._timed([item], [now_ns], [(span, now_ns)] if span is not None else ())[0]
        return await self._enqueue(self._single, [item])[0]

    async def submit_all(self, items: Sequence[T]) -> list[R]:
        """The results of bulk items, in their order.

        Raises ResourceExhausted (OVERLOADED) when not all of them fit into the queue: then none is
        run. An idle batcher takes `max_queue` of them.
        """
        futures = self._enqueue(self._bulk, items)
        try:
            return await asyncio.gather(*futures)
        finally:
            for future in futures:
                future.cancel()

    async def close(self) -> None:
        """Finish what was submitted, then free the thread."""
        self._closed = True
        if self._pump is not None:
            await self._pump
        await asyncio.to_thread(self._executor.shutdown)

    def _may_run_on_loop(self) -> bool:
        is_idle = self._pump is None or self._pump.done()
        return is_idle and not self._ran_on_loop and not self._closed

    def _begin_turn(self) -> None:
        self._ran_on_loop = False

    def _enqueue(self, lane: "_Lane[T, R]", items: Sequence[T]) -> list[asyncio.Future[R]]:
        if self._closed:
            raise Unavailable("CLOSING", "the process is shutting down")
        sizes = [self._size(item) for item in items]
        too_large = lane.waiting and lane.num_bytes + sum(sizes) > self._max_bytes
        if len(lane.waiting) + len(items) > self._max_queue or too_large:
            raise ResourceExhausted(
                "OVERLOADED", "too many calls wait", retry_after_s=RETRY_AFTER_S
            )
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[R]] = [loop.create_future() for _ in items]
        span, now_ns = tracing.current_span(), time.time_ns()
        for item, future, size in zip(items, futures, sizes, strict=True):
            lane.waiting.append(_Waiting(item, future, size, now_ns, span))
        lane.num_bytes += sum(sizes)
        self._metrics.waits(len(items))
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run_all())
        return futures

    async def _run_all(self) -> None:
        while batch := self._take():
            error = await self._run(batch)
            if error is None:
                continue
            for one in batch:
                alone = error if len(batch) == 1 else await self._run([one])
                if alone is not None and not one.result.done():
                    one.result.set_exception(alone)

    def _is_cheap(self, items: Sequence[T]) -> bool:
        return len(items) * self._item_s < self._on_loop_below_s and all(
            self._size(item) <= self._on_loop_max_size for item in items
        )

    def _take(self) -> list[_Waiting[T, R]]:
        """Take the next batch; while single items wait, bulk items get only every fourth place."""
        batch: list[_Waiting[T, R]] = []
        single, bulk = self._single.waiting, self._bulk.waiting
        has_single = bool(single)
        weight = 0
        while weight < self._max_batch and (single or bulk):
            turn = self._num_taken % _BULK_TURN == _BULK_TURN - 1
            if has_single and batch and not single and not turn:
                break  # More bulk items in this batch would delay its single items.
            lane = self._bulk if bulk and (turn or not single) else self._single
            one = lane.waiting.popleft()
            lane.num_bytes -= one.size
            self._metrics.waits(-1)
            if not one.result.done():
                batch.append(one)
                weight += self._weight(one.item)
                self._num_taken += 1
        return batch

    async def _run(self, batch: list[_Waiting[T, R]]) -> Exception | None:
        loop = asyncio.get_running_loop()
        items, since_ns = [one.item for one in batch], [one.since_ns for one in batch]
        traced = [(one.span, one.since_ns) for one in batch if one.span is not None]
        try:
            if self._is_cheap(items):
                results = self._timed(items, since_ns, traced)
                await asyncio.sleep(0)  # Others have their turn before the next batch.
            else:
                run = partial(self._timed, items, since_ns, traced)
                results = await loop.run_in_executor(self._executor, run)
        except Exception as error:  # noqa: BLE001 - it belongs to the callers, who get it
            return error
        for one, result in zip(batch, results, strict=True):
            if not one.result.done():
                one.result.set_result(result)
        return None

    def _timed(
        self, items: list[T], since_ns: Sequence[int], traced: "Collection[tuple[Span, int]]"
    ) -> Sequence[R]:
        self._num_runs += 1
        is_measured = self._item_s >= self._on_loop_below_s or self._num_runs % _MEASURED == 0
        # Not the time on the clock: on a busy machine that says little of what an item costs.
        began = time.thread_time() if is_measured else 0.0
        with self._metrics.running(since_ns), tracing.batch(self._name, len(items), traced):
            results = self._run_batch(items)
        if len(results) != len(items):
            raise RuntimeError(f"{len(items)} items gave {len(results)} results")
        if is_measured:
            self._item_s += _WEIGHT * ((time.thread_time() - began) / len(items) - self._item_s)
        return results


def one_by_one(name: str, run: Callable[[T], R], max_queue: int) -> MicroBatcher[T, R]:
    """Return what runs items one at a time, beside the event loop."""
    return MicroBatcher(
        lambda items: [run(one) for one in items], name=name, max_batch=1, max_queue=max_queue
    )
