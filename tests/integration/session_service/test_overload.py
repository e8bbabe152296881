"""Calls that would still wait at their deadline are refused at once, not left to time out."""

import asyncio
from typing import Any

import grpc
import pytest

from groundswell.client.errors import from_rpc_error
from groundswell.profile.v1.profile_service_pb2 import GetProfileRequest
from groundswell.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from groundswell.session.v1.session_service_pb2 import EncodeSessionRequest
from groundswell.session.v1.session_service_pb2_grpc import SessionServiceStub
from tests.support.suite import Suite

NUM_CALLS = 1000
DEADLINE_S = 0.25
MAX_BURSTS = 30
"""On a busy machine the calls of a burst may reach the service too late to meet there."""


@pytest.mark.parametrize("service", ["session", "profile"])
async def test_a_call_that_would_wait_past_its_deadline_is_refused_with_a_time_to_retry(
    suite: Suite, service: str
) -> None:
    async with grpc.aio.insecure_channel(getattr(suite.targets, service)) as channel:
        call: Any = SessionServiceStub(channel).EncodeSession
        request: Any = EncodeSessionRequest
        if service == "profile":
            call, request = ProfileServiceStub(channel).GetProfile, GetProfileRequest
        for n in range(20):
            await call(
                request(user_id=f"u{n}"), timeout=10.0
            )  # what a call costs is known from here on
        refused: list[Any] = []
        for burst in range(MAX_BURSTS):
            # Users who are not held: reads of held ones are answered as fast as one client can ask.
            requests = [request(user_id=f"burst-{burst}-{n}") for n in range(NUM_CALLS)]
            ends = await asyncio.gather(
                *(call(each, timeout=DEADLINE_S) for each in requests), return_exceptions=True
            )
            errors = [from_rpc_error(end) for end in ends if isinstance(end, grpc.RpcError)]
            refused = [error for error in errors if "take up its time" in str(error)]
            if refused:
                break
    assert refused
    for error in refused:
        assert error.reason == "OVERLOADED"
        assert error.retry_after_s is not None
        assert error.retry_after_s >= 0.1
