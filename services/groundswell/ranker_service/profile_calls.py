"""Asks the profile service for the profiles of one user or of many, with their seen items."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc

from groundswell.profile.v1.profile_service_pb2 import (
    BatchGetProfilesRequest,
    GetProfileRequest,
    Profile,
)
from groundswell.serving.telemetry import count

if TYPE_CHECKING:
    # What a stub over an aio channel is; it exists for type checkers alone.
    from groundswell.profile.v1.profile_service_pb2_grpc import ProfileServiceAsyncStub


async def ask_profiles(
    stub: "ProfileServiceAsyncStub",
    requests: Sequence[GetProfileRequest],
    timeout_s: float,
) -> Sequence[Profile]:
    """Return a profile per request, in their order. Raises AioRpcError."""
    if len(requests) == 1:
        return [(await stub.GetProfile(requests[0], timeout=timeout_s)).profile]
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    batch = BatchGetProfilesRequest(requests=requests)
    profiles = list((await stub.BatchGetProfiles(batch, timeout=timeout_s)).profiles)
    for place, request in enumerate(requests):
        if _lacks_seen(request, profiles[place]):
            # The lists of all users did not fit into one answer. If this call fails, the user's
            # answer says that the seen items are incomplete.
            try:
                answer = await stub.GetProfile(request, timeout=max(deadline - loop.time(), 0.0))
            except grpc.aio.AioRpcError:
                count("seen_items_lacking")
                break
            profiles[place] = answer.profile
    return profiles


def _lacks_seen(request: GetProfileRequest, profile: Profile) -> bool:
    """Whether an answer leaves out seen items that the caller does not hold."""
    seen = profile.seen
    held = (request.known_seen_version, request.known_seen_lineage)
    is_held = request.HasField("known_seen_version") and held == (seen.version, seen.lineage)
    return seen.version > 0 and not seen.included and not is_held
