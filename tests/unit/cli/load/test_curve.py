"""A load of fakes: calls start when they are due, and the curve ends where too few are in time."""

import asyncio
import json
import time
from collections.abc import Sequence

import grpc
import pytest

from groundswell.cli.load.curve import ANSWERED, LATE, LoadPlan, measure, report
from groundswell.cli.load.open_loop import open_loop
from groundswell.client import GroundswellError


async def test_calls_are_due_at_a_constant_rate_whatever_they_take() -> None:
    began, dues = time.perf_counter(), list[float]()

    async def call(due: float) -> None:
        dues.append(due - began)
        if len(dues) == 1:
            time.sleep(0.3)  # noqa: ASYNC251 - the driver itself is busy
        await asyncio.sleep(0.1)

    await open_loop(call, rate=50, seconds=0.4)
    assert dues == pytest.approx([n / 50 for n in range(20)], abs=0.05)


async def test_a_latency_counts_from_when_the_call_was_due_not_from_when_it_started() -> None:
    calls = 0

    async def ask() -> Sequence[str]:
        nonlocal calls
        calls += 1
        if calls == 1:
            time.sleep(0.3)  # noqa: ASYNC251 - the driver itself is busy
        return ()

    plan = LoadPlan(rate=50, max_rate=50, step_s=0.4, warm_up_s=0, deadline_s=0.2)
    (step,) = await measure(ask, plan, lambda _: None)
    assert step.latency_ms["max"] >= 300
    # Those that were due in the first tenth of a second.
    assert step.outcomes[LATE] >= 4
    assert sum(step.outcomes.values()) == 20


async def test_the_last_step_is_the_first_one_that_is_too_much() -> None:
    """A service that answers 100 calls a second, and refuses those that would wait."""
    free_at = 0.0

    async def ask() -> Sequence[str]:
        nonlocal free_at
        now = time.perf_counter()
        if free_at > now + 0.05:
            raise GroundswellError(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", reason="OVERLOADED")
        free_at = max(now, free_at) + 0.01
        await asyncio.sleep(free_at - now)
        return ["PROFILE_STALE"]

    plan = LoadPlan(rate=25, growth=4, step_s=1, warm_up_s=0.1, max_rate=10_000)
    told = list[int]()
    steps = await measure(ask, plan, told.append)
    last = steps[-1]
    assert last.is_saturated
    assert last.rate in (100, 400)
    assert last.outcomes["RESOURCE_EXHAUSTED OVERLOADED"] > 0
    assert last.degradations == {"PROFILE_STALE": last.outcomes[ANSWERED]}
    assert steps[0].outcomes == {ANSWERED: 25}
    assert told == sorted(told)


async def test_a_step_without_an_answer_has_no_latencies() -> None:
    async def refuse() -> Sequence[str]:
        raise GroundswellError(grpc.StatusCode.UNAVAILABLE, "gone")

    plan = LoadPlan(rate=20, growth=2, step_s=0.2, warm_up_s=0)
    steps = await measure(refuse, plan, lambda _: None)
    assert [step.latency_ms for step in steps] == [{}]
    assert "NaN" not in json.dumps(report(steps, plan, mix={"recommend": 1.0}))


def test_a_plan_ends_before_its_time_and_its_rate() -> None:
    plan = LoadPlan(rate=10, growth=2, step_s=10, warm_up_s=5, max_s=36)
    assert plan.rates() == [10, 20, 40]
    assert LoadPlan(rate=10, growth=2, max_rate=30).rates() == [10, 20]
