"""profile.get: GetProfile of a user who is held against an empty call of the same payload."""

import asyncio
from pathlib import Path

from groundswell.profile.v1.profile_service_pb2 import GetProfileRequest
from groundswell.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from groundswell.serving.channels import open_channel
from tests.bench.deployment import Deployment, canned, deployed
from tests.bench.harness import OURS, THEIRS, Line, Side, compare, compare_throughput
from tests.bench.world import USER

_CALLS = 2_000
_METHOD = "/groundswell.profile.v1.ProfileService/GetProfile"


def measure(folder: Path) -> list[Line]:
    """Measure the call as the ranker makes it: it holds the user's seen items already."""
    with deployed(folder) as deployment:
        return asyncio.run(_measure(deployment, folder))


async def _measure(deployment: Deployment, folder: Path) -> list[Line]:
    async with open_channel(deployment.profile) as channel:
        ours = ProfileServiceStub(channel)
        first = await ours.GetProfile(GetProfileRequest(user_id=USER))
        seen = first.profile.seen
        request = GetProfileRequest(
            user_id=USER, known_seen_version=seen.version, known_seen_lineage=seen.lineage
        )
        answer = await ours.GetProfile(request)
        if answer.profile.stale or not answer.profile.vector.values:
            raise RuntimeError("the user of the bench has no profile")
        with canned(folder, {_METHOD: answer}) as echo:
            async with open_channel(echo) as echo_channel:
                theirs = ProfileServiceStub(echo_channel)
                sides = {
                    OURS: Side(lambda: ours.GetProfile(request)),
                    THEIRS: Side(lambda: theirs.GetProfile(request)),
                }
                p50, *lines = await compare("profile.get", "echo", sides, _CALLS)
                throughput = await compare_throughput("profile.get", "echo", sides)
                return [p50.at_most(1.5), *lines, throughput.at_least(0.6)]
