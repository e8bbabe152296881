"""session.record: RecordEvents of one event, durable, against an empty call and the disk."""

import asyncio
import os
from itertools import count, cycle
from pathlib import Path

import numpy as np

from groundswell.client import event
from groundswell.serving.channels import open_channel
from groundswell.session.v1.session_service_pb2 import RecordEventsRequest
from groundswell.session.v1.session_service_pb2_grpc import SessionServiceStub
from tests.bench.deployment import canned
from tests.bench.harness import OURS, THEIRS, Line, Side, calls_per_s, latencies
from tests.bench.stores import KINDS, NUM_USERS, item_ids, suite_over

_CALLERS = 32
_CALLS = 200
_TIMEOUT_S = 10.0
_PAGE = b"\0" * 4096
_MIN_SHARE = 0.25
_MAX_ALONE = 3.0
_METHOD = "/groundswell.session.v1.SessionService/RecordEvents"


def measure(folder: Path) -> list[Line]:
    """Measure one event a call, by many callers at once and by one alone, over both databases."""
    lines = []
    for kind in KINDS:
        with suite_over(kind, folder, ("profile", "session")) as suite:
            lines += asyncio.run(_measure(kind, suite.targets.session, folder))
    return lines


async def _measure(kind: str, address: str, folder: Path) -> list[Line]:
    numbers, items = count(), cycle(item_ids())

    def request() -> RecordEventsRequest:
        user = f"user-{next(numbers) % NUM_USERS}"
        return RecordEventsRequest(events=[event(user, next(items), "view")])

    async with open_channel(address) as channel:
        ours = SessionServiceStub(channel)
        answer = await ours.RecordEvents(request())
        with canned(folder, {_METHOD: answer}) as echo:
            async with open_channel(echo) as echo_channel:
                theirs = SessionServiceStub(echo_channel)
                sides = {
                    OURS: Side(lambda: ours.RecordEvents(request(), timeout=_TIMEOUT_S)),
                    THEIRS: Side(lambda: theirs.RecordEvents(request(), timeout=_TIMEOUT_S)),
                }
                return await _lines(f"session.record.{kind}", sides, folder)


async def _lines(name: str, sides: dict[str, Side], folder: Path) -> list[Line]:
    per_s = await calls_per_s(sides, _CALLERS)
    share = per_s[OURS] / per_s[THEIRS]
    file = os.open(folder / "synced", os.O_CREAT | os.O_WRONLY)

    async def sync() -> None:
        os.write(file, _PAGE)
        os.fdatasync(file)

    times = await latencies({**sides, "disk": Side(sync)}, _CALLS)
    os.close(file)
    p50 = {key: float(np.percentile(values, 50)) for key, values in times.items()}
    alone = p50[OURS] / (p50[THEIRS] + p50["disk"])
    where = f"ms, where echo takes {p50[THEIRS]:.3f} and the disk {p50['disk']:.3f}"
    return [
        Line(
            f"{name}.throughput",
            share,
            f"× echo's calls/s at {_CALLERS}",
            _MIN_SHARE,
            share >= _MIN_SHARE,
        ),
        Line(f"{name}.rate", per_s[OURS], f"events/s, where echo has {per_s[THEIRS]:.0f}"),
        Line(name, alone, "× (echo + a write to the disk)", _MAX_ALONE, alone <= _MAX_ALONE),
        Line(f"{name}.p50_ms", p50[OURS], where),
    ]
