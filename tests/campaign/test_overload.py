"""Five times the load that the services can take: how many get a whole answer all the same."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from groundswell.client import AsyncGroundswellClient, GroundswellError, Targets, event
from groundswell.ranker.v1.ranker_service_pb2 import Degradation
from tests.support.suite import Suite

_CALLERS = 16
_CAPACITY_S = 10.0
_OVERLOAD_S = 30.0
_TIMES = 5
# What the callers' own processor time takes away from the services, on the same two cores.
_MIN_SHARE = 0.5
_LOST = {
    Degradation.DEGRADATION_PROFILE_UNAVAILABLE,
    Degradation.DEGRADATION_SESSION_UNAVAILABLE,
    Degradation.DEGRADATION_POPULARITY_FALLBACK,
}


def test_at_five_times_the_load_whole_answers_go_on_and_others_are_refused(
    tmp_path: Path, bundles: Path
) -> None:
    with Suite(tmp_path, bundles) as suite:
        suite.fill()
        suite.client.record_events([event("ann", f"item-{n % 8}", "click") for n in range(30)])
        suite.refresh()
        capacity, outcomes, refused_s = asyncio.run(_measure(suite.targets))
    total = sum(outcomes.values())
    goodput = outcomes["whole"] / _OVERLOAD_S
    lines = (
        f"capacity {capacity:.0f}/s, offered {total / _OVERLOAD_S:.0f}/s, whole {goodput:.0f}/s",
        f"{dict(outcomes)}, refused after {np.percentile(refused_s, [50, 99])} s",
    )
    sys.stdout.write("\n".join(lines) + "\n")
    assert goodput >= _MIN_SHARE * capacity
    # An answer that is refused is refused early; few get less than a whole one, or none in time.
    assert outcomes["refused"] > 0
    assert outcomes["less"] + outcomes["late"] <= 0.1 * total


async def _measure(targets: Targets) -> tuple[float, Counter[str], list[float]]:
    refused_s: list[float] = []
    async with AsyncGroundswellClient(targets) as client:

        async def call() -> str:
            began = time.perf_counter()
            try:
                answer = await client.recommend("ann", timeout=1.0)
            except GroundswellError as error:
                if error.status is grpc.StatusCode.DEADLINE_EXCEEDED:
                    return "late"
                refused_s.append(time.perf_counter() - began)
                return "refused" if error.reason == "OVERLOADED" else error.status.name
            return "less" if _LOST & set(answer.degradations) else "whole"

        capacity = await _closed(call)
        refused_s.clear()
        return capacity, await _open(call, _TIMES * capacity), refused_s


async def _closed(call: Callable[[], Coroutine[Any, Any, str]]) -> float:
    """Whole answers a second for callers that wait for each."""
    until = time.perf_counter() + _CAPACITY_S
    outcomes: Counter[str] = Counter()

    async def caller() -> None:
        while time.perf_counter() < until:
            outcomes[await call()] += 1

    await asyncio.gather(*(caller() for _ in range(_CALLERS)))
    return outcomes["whole"] / _CAPACITY_S


async def _open(call: Callable[[], Coroutine[Any, Any, str]], rate: float) -> Counter[str]:
    """What becomes of calls that come at a rate, whatever became of those before."""
    tasks: list[asyncio.Task[str]] = []
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < _OVERLOAD_S:
        while len(tasks) < passed * rate:
            tasks.append(asyncio.create_task(call()))
        await asyncio.sleep(0.002)
    return Counter(await asyncio.gather(*tasks))
