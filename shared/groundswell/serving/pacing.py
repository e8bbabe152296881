"""Delays the start of calls while the event loop is late, so that it can accept new ones."""

import asyncio
import time
from collections import deque

# So many calls keep the event loop and the services that it waits for busy.
_FEW = 8
_TICK_S = 0.001
# An event loop that is later than this is overloaded.
_MAX_LAG_S = 0.002


class Pacer:
    """Lets calls start in their order.

    gRPC accepts a call in several turns of the event loop. While hundreds of calls run, each turn
    is long, so new calls are accepted late and cannot be refused in time. Therefore more than
    a few calls start only while the loop is on time. Calls that wait for a slow service do not make
    it late. Not thread-safe: it belongs to the event loop.
    """

    def __init__(self) -> None:
        self._num_running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._ticking: asyncio.Task[None] | None = None

    def starts(self) -> bool:
        """Start a call if none waits and few run; else it has to wait for its `turn`.

        Call `end` after a started call, and only then.
        """
        if self._num_running >= _FEW or self._waiting:
            return False
        self._num_running += 1
        return True

    async def turn(self) -> None:
        """Wait until a call that could not start is started."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.create_task(self._tick())
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.end()
            raise

    def end(self) -> None:
        """Note that a started call has ended."""
        self._num_running -= 1
        if self._num_running < _FEW:
            self._start_next()

    async def _tick(self) -> None:
        while self._waiting:
            began = time.perf_counter()
            await asyncio.sleep(_TICK_S)
            if time.perf_counter() - began - _TICK_S < _MAX_LAG_S:
                for _ in range(_FEW):
                    self._start_next()

    def _start_next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self._num_running += 1
                turn.set_result(None)
                return
