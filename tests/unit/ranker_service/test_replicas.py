"""A service is judged by calls that had enough time; a probe asks with as much."""

import asyncio

import grpc

from groundswell.ranker_service.replicas import BundleSpace, Upstream

SPACE = BundleSpace("a", 4)


def ran_out() -> grpc.aio.AioRpcError:
    none = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, none, none)


class Service:
    """Takes some time for an answer."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s

    async def __call__(self, timeout_s: float) -> str:
        if timeout_s < self.takes_s:
            raise ran_out()
        return "answer"


async def ask(upstream: Upstream, service: Service, timeout_s: float) -> str | None:
    found = await upstream.ask(service, SPACE, asyncio.get_running_loop().time() + timeout_s)
    await asyncio.sleep(0)
    return found


async def test_calls_of_little_time_do_not_keep_a_slow_service_from_those_that_wait() -> None:
    upstream, service = Upstream("profile"), Service(takes_s=0.2)
    for _ in range(20):
        assert await ask(upstream, service, 0.1) is None
    assert not upstream.is_down
    assert await ask(upstream, service, 0.45) == "answer"


async def test_a_service_that_hangs_is_found_out_although_all_calls_have_little_time() -> None:
    upstream, service = Upstream("profile"), Service(takes_s=60)
    end_s = asyncio.get_running_loop().time() + 10
    while not upstream.is_down:
        assert asyncio.get_running_loop().time() < end_s
        assert await ask(upstream, service, 0.1) is None
        await asyncio.sleep(0.02)
    service.takes_s = 0.2
    while upstream.is_down:
        assert asyncio.get_running_loop().time() < end_s
        assert await ask(upstream, service, 0.1) is None
        await asyncio.sleep(0.02)
    assert await ask(upstream, service, 0.45) == "answer"
