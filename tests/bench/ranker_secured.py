"""ranker.secured: Recommend with mutual TLS, tokens and the audit log, against one without.

Both rankers stand over upstreams of fixed answers, which speak TLS on the secured side, too. What
these would spend on checking tokens and on their own audit lines is not in the figure.
"""

import asyncio
from pathlib import Path

from groundswell.cli.suite.door import LocalDoor, local_door
from groundswell.client.secured import open_aio_channel
from groundswell.ranker.v1.ranker_service_pb2_grpc import RankerServiceStub
from tests.bench.harness import OURS, THEIRS, Line, Side, compare_throughput
from tests.bench.ranker import REQUEST, started_ranker, upstreams


def measure(folder: Path) -> list[Line]:
    """Measure a user with both vectors, 60 seen items and no filter."""
    door = local_door(folder / "door")
    audit = {"GROUNDSWELL_AUDIT_LOG": str(folder / "audit.log")}
    secured, plain = folder / "secured", folder / "plain"
    for each in (secured, plain):
        each.mkdir()
    with (
        upstreams(secured, door=door) as services,
        started_ranker(secured, *services, audit, door=door) as behind,
        upstreams(plain) as open_services,
        started_ranker(plain, *open_services) as before,
    ):
        lines = asyncio.run(_measure(behind, before, door))
        if not (folder / "audit.log").stat().st_size:
            raise RuntimeError("the ranker of the bench writes no audit log")
        return lines


async def _measure(secured: str, plain: str, door: LocalDoor) -> list[Line]:
    behind = open_aio_channel(secured, (), door.tls, door.token)
    async with open_aio_channel(plain, ()) as before:
        sides = {}
        for name, channel in ((OURS, behind), (THEIRS, before)):
            stub = RankerServiceStub(channel)
            sides[name] = Side(lambda stub=stub: stub.Recommend(REQUEST))  # type: ignore[misc]
            for _ in range(200):
                await sides[name].call()
        throughput = await compare_throughput("ranker.secured", "plain", sides)
    await behind.close()
    return [throughput.at_least(0.75)]
