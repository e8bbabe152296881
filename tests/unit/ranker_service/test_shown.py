"""Lists that the profile service does not take are given up soon, and counted."""

import asyncio
import socket

import grpc
import pytest
from structlog.testing import capture_logs

from groundswell.ranker_service.shown import AnsweredList, AnsweredLists
from groundswell.serving.attribution import (
    Attribution,
    AttributionTokens,
    new_recommendation_id,
)
from groundswell.serving.channels import open_channel
from groundswell.serving.telemetry import counter
from tests.support.processes import SECRET


def a_list(lineage: str) -> AnsweredList:
    token = AttributionTokens(SECRET).issue(Attribution(new_recommendation_id(), "ab" * 8))
    return AnsweredList(token, "kim", [1, 2], lineage)


async def test_the_end_of_the_ranker_waits_no_longer_for_a_service_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("groundswell.ranker_service.shown._CLOSE_WITHIN_S", 0.2)
    dropped = counter("lists_dropped")
    before = dropped._value.get()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with open_channel(f"127.0.0.1:{silent.getsockname()[1]}") as channel:
            answered = AnsweredLists(channel, max_waiting=10)
            await answered.start()
            for _ in range(3):
                answered.put(a_list(""))
            async with asyncio.timeout(5):
                await answered.close()
    assert dropped._value.get() - before == 3


async def test_a_profile_service_that_keeps_no_lists_is_told_of_once() -> None:
    before = (dropped := counter("lists_dropped"))._value.get()
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with capture_logs() as logs:
        async with open_channel(f"127.0.0.1:{port}") as channel:
            answered = AnsweredLists(channel, max_waiting=10)
            await answered.start()
            for lineage in ("a", "b"):  # each is a batch of its own
                answered.put(a_list(lineage))
            await answered.close()
    await server.stop(None)
    assert [one["event"] for one in logs] == ["lists_refused"]
    assert dropped._value.get() - before == 2
