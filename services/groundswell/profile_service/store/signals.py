"""Signals inside the process: to the worker that there is work, to watchers of the catalogue."""

import asyncio


class Signal:
    """Tells every waiter that something changed since it last looked.

    Take `mark` before looking; `wait` returns at once when something changed after that.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def mark(self) -> asyncio.Event:
        """The argument of `wait`: take it before you look."""
        return self._event

    def notify(self) -> None:
        """Wake everyone."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, mark: asyncio.Event, timeout_s: float) -> None:
        """Return on the next change after the mark was taken, or after a while."""
        try:
            async with asyncio.timeout(timeout_s):
                await mark.wait()
        except TimeoutError:
            return


class Signals:
    """The signals of one process. Changes by other processes are found by polling."""

    def __init__(self) -> None:
        self.work = Signal()
        """Something became stale: the worker has to look."""
        self.catalogue = Signal()
        """The catalogue's revision moved: watchers have to look."""
