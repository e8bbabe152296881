"""Clients that leave the streams of the profile service in the middle."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from groundswell.client import GroundswellClient, event, item
from groundswell.profile.v1 import catalogue_service_pb2, event_service_pb2, profile_service_pb2
from groundswell.profile.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from groundswell.profile.v1.event_service_pb2_grpc import EventServiceStub
from groundswell.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from tests.support.bundles import ITEMS
from tests.support.suite import Suite


def watch(channel: grpc.Channel, _left: threading.Event) -> Any:
    return CatalogueServiceStub(channel).WatchItems(catalogue_service_pb2.WatchItemsRequest())


def refresh(channel: grpc.Channel, _left: threading.Event) -> Any:
    return ProfileServiceStub(channel).RefreshProfiles(profile_service_pb2.RefreshProfilesRequest())


def import_events(channel: grpc.Channel, left: threading.Event) -> Any:
    def batches() -> Iterator[event_service_pb2.ImportEventsRequest]:
        while not left.is_set():
            events = [event("bob", ITEMS[0][0]) for _ in range(10)]
            yield event_service_pb2.ImportEventsRequest(events=events)

    return EventServiceStub(channel).ImportEvents(batches())


def watch_health(channel: grpc.Channel, _left: threading.Event) -> Any:
    return health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())


@pytest.mark.parametrize("call", [watch, refresh, import_events, watch_health])
def test_a_client_that_leaves_a_stream_leaves_no_error_in_the_log(
    service: Suite, client: GroundswellClient, call: Callable[..., Any]
) -> None:
    rng = random.Random(22)
    logged = len(service.profile.log().splitlines())
    for n in range(8):
        # Something is on its way to the client when it leaves.
        client.upsert_items([item(f"hang up {n}", "x" * rng.randrange(2_000))])
        client.append_events([event("ann", ITEMS[n % len(ITEMS)][0])])
        left = threading.Event()
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(service.targets.profile, options=options) as channel:
            stream = call(channel, left)
            if n % 2:
                next(iter(stream))
            time.sleep(rng.uniform(0, 0.05))
            if n % 3:
                stream.cancel()
        left.set()
    client.append_events([event("ann", ITEMS[0][0])])
    lines = [json.loads(line) for line in service.profile.log().splitlines()[logged:]]
    assert [line for line in lines if line["level"] == "error" or "exception" in line] == []
