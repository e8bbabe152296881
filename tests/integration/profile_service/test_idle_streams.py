"""With any number of waiting streams the service answers, and the database is idle."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from groundswell.client import GroundswellClient
from groundswell.profile.v1 import catalogue_service_pb2 as pb
from groundswell.profile.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from groundswell.profile_service.profiles.reader import Profiles
from groundswell.serving.pseudonym import Pseudonymizer
from tests.integration.profile_service.support import SPEC, Memory, an_item, fill
from tests.support.processes import SECRET
from tests.support.suite import Suite


async def test_many_idle_streams_ask_the_database_no_more_than_one_does(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(memory, 3)
    profiles = Profiles(memory.database, Pseudonymizer(SECRET), max_cached=100, max_bytes=1_000_000)
    num_reads = 0
    read = memory.database.read

    async def counted(work: Any) -> Any:
        nonlocal num_reads
        num_reads += 1
        return await read(work)

    async with AsyncExitStack() as stack:
        streams: list[AsyncGenerator[Any, None]] = []
        for _ in range(30):
            # Nobody works, so a refresh waits for ever.
            for stream in (memory.catalogue.watch(0, SPEC.fingerprint), profiles.refresh(["ann"])):
                streams.append(await stack.enter_async_context(aclosing(stream)))
        for stream in streams:  # all at once would be refused on a slow machine
            await anext(stream)
        waiting = [asyncio.create_task(anext(stream)) for stream in streams]
        await asyncio.sleep(0.3)
        monkeypatch.setattr(memory.database, "read", counted)
        await asyncio.sleep(1)
        # 60 streams at 10 and 20 looks a second would be 900.
        assert num_reads <= 40
        monkeypatch.undo()
        await memory.catalogue.upsert([an_item("new")])
        changes = await asyncio.wait_for(waiting[0], 5)
        assert [item.content.item_id for item in changes.items] == ["new"]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_256_idle_watches_leave_the_service_open(
    service: Suite, client: GroundswellClient
) -> None:
    known = client.get_item("item-0").item_id
    async with grpc.aio.insecure_channel(service.targets.profile) as channel:
        stub = CatalogueServiceStub(channel)
        watches = []
        for _ in range(256):  # all at once would be refused on a slow machine
            watches.append(stub.WatchItems(pb.WatchItemsRequest()))
            await watches[-1].read()
        answers = await asyncio.gather(
            *(stub.GetItem(pb.GetItemRequest(item_id=known), timeout=20) for _ in range(32))
        )
        assert {answer.item.item_id for answer in answers} == {known}
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.WatchItems(pb.WatchItemsRequest()).read()
        info = error_details_pb2.ErrorInfo()
        assert rpc_status.from_call(refused.value).details[0].Unpack(info)
        assert info.reason == "TOO_MANY_STREAMS"
        for watch in watches:
            watch.cancel()
