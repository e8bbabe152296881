"""A call that is refused at once has a status, a reason and a time to retry."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from groundswell.client import GroundswellError
from groundswell.client.errors import from_rpc_error
from groundswell.serving.admission import DeadlineAdmission
from groundswell.serving.calls import Calls
from groundswell.serving.server import server_options

METHOD = "/test.Service/Get"


class Served:
    """A server whose calls wait until they are let go."""

    def __init__(self) -> None:
        self.started = 0
        self.go = asyncio.Event()
        self.address = ""

    async def get(self, request: bytes, context: Any) -> bytes:  # noqa: ARG002 - gRPC's signature
        self.started += 1
        await self.go.wait()
        return request


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    made = Served()
    admissions = {METHOD: DeadlineAdmission(default_s=0.08)}
    server = grpc.aio.server(options=server_options(60.0, 1_000))
    calls = Calls(
        server,
        max_concurrent_rpcs=1_000,
        max_streams=8,
        max_streams_per_peer=8,
        admissions=admissions,
    )
    handler: Any = grpc.unary_unary_rpc_method_handler(made.get)
    calls.add_registered_method_handlers("test.Service", {"Get": handler})
    made.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield made
    made.go.set()
    await server.stop(None)


async def test_one_too_many_is_overloaded_with_retry_info_and_never_starts(served: Served) -> None:
    async with grpc.aio.insecure_channel(served.address) as channel:
        call: Any = channel.unary_unary(METHOD)
        tasks = [asyncio.create_task(_sent(call)) for _ in range(40)]
        done, _ = await asyncio.wait(tasks, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        refused = [task.result() for task in done]
        assert refused
        for error in refused:
            assert isinstance(error, GroundswellError)
            assert error.status is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert error.reason == "OVERLOADED"
            assert error.retry_after_s is not None
            assert error.retry_after_s >= 0.1
        served.go.set()
        answers = await asyncio.gather(*tasks)
    assert served.started == sum(answer == b"x" for answer in answers)
    assert 8 <= served.started < 40


async def test_a_call_is_refused_before_its_request_is_read(served: Served) -> None:
    async with grpc.aio.insecure_channel(served.address) as channel, _full(served, channel):
        call: Any = channel.stream_unary(METHOD)()
        async with asyncio.timeout(5):
            assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_call_whose_client_leaves_before_it_sends_takes_no_place(served: Served) -> None:
    async with grpc.aio.insecure_channel(served.address) as channel:
        open_call: Any = channel.stream_unary(METHOD)
        silent = [open_call(timeout=5.0) for _ in range(30)]
        async with _full(served, channel, num=8):
            for call in silent:
                call.cancel()
        assert await _sent(channel.unary_unary(METHOD)) == b"x"


@asynccontextmanager
async def _full(served: Served, channel: Any, num: int = 40) -> AsyncIterator[None]:
    """As many calls are in flight as the server admits."""
    call = channel.unary_unary(METHOD)
    tasks = [asyncio.create_task(_sent(call)) for _ in range(num)]
    async with asyncio.timeout(10):
        while served.started + sum(task.done() for task in tasks) < num:
            await asyncio.wait(tasks, timeout=0.01)
    yield
    served.go.set()
    await asyncio.gather(*tasks)


async def test_what_a_busy_process_cannot_accept_is_overloaded_for_the_typed_client() -> None:
    server = grpc.aio.server(options=server_options(60.0, 1))

    async def get(request: bytes, context: Any) -> bytes:  # noqa: ARG001 - gRPC's signature
        return request

    handler: Any = grpc.unary_unary_rpc_method_handler(get)
    server.add_registered_method_handlers("test.Service", {"Get": handler})
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(METHOD)
        answers = await asyncio.gather(*(_sent(call) for _ in range(300)))
    await server.stop(None)
    refused = [answer for answer in answers if isinstance(answer, GroundswellError)]
    assert refused
    assert {(one.reason, one.retry_after_s) for one in refused} == {("OVERLOADED", 0.5)}


async def _sent(call: Any) -> bytes | GroundswellError:
    try:
        answer: bytes = await call(b"x")
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    return answer
