"""session.overload: five times the load that EncodeSession can take, against its own capacity."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import grpc
import numpy as np

from groundswell.cli.load.open_loop import open_loop
from groundswell.client import (
    AsyncGroundswellClient,
    GroundswellError,
    OverloadedError,
    Targets,
    event,
)
from groundswell.common.v1.event_pb2 import Event, InlineEvents
from groundswell.session.v1.session_service_pb2 import EncodeSessionRequest
from tests.bench.deployment import Deployment, deployed
from tests.bench.harness import Line

_METHOD = "/groundswell.session.v1.SessionService/EncodeSession"
_REFUSALS = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED)
"""gRPC itself cancels calls while too many wait to be accepted."""
_TIMES = 5
_OVERLOAD_S = 30.0
_CALM_S = 5.0
_CALLERS = (8, 16, 32)
_TIMEOUT_S = 1.0
_NUM_INLINE = 50
_MIN_GOODPUT, _MAX_REFUSAL_MS, _MAX_RECOVERY_S = 0.9, 5.0, 5.0
_USUAL = 2.0
"""A call takes as long as usual when it takes at most so many times the calm median."""
_IN_A_ROW = 20

_Ask: TypeAlias = Callable[[], Awaitable[object]]
"""Makes one call. Raises GroundswellError or AioRpcError."""
_Opened: TypeAlias = Callable[[Deployment], AbstractAsyncContextManager[_Ask]]


def measure(folder: Path) -> list[Line]:
    """Measure callers with the client, which throttles itself, and callers that never do."""
    with deployed(folder) as deployment:
        return [
            *asyncio.run(_measure("session.overload", deployment, _client)),
            *asyncio.run(_measure("session.overload.foreign", deployment, _foreign)),
        ]


class _Load:
    """What became of calls, and how long they took."""

    def __init__(self, ask: _Ask) -> None:
        self.outcomes: Counter[str] = Counter()
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._ask = ask

    async def call(self) -> None:
        """Make one call."""
        began = time.perf_counter()
        outcome = "answered"
        try:
            await self._ask()
        except OverloadedError as error:
            outcome = "refused by the client" if error.is_local else "refused"
        except GroundswellError as error:
            outcome = error.status.name
        except grpc.aio.AioRpcError as error:
            outcome = "refused" if error.code() in _REFUSALS else error.code().name
        self.outcomes[outcome] += 1
        self.seconds[outcome].append(time.perf_counter() - began)


async def _measure(name: str, deployment: Deployment, opened: _Opened) -> list[Line]:
    async with opened(deployment) as ask, opened(deployment) as ask_eagerly:
        before = await _capacity(ask)
        usual_s = await _alone_s(ask)
        load = _Load(ask_eagerly)
        await open_loop(lambda _: load.call(), _TIMES * before, _OVERLOAD_S)
        recovery_s = await _recovery_s(ask, usual_s)
        after = await _capacity(ask)
    capacity = (before + after) / 2
    goodput = load.outcomes["answered"] / _OVERLOAD_S
    offered = f"{load.outcomes.total() / _OVERLOAD_S:.0f} calls/s offered"
    what = f"{capacity:.0f} answers/s at capacity; {offered}: {dict(load.outcomes)}"
    refused_s = load.seconds["refused"] or [0.0]
    refusal_ms = 1e3 * float(np.percentile(refused_s, 99))
    return [
        Line(name, goodput / capacity, f"× {what}").at_least(_MIN_GOODPUT),
        Line(f"{name}.refusal", refusal_ms, "ms, p99").at_most(_MAX_REFUSAL_MS),
        Line(f"{name}.recovery", recovery_s, "s until usual").at_most(_MAX_RECOVERY_S),
    ]


async def _capacity(ask: _Ask) -> float:
    """Return the answers a second at the number of callers that gets most."""
    return max([await _answers_per_s(ask, callers) for callers in _CALLERS])


async def _answers_per_s(ask: _Ask, callers: int) -> float:
    load, until = _Load(ask), time.perf_counter() + _CALM_S

    async def caller() -> None:
        while time.perf_counter() < until:
            await load.call()

    await asyncio.gather(*(caller() for _ in range(callers)))
    return load.outcomes["answered"] / _CALM_S


async def _alone_s(ask: _Ask) -> float:
    """Return the median seconds of calls, one at a time; those that were not answered count too."""
    load = _Load(ask)
    for _ in range(_IN_A_ROW):
        await load.call()
    return float(np.median(load.seconds["answered"] or [_TIMEOUT_S]))


async def _recovery_s(ask: _Ask, usual_s: float) -> float:
    """Return after how long calls, one at a time, take no longer than usual."""
    began = time.perf_counter()
    while time.perf_counter() - began < 4 * _MAX_RECOVERY_S:
        if await _alone_s(ask) <= _USUAL * usual_s:
            break
    return time.perf_counter() - began


@asynccontextmanager
async def _client(deployment: Deployment) -> AsyncIterator[_Ask]:
    """Callers with the client, as a backend has it."""
    events = _visit(deployment)
    async with AsyncGroundswellClient(Targets(session=deployment.session)) as client:
        yield lambda: client.encode_session(events=events, timeout=_TIMEOUT_S)


@asynccontextmanager
async def _foreign(deployment: Deployment) -> AsyncIterator[_Ask]:
    """Foreign callers, which never stop asking: bytes over a channel without any options.

    They are cheap, so that the callers, which share the machine, take little from the service.
    """
    visit = InlineEvents(events=_visit(deployment))
    request = EncodeSessionRequest(inline_events=visit).SerializeToString()
    async with grpc.aio.insecure_channel(deployment.session) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_METHOD)

        async def ask() -> object:
            return await call(request, timeout=_TIMEOUT_S)

        yield ask


def _visit(deployment: Deployment) -> list[Event]:
    """Give the inline events of a visitor: they are encoded anew by each call."""
    return [event("", item_id, "view") for item_id, _, _ in deployment.world.items[:_NUM_INLINE]]
