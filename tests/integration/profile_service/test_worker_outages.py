"""A profile service and its worker through a failover and a restart of their PostgreSQL."""

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from groundswell.client import GroundswellError, event
from groundswell.profile.v1 import event_service_pb2
from groundswell.profile.v1.event_service_pb2_grpc import EventServiceStub
from groundswell.profile_service.process import WORKER
from groundswell.serving.health_probe import SERVING, health
from tests.integration.profile_service.support import profile_service
from tests.support.bundles import ITEMS
from tests.support.postgres import Postgres
from tests.support.processes import free_port
from tests.support.suite import Suite, tiny_items
from tests.support.waiting import eventually

METRICS_PORT = free_port()


@pytest.fixture(scope="module")
def service(
    server: Postgres, bundles: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Suite]:
    environment = {
        "GROUNDSWELL_DATABASE_URL": server.new_database(),
        "GROUNDSWELL_METRICS_PORT": str(METRICS_PORT),
    }
    with profile_service(tmp_path_factory.mktemp("outages"), bundles, environment) as running:
        running.client.upsert_items(tiny_items())
        worked(running, "first")
        yield running
        server.set_read_only(False)


def worked(service: Suite, user_id: str) -> None:
    """Store events of a new user, and wait until the worker has covered them."""
    service.client.append_events(event(user_id, ITEMS[n][0]) for n in range(9))
    for _ in service.client.refresh_profiles([user_id], timeout=30):
        pass
    assert not service.client.get_profile(user_id).text_pending


def is_serving(service: Suite, name: str) -> bool:
    return health(service.targets.profile, name) == SERVING


def metric(name: str) -> float:
    url = f"http://127.0.0.1:{METRICS_PORT}/metrics"
    with urllib.request.urlopen(url, timeout=10) as page:
        lines: list[str] = page.read().decode().splitlines()
    (value,) = [line.split()[1] for line in lines if line.startswith(f"groundswell_{name} ")]
    return float(value)


def refused(service: Suite) -> bool:
    """Whether a write fails; asked without the client's own retries."""
    with grpc.insecure_channel(service.targets.profile, [("grpc.enable_retries", 0)]) as channel:
        request = event_service_pb2.AppendEventsRequest(events=[event("bob", ITEMS[0][0])])
        try:
            EventServiceStub(channel).AppendEvents(request, timeout=5)
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            return True
    return False


def test_the_worker_outlives_a_failover_and_says_when_it_fails(
    server: Postgres, service: Suite
) -> None:
    assert is_serving(service, WORKER)
    assert metric("worker_failing") == 0
    server.set_read_only(True)
    eventually(lambda: refused(service))
    eventually(lambda: not is_serving(service, WORKER))
    assert metric("worker_failing") == 1
    assert metric("worker_failures_in_a_row") >= 2
    # The service itself answers, so nobody takes it out of its balancer.
    assert is_serving(service, "")
    assert service.client.get_item(ITEMS[0][0]).title == ITEMS[0][1]
    server.set_read_only(False)
    eventually(lambda: not refused(service))
    eventually(lambda: is_serving(service, WORKER))
    worked(service, "after the failover")
    assert metric("worker_failing") == 0
    assert time.time() - metric("worker_last_success_timestamp_seconds") < 60
    lines = [json.loads(line) for line in service.profile.log().splitlines()]
    assert [line for line in lines if line["level"] in ("error", "critical")] == []
    assert len([line for line in lines if line["event"] == "worker_fails"]) == 1


def test_nothing_has_to_be_started_again_after_a_restart_of_the_database(
    server: Postgres, service: Suite
) -> None:
    worked(service, "ann")
    before = service.client.get_profile("ann")
    assert not before.HasField("as_of")
    server.end_connections()
    eventually(lambda: not refused(service))
    server.stop()
    try:
        eventually(lambda: refused(service))
        begin = time.monotonic()
        with pytest.raises(GroundswellError) as failed:
            service.client.get_item(ITEMS[0][0], timeout=0.5)
        assert failed.value.reason in ("STORE_UNAVAILABLE", "DEADLINE_EXCEEDED")
        assert time.monotonic() - begin < 5
        assert is_serving(service, "")
        # What was read before is answered, and says so; of others nothing is made up.
        held = service.client.get_profile("ann")
        assert held.stale
        assert 0 < held.as_of.seconds <= time.time()
        assert (held.vector, held.seen) == (before.vector, before.seen)
        with pytest.raises(GroundswellError) as failed:
            service.client.get_profile("nobody asked for", timeout=0.5)
        assert failed.value.reason in ("STORE_UNAVAILABLE", "DEADLINE_EXCEEDED")
    finally:
        server.start()
    eventually(lambda: not refused(service), timeout_s=10)
    eventually(lambda: not service.client.get_profile("ann").HasField("as_of"))
    assert not service.client.get_profile("ann").stale
    worked(service, "after the restart")
    assert "Traceback" not in service.profile.log()
