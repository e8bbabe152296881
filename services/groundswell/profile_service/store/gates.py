"""Limits how many transactions run at once, and how long a call waits to start one."""

import asyncio
from collections.abc import Iterable
from contextlib import ExitStack
from typing import NamedTuple

from groundswell.serving.errors import ResourceExhausted
from groundswell.serving.telemetry import count

_RETRY_AFTER_S = 0.1


class Gate(NamedTuple):
    """Lets as many transactions through at once as there are permits."""

    permits: asyncio.Semaphore
    timeout_s: float
    """How long a caller waits here."""


async def enter(gates: Iterable[Gate]) -> ExitStack:
    """Take a permit of each gate, in their order; closing the result gives them back.

    A caller that is cancelled while it waits keeps none. Raises ResourceExhausted (OVERLOADED).
    """
    with ExitStack() as entered:
        for gate in gates:
            try:
                async with asyncio.timeout(gate.timeout_s):
                    await gate.permits.acquire()
            except TimeoutError as error:
                count("transactions_refused")
                raise ResourceExhausted(
                    "OVERLOADED",
                    "too many calls wait for the database; nothing was written",
                    retry_after_s=_RETRY_AFTER_S,
                ) from error
            entered.callback(gate.permits.release)
        return entered.pop_all()
