"""Both clients spare a service that refuses most calls, and leave the other services alone."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from groundswell.client import (
    AsyncGroundswellClient,
    GroundswellClient,
    GroundswellError,
    OverloadedError,
    Targets,
)
from groundswell.serving.admission import DeadlineAdmission
from groundswell.serving.calls import Calls
from groundswell.serving.errors import ResourceExhausted
from groundswell.serving.server import server_options
from tests.support.recorder import Recorders, failing

BUSY = ResourceExhausted("OVERLOADED", "busy", retry_after_s=0.7)
NUM_CALLS = 200
SERVICE = "groundswell.ranker.v1.RankerService"


def test_a_service_that_refuses_is_sent_few_calls_and_others_all(
    client: Any, suite: Recorders
) -> None:
    suite.ranker.answers["Recommend"] = failing(BUSY)
    refused = outcomes(client)
    assert refused["local"] > NUM_CALLS / 2
    assert len(suite.ranker.asked("Recommend")) < NUM_CALLS / 2
    for _ in range(20):
        client.encode_session("anna")
        client.get_profile("anna")
    assert len(suite.session.asked("EncodeSession")) == 20
    assert len(suite.profile.asked("GetProfile")) == 20


def test_without_throttling_every_call_is_sent(suite: Recorders) -> None:
    suite.ranker.answers["Recommend"] = failing(BUSY)
    with GroundswellClient(suite.targets, throttling=False) as client:
        assert outcomes(client)["local"] == 0
    assert len(suite.ranker.asked("Recommend")) >= NUM_CALLS


def outcomes(client: Any) -> Counter[str]:
    """What becomes of calls one after another; each that is refused has its time to retry."""
    counted: Counter[str] = Counter()
    for _ in range(NUM_CALLS):
        with pytest.raises(OverloadedError) as raised:
            client.recommend("anna", timeout=0.5)  # Too short for gRPC to try again.
        assert raised.value.status is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert raised.value.retry_after_s == BUSY.retry_after_s
        counted["local" if raised.value.is_local else "refused"] += 1
    return counted


@pytest.fixture
async def overloaded() -> AsyncIterator[str]:
    """The address of a server that answers fifty calls a second, and admits as the ranker does."""
    turn = asyncio.Lock()

    async def recommend(request: bytes, context: Any) -> bytes:  # noqa: ARG001 - gRPC's signature
        async with turn:
            await asyncio.sleep(0.02)
        return b""

    admissions = {f"/{SERVICE}/Recommend": DeadlineAdmission(default_s=1.0)}
    server = grpc.aio.server(options=server_options(60.0, 1_000))
    calls = Calls(
        server,
        max_concurrent_rpcs=1_000,
        max_streams=8,
        max_streams_per_peer=8,
        admissions=admissions,
    )
    handler: Any = grpc.unary_unary_rpc_method_handler(recommend)
    calls.add_registered_method_handlers(SERVICE, {"Recommend": handler})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_an_overloaded_server_gets_little_more_than_it_admits(overloaded: str) -> None:
    async with AsyncGroundswellClient(Targets(ranker=overloaded)) as client:

        async def call() -> str:
            try:
                await client.recommend("anna", timeout=1.0)
            except OverloadedError as error:
                return "local" if error.is_local else "refused"
            except GroundswellError as error:
                return error.status.name
            return "answered"

        tasks = []
        for _ in range(1_000):
            tasks.append(asyncio.create_task(call()))
            await asyncio.sleep(0.004)
        counted = Counter(await asyncio.gather(*tasks))
    assert counted["answered"] > 100
    assert counted["local"] > 200
    assert counted["refused"] <= 1.5 * counted["answered"]
