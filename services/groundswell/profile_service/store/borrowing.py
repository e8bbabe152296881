"""Gives connections, and waits for a pooled connection when the server allows no new one."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.util import await_only

from groundswell.profile_service.store.signals import Signal


class Borrowing:
    """Waits for a connection of the pool to come back when no new one can be made.

    The pool tries to make a new connection while it has fewer than its size, even if the server
    allows no more. It is waited for as long as another transaction has a connection, or may still
    get one. Not thread-safe: use it on the event loop alone, in a function that SQLAlchemy's
    `greenlet_spawn` runs.
    """

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._num_hopeful = 0
        """Transactions that have a connection, or try to get one."""
        self._returned = Signal()

    @contextmanager
    def connect(self, engine: Engine) -> Iterator[Connection]:
        """Give a connection of the pool for a block.

        Raises OperationalError when no connection can be made and none comes back in `wait_s`.
        """
        connection = self._connected(engine)
        try:
            with connection:
                yield connection
        finally:
            self._give_back()  # after the connection is back in the pool

    def _connected(self, engine: Engine) -> Connection:
        until_s = time.monotonic() + self._wait_s
        while True:
            mark = self._returned.mark
            self._num_hopeful += 1
            try:
                return engine.connect()
            except OperationalError:
                self._num_hopeful -= 1
                can_wait = self._num_hopeful > 0 or mark.is_set()
                left_s = until_s - time.monotonic()
                if not can_wait or left_s <= 0:
                    self._returned.notify()  # the others may have waited for this one
                    raise
                await_only(self._returned.wait(mark, left_s))
            except BaseException:  # raised again: a cancelled call hopes for no connection
                self._give_back()
                raise

    def _give_back(self) -> None:
        self._num_hopeful -= 1
        self._returned.notify()
