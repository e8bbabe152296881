"""Gives connections, and waits for a pooled connection when the server allows no new one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from groundswell.profile_service.store.signals import Signal


class Borrowing:
    """Waits for a connection of the pool to come back when no new one can be made.

    The pool tries to make a new connection while it has fewer than its size, even if the server
    allows no more. It is waited for as long as another transaction has a connection, or may still
    get one. Not thread-safe: use it on the event loop alone.
    """

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._num_hopeful = 0
        """Transactions that have a connection, or try to get one."""
        self._returned = Signal()

    @asynccontextmanager
    async def connect(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """Give a connection of the pool for a block.

        Raises OperationalError when no connection can be made and none comes back in `wait_s`.
        """
        async with AsyncExitStack() as stack:
            yield await self._connected(stack, engine)

    async def _connected(self, stack: AsyncExitStack, engine: AsyncEngine) -> AsyncConnection:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._wait_s
        while True:
            mark, borrowed = self._returned.mark, AsyncExitStack()
            self._num_hopeful += 1
            try:
                connection = await borrowed.enter_async_context(engine.connect())
            except OperationalError:
                self._num_hopeful -= 1
                can_wait = self._num_hopeful > 0 or mark.is_set()
                if not can_wait or loop.time() >= until_s:
                    self._returned.notify()  # the others may have waited for this one
                    raise
                await self._returned.wait(mark, until_s - loop.time())
                continue
            except BaseException:  # raised again: a cancelled call hopes for no connection
                self._give_back()
                raise
            stack.callback(self._give_back)  # after the connection is back in the pool
            await stack.enter_async_context(borrowed)
            return connection

    def _give_back(self) -> None:
        self._num_hopeful -= 1
        self._returned.notify()
