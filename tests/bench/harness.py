"""How the bench measures: two sides in one run, interleaved, so that a busy machine hits both."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

OURS, THEIRS = "ours", "theirs"

_WARM_UP_CALLS = 200
_CONCURRENCY = 8
_SLICES = 24
_SLICE_S = 0.25


@dataclass(frozen=True)
class Line:
    """One line of the report; a ratio wherever that can be."""

    name: str
    value: float
    unit: str
    target: float | None = None
    """What is asked; None where nothing is asked yet."""
    holds: bool | None = None
    """Whether the value meets the target; None without one."""

    def at_most(self, target: float) -> "Line":
        """Return the line with a target that the value must not exceed."""
        return replace(self, target=target, holds=bool(self.value <= target))

    def at_least(self, target: float) -> "Line":
        """Return the line with a target that the value must reach."""
        return replace(self, target=target, holds=bool(self.value >= target))


@dataclass(frozen=True)
class Side:
    """One of the two things that are compared."""

    call: Callable[[], Awaitable[object]]
    """What is timed."""
    prepare: Callable[[], Awaitable[object]] | None = None
    """What must happen before each call, outside its time."""


async def compare(name: str, against: str, sides: Mapping[str, Side], calls: int) -> list[Line]:
    """Time both sides one call at a time, in turns; OURS and THEIRS are the keys of `sides`."""
    times = await latencies(sides, calls)
    lines = []
    for suffix, percent in (("", 50), (".p99", 99)):
        ours_ms, theirs_ms = (float(np.percentile(times[s], percent)) for s in (OURS, THEIRS))
        lines.append(Line(f"{name}{suffix}", ours_ms / theirs_ms, f"× {against}"))
        label = f"{name}.p{percent}_ms"
        lines.append(Line(label, ours_ms, f"ms, where {against} takes {theirs_ms:.3f}"))
    return lines


async def compare_throughput(
    name: str, against: str, sides: Mapping[str, Side], *, callers: int = _CONCURRENCY
) -> Line:
    """Count the calls of both sides in short alternating slices."""
    per_s = await calls_per_s(sides, callers)
    unit = f"× {against}'s calls/s at {callers}"
    return Line(f"{name}.throughput", per_s[OURS] / per_s[THEIRS], unit)


async def calls_per_s(sides: Mapping[str, Side], callers: int) -> dict[str, float]:
    """Count the calls a second of each side, in short alternating slices."""
    done, took_s = dict.fromkeys(sides, 0), dict.fromkeys(sides, 0.0)
    for _ in range(_SLICES):
        for key, side in sides.items():
            started = time.perf_counter()
            done[key] += await _calls_in(side, _SLICE_S, callers)
            took_s[key] += time.perf_counter() - started
    return {key: done[key] / took_s[key] for key in sides}


async def latencies(sides: Mapping[str, Side], calls: int) -> dict[str, NDArray[np.float64]]:
    """Return the milliseconds of each call of each side."""
    times: dict[str, list[float]] = {key: [] for key in sides}
    order: Sequence[str] = list(sides)
    for number in range(_WARM_UP_CALLS + calls):
        # Turned around every time, so that neither side always follows the other.
        order = order[::-1]
        for key in order:
            side = sides[key]
            if side.prepare is not None:
                await side.prepare()
            started = time.perf_counter()
            await side.call()
            took_s = time.perf_counter() - started
            if number >= _WARM_UP_CALLS:
                times[key].append(took_s * 1e3)
    return {key: np.array(values) for key, values in times.items()}


async def _calls_in(side: Side, seconds: float, callers: int) -> int:
    until = time.perf_counter() + seconds
    done = 0

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await side.call()
            done += 1

    await asyncio.gather(*(caller() for _ in range(callers)))
    return done
