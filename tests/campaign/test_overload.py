"""Five times the load that the services can take: how many get a whole answer all the same.

Two kinds of callers are measured: those with the client, which throttles itself, and foreign ones,
which call stubs and never stop asking. The callers share the processors with the services, and the
machine may be busy with other things, so capacity and overload are measured in turns. The callers
of the two do not share a client: its throttle would see the calm phases too.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeAlias

import grpc
import numpy as np

from groundswell.cli.load.open_loop import open_loop
from groundswell.client import (
    AsyncGroundswellClient,
    GroundswellError,
    OverloadedError,
    event,
    recommend_request,
)
from groundswell.client.errors import from_rpc_error
from groundswell.ranker.v1.ranker_service_pb2 import Degradation, RecommendResponse
from groundswell.ranker.v1.ranker_service_pb2_grpc import RankerServiceStub
from tests.support.processes import cpu_s
from tests.support.suite import Suite

TIMES = 5
ROUNDS = 10
PHASE_S = 2.5
# What ends in the first moments of a phase is not counted: its queue is shorter than later.
WARM_UP_S = 0.5
TIMEOUT_S = 1.0
# How many closed-loop callers are tried: the number that gets most answers measures the capacity.
NUM_CALLERS = (8, 16, 32, 64)
# Measured on two cores that eight other jobs shared: of the processor time .87 to .99 with the
# client and .77 to 1 with stubs; of the answers a second .53 to 1, and .83 to 1.
MIN_CPU_SHARE = {"client": 0.75, "stub": 0.6}
MIN_GOODPUT_SHARE = {"client": 0.4, "stub": 0.5}
LOST = {
    Degradation.DEGRADATION_PROFILE_UNAVAILABLE,
    Degradation.DEGRADATION_SESSION_UNAVAILABLE,
    Degradation.DEGRADATION_PROFILE_STALE,
    Degradation.DEGRADATION_SESSION_STALE,
    Degradation.DEGRADATION_POPULARITY_FALLBACK,
}

Ask: TypeAlias = Callable[[], Awaitable[RecommendResponse]]
"""Makes one call. Raises GroundswellError."""
Opened: TypeAlias = Callable[[Suite], AbstractAsyncContextManager[Ask]]


class Load:
    """What became of calls in some phases of a few seconds, and the processor time that they took.

    Whole answers a second depend on what else runs on the machine, processor time hardly does.
    """

    def __init__(self, processes: Sequence[int]) -> None:
        self.outcomes: Counter[str] = Counter()
        self.refused_s: list[float] = []
        """How long each refusal of the service took."""
        self._processes = processes
        self._num_whole = 0
        """Also those that are not counted as outcomes."""
        self._cpu_s = 0.0
        self._seconds = 0.0
        self._began = 0.0

    @contextmanager
    def phase(self) -> Iterator[None]:
        """Measure; calls are counted that end after the warm-up and before the end."""
        self._cpu_s -= sum(map(cpu_s, self._processes))
        self._began = time.perf_counter()
        yield
        self._cpu_s += sum(map(cpu_s, self._processes))
        self._seconds += PHASE_S

    @property
    def passed_s(self) -> float:
        """The seconds since the phase began."""
        return time.perf_counter() - self._began

    @property
    def is_over(self) -> bool:
        """Whether no call of the phase is made any more."""
        return self.passed_s >= WARM_UP_S + PHASE_S

    @property
    def goodput(self) -> float:
        """Whole answers a second."""
        return self.outcomes["whole"] / self._seconds

    @property
    def cpu_ms(self) -> float:
        """Processor time of all processes for each whole answer."""
        return 1000 * self._cpu_s / self._num_whole

    async def call(self, ask: Ask) -> None:
        """Make one call."""
        began = time.perf_counter()
        outcome = await _outcome(ask)
        self._num_whole += outcome == "whole"
        if WARM_UP_S <= self.passed_s < WARM_UP_S + PHASE_S:
            self.outcomes[outcome] += 1
            if outcome == "refused":
                self.refused_s.append(time.perf_counter() - began)


async def _outcome(ask: Ask) -> str:
    try:
        answer = await ask()
    except OverloadedError as error:
        return "refused by the client" if error.is_local else "refused"
    except GroundswellError as error:
        return error.status.name
    return "less" if LOST & set(answer.degradations) else "whole"


async def _at_capacity(load: Load, ask: Ask, num_callers: int) -> float:
    """Let callers wait for each answer before they ask again; return whole answers a second."""
    before = load.outcomes["whole"]

    async def caller() -> None:
        while not load.is_over:
            await load.call(ask)

    with load.phase():
        await asyncio.gather(*(caller() for _ in range(num_callers)))
    return (load.outcomes["whole"] - before) / PHASE_S


async def _overloaded(load: Load, ask: Ask, rate: float) -> None:
    """Make calls at a rate, whatever became of those before."""
    with load.phase():
        await open_loop(lambda _: load.call(ask), rate, WARM_UP_S + PHASE_S)


def test_at_five_times_the_load_whole_answers_go_on_and_others_are_refused(
    tmp_path: Path, bundles: Path
) -> None:
    with Suite(tmp_path, bundles) as suite:
        suite.fill()
        suite.client.record_events([event("ann", f"item-{n % 8}", "click") for n in range(30)])
        suite.refresh()
        measured = {
            "client": asyncio.run(_measure(suite, _client)),
            "stub": asyncio.run(_measure(suite, _stub)),
        }
    for kind, (calm, overloaded) in measured.items():
        sys.stdout.write(_table(kind, calm, overloaded))
    for kind, (calm, overloaded) in measured.items():
        assert calm.cpu_ms >= MIN_CPU_SHARE[kind] * overloaded.cpu_ms
        assert overloaded.goodput >= MIN_GOODPUT_SHARE[kind] * calm.goodput
        # Few calls that are not refused get less than a whole answer, or none in time.
        outcomes = overloaded.outcomes
        assert outcomes["refused"] > 0
        assert outcomes["less"] + outcomes["DEADLINE_EXCEEDED"] <= 0.1 * outcomes.total()
    assert measured["client"][1].outcomes["refused by the client"] > 0


async def _measure(suite: Suite, opened: Opened) -> tuple[Load, Load]:
    """The load at capacity, and at five times the capacity."""
    processes = [os.getpid(), *(one.popen.pid for one in suite.processes.values())]
    calm, overloaded = Load(processes), Load(processes)
    async with opened(suite) as ask, opened(suite) as ask_eagerly:
        tried = {n: await _at_capacity(Load(processes), ask, n) for n in NUM_CALLERS}
        num_callers = max(tried, key=tried.__getitem__)
        for _ in range(ROUNDS):
            capacity = await _at_capacity(calm, ask, num_callers)
            await _overloaded(overloaded, ask_eagerly, TIMES * capacity)
    return calm, overloaded


@asynccontextmanager
async def _client(suite: Suite) -> AsyncIterator[Ask]:
    """Callers with the client, as a backend has it."""
    async with AsyncGroundswellClient(suite.targets) as client:
        yield lambda: client.recommend("ann", timeout=TIMEOUT_S)


@asynccontextmanager
async def _stub(suite: Suite) -> AsyncIterator[Ask]:
    """Foreign callers: a stub over a channel without any options."""
    async with grpc.aio.insecure_channel(suite.targets.ranker) as channel:
        stub = RankerServiceStub(channel)
        request = recommend_request("ann")

        async def ask() -> RecommendResponse:
            try:
                return await stub.Recommend(request, timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error) from error

        yield ask


def _table(kind: str, calm: Load, overloaded: Load) -> str:
    outcomes = overloaded.outcomes
    offered = overloaded.goodput * outcomes.total() / outcomes["whole"]
    lines = (
        f"{kind}: capacity {calm.goodput:.0f}/s, offered {offered:.0f}/s, whole "
        f"{overloaded.goodput:.0f}/s = {overloaded.goodput / calm.goodput:.2f} of the capacity",
        f"  processor time of a whole answer {calm.cpu_ms:.2f} ms, overloaded "
        f"{overloaded.cpu_ms:.2f} ms = {calm.cpu_ms / overloaded.cpu_ms:.2f} of the capacity",
        f"  {dict(outcomes)}, refused after "
        f"{np.percentile(overloaded.refused_s, [50, 99]).round(4)} s",
    )
    return "\n".join(lines) + "\n"
