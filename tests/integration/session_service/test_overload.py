"""Calls that would still wait at their deadline are refused at once, not left to time out."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from groundswell.client.errors import from_rpc_error
from groundswell.profile.v1.profile_service_pb2 import GetProfileRequest
from groundswell.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from groundswell.session.v1.session_service_pb2 import EncodeSessionRequest
from groundswell.session.v1.session_service_pb2_grpc import SessionServiceStub
from tests.support.postgres import Postgres
from tests.support.suite import Suite

NUM_WAITING = 200
HOLD_S = 5.0
DEADLINES_S = [0.02 * n for n in range(1, 16)] * 5
"""Of the calls that come while so many wait: some are over before their turn comes, some too long
to be refused."""


async def refused(call: Any, request: Any) -> list[Any]:
    """Let calls wait for what does not answer, make others, and return the errors of overload."""
    held = [call(request(user_id=f"held-{n}"), timeout=HOLD_S) for n in range(NUM_WAITING)]
    await asyncio.sleep(0.2)
    late = [call(request(user_id=f"late-{n}"), timeout=t) for n, t in enumerate(DEADLINES_S)]
    ends = await asyncio.gather(*late, return_exceptions=True)
    for one in held:
        one.cancel()
    errors = [from_rpc_error(end) for end in ends if isinstance(end, grpc.RpcError)]
    return [error for error in errors if "take up its time" in str(error)]


def assert_tells_when_to_retry(errors: list[Any]) -> None:
    assert errors
    for error in errors:
        assert error.reason == "OVERLOADED"
        assert error.retry_after_s is not None
        assert error.retry_after_s >= 0.1


@contextmanager
def hanging(suite: Suite) -> Iterator[None]:
    """The profile service of a suite hangs."""
    suite.profile.popen.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        suite.profile.popen.send_signal(signal.SIGCONT)


async def test_a_session_service_refuses_a_call_that_would_wait_past_its_deadline(
    suite: Suite,
) -> None:
    async with grpc.aio.insecure_channel(suite.targets.session) as channel:
        call: Any = SessionServiceStub(channel).EncodeSession
        for n in range(20):  # what a call costs is known from here on
            await call(EncodeSessionRequest(user_id=f"u{n}"), timeout=10.0)
        with hanging(suite):
            errors = await refused(call, EncodeSessionRequest)
    assert_tells_when_to_retry(errors)


async def test_a_profile_service_refuses_a_call_that_would_wait_past_its_deadline(
    server: Postgres, bundles: Path, tmp_path: Path
) -> None:
    with Suite(tmp_path, bundles, ("profile",), database_url=server.new_database()) as suite:
        async with grpc.aio.insecure_channel(suite.targets.profile) as channel:
            call: Any = ProfileServiceStub(channel).GetProfile
            for n in range(20):
                await call(GetProfileRequest(user_id=f"u{n}"), timeout=10.0)
            with server.paused():
                errors = await refused(call, GetProfileRequest)
    assert_tells_when_to_retry(errors)
