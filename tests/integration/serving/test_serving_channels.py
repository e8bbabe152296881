"""Channels between services: errors come through, a peer that comes back is found soon."""

import asyncio
import time
from pathlib import Path

import grpc
import pytest

from groundswell.profile.v1 import catalogue_service_pb2 as pb
from groundswell.profile.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from groundswell.serving.channels import open_channel
from groundswell.serving.errors import InvalidArgument, ResourceExhausted, from_rpc_error
from tests.integration.serving.conftest import Server, start


async def failure(channel: grpc.aio.Channel, item_id: str) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await CatalogueServiceStub(channel).GetItem(pb.GetItemRequest(item_id=item_id), timeout=5)
    return caught.value


async def test_an_upstreams_refusal_can_be_raised_again(server: Server) -> None:
    async with open_channel(server.address) as channel:
        wrong = from_rpc_error(await failure(channel, "wrong"))
        busy = from_rpc_error(await failure(channel, "busy:1.5"))
        bug = from_rpc_error(await failure(channel, "bug"))
    assert isinstance(wrong, InvalidArgument)
    assert (wrong.reason, wrong.field) == ("ITEM_ID_INVALID", "item_id")
    assert isinstance(busy, ResourceExhausted)
    assert (busy.reason, busy.retry_after_s) == ("OVERLOADED", 1.5)
    assert bug is None


async def test_a_channel_outlives_its_peer_and_finds_it_again_within_seconds(
    tmp_path: Path,
) -> None:
    process, port = start(tmp_path)
    address = f"127.0.0.1:{port}"
    with process:
        await asyncio.to_thread(process.wait_serving, address)
        async with open_channel(address) as channel:
            stub = CatalogueServiceStub(channel)
            await stub.GetItem(pb.GetItemRequest(item_id="x"), timeout=5)
            process.kill()
            begin = time.monotonic()
            assert (await failure(channel, "x")).code() is grpc.StatusCode.UNAVAILABLE
            assert time.monotonic() - begin < 1
            # Long enough for gRPC's own backoff to have grown, were it not bounded.
            await asyncio.sleep(3)
            process.start()
            await asyncio.to_thread(process.wait_serving, address)
            begin = time.monotonic()
            answer = await stub.GetItem(
                pb.GetItemRequest(item_id="back"), timeout=10, wait_for_ready=True
            )
            assert answer.item.item_id == "back"
            assert time.monotonic() - begin < 5
