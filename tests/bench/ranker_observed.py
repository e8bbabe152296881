"""ranker.observed: Recommend with metrics and traces, against the same without any."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from groundswell.ranker.v1.ranker_service_pb2_grpc import RankerServiceStub
from groundswell.serving.channels import open_channel
from tests.bench.harness import OURS, THEIRS, Line, Side, calls_per_s
from tests.bench.ranker import REQUEST, started_ranker, upstreams
from tests.support.collector import collector, exporting
from tests.support.processes import free_port

_CALLERS = 8
_ALL = "every call"
_METRICS = "metrics"


def measure(folder: Path) -> list[Line]:
    """Measure with one of a hundred calls traced, with all, and with metrics alone."""
    with (
        upstreams(folder) as (bundle, profile, session),
        collector() as traces,
        ExitStack() as stack,
    ):
        served = {"GROUNDSWELL_METRICS_PORT": str(free_port())}
        made: dict[str, tuple[Mapping[str, str], str]] = {
            OURS: ({**served, **exporting(traces, 0.01)}, "groundswell.ranker_service"),
            THEIRS: ({}, "tests.bench.unobserved_ranker"),
            _ALL: (exporting(traces), "groundswell.ranker_service"),
            _METRICS: ({}, "groundswell.ranker_service"),
        }
        rankers = {
            side: stack.enter_context(started_ranker(folder, bundle, profile, session, *one))
            for side, one in made.items()
        }
        per_s = asyncio.run(_measure(rankers))
        if not traces.spans():
            raise RuntimeError("the ranker of the bench sends no traces")
    unit = f"× calls/s without metrics and traces at {_CALLERS}"
    bare = per_s[THEIRS]
    return [
        Line("ranker.observed.throughput", per_s[OURS] / bare, unit).at_least(0.9),
        Line("ranker.observed.metrics", per_s[_METRICS] / bare, f"{unit}, no traces"),
        Line("ranker.observed.all", per_s[_ALL] / bare, f"{unit}, every call traced"),
    ]


async def _measure(rankers: Mapping[str, str]) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        sides = {}
        for name, address in rankers.items():
            stub = RankerServiceStub(await stack.enter_async_context(open_channel(address)))
            sides[name] = Side(lambda stub=stub: stub.Recommend(REQUEST))  # type: ignore[misc]
        await calls_per_s(sides, _CALLERS)  # first calls are slower
        return await calls_per_s(sides, _CALLERS)
