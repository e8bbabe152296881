"""Measures by how much the event loop is late, twice a second."""

import asyncio

from groundswell.serving.telemetry import histogram

_EVERY_S = 0.5


async def measure_loop_lag() -> None:
    """Sleep again and again, and observe by how much each sleep was too long."""
    loop, lag = asyncio.get_running_loop(), histogram("event_loop_lag_seconds")
    while True:
        due_s = loop.time() + _EVERY_S
        await asyncio.sleep(_EVERY_S)
        lag.observe(max(loop.time() - due_s, 0.0))
