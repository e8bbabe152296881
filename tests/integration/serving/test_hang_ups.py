"""A client that leaves its call causes no error, and frees what the call used."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from groundswell.profile.v1 import catalogue_service_pb2 as pb
from groundswell.profile.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from tests.integration.serving.conftest import Server, start
from tests.integration.serving.test_serving_life import wait_for_metrics
from tests.support.probe_server import SERVICE
from tests.support.processes import free_port

UNREAD = pb.WatchItemsRequest(bundle_id="flood")


def leave(server: Server, call: Callable[[CatalogueServiceStub], Any], rng: random.Random) -> None:
    """Make a call on a connection of its own, and end one or the other in the middle."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel = grpc.insecure_channel(server.address, options=options)
    made = call(CatalogueServiceStub(channel))
    time.sleep(rng.uniform(0, 0.06))
    if rng.random() < 0.5:
        made.cancel()
    channel.close()


def read_one(stub: CatalogueServiceStub) -> Any:
    watch = stub.WatchItems(UNREAD)
    next(iter(watch))
    return watch


@pytest.mark.parametrize(
    "call",
    [
        lambda stub: stub.WatchItems(pb.WatchItemsRequest()),
        lambda stub: stub.WatchItems(UNREAD),
        read_one,
        lambda stub: stub.GetItem.future(pb.GetItemRequest(item_id="slow:0.03")),
        lambda stub: stub.ListItems.future(pb.ListItemsRequest(page_token="large")),
        lambda stub: stub.WatchItems(UNREAD, timeout=0.03),
    ],
    ids=["idle", "unread", "one read", "working", "large answer", "deadline"],
)
def test_a_client_that_leaves_is_no_error(
    server: Server, call: Callable[[CatalogueServiceStub], Any]
) -> None:
    rng = random.Random(22)
    logged = len(server.process.log())
    for _ in range(10):
        leave(server, call, rng)
    # Whatever the calls held is free: as many as the process takes can be made.
    stub = CatalogueServiceStub(server.channel)
    for _ in range(8):
        answer = stub.GetItem(pb.GetItemRequest(item_id="x"), timeout=10)
        assert answer.item.item_id == "x"
    assert server.process.log()[logged:] == ""


def test_a_stream_that_its_client_left_is_counted_as_cancelled(tmp_path: Path) -> None:
    """Whether it waited, or was writing to someone who did not read."""
    metrics_port = free_port()
    process, port = start(tmp_path, GROUNDSWELL_METRICS_PORT=str(metrics_port))
    with process:
        process.wait_serving(f"127.0.0.1:{port}")
        for request in (pb.WatchItemsRequest(), UNREAD):
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                next(iter(CatalogueServiceStub(channel).WatchItems(request)))
        labels = f'grpc_method="WatchItems",grpc_service="{SERVICE}",grpc_type="server_stream"'
        expected = f'grpc_server_handled_total{{grpc_code="Cancelled",{labels}}} 2.0'
        wait_for_metrics(f"http://127.0.0.1:{metrics_port}/metrics", [expected])
        assert process.stop() == 0
    assert "Traceback" not in process.log()
