"""The time that a call may take: its client's deadline, or a default where the client set none."""

import asyncio

from groundswell.serving.around import Context


def time_left_s(context: Context, default_s: float) -> float:
    """The seconds that a call has left; `default_s` when its client set no deadline."""
    remaining_s = context.time_remaining()
    return default_s if remaining_s is None else max(remaining_s, 0.0)


def call_timeout(context: Context, default_s: float) -> asyncio.Timeout:
    """A block that raises TimeoutError, which becomes DEADLINE_EXCEEDED, when the time is over."""
    return asyncio.timeout(time_left_s(context, default_s))
