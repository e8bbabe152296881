"""The life of a real server: start, refusal to start, drain, end."""

import json
import socket
import threading
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from groundswell.profile.v1 import catalogue_service_pb2 as pb
from groundswell.profile.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from groundswell.serving import health_probe
from tests.integration.serving.conftest import start
from tests.support.probe_server import SERVICE
from tests.support.processes import Process, free_port, service_process, wait_serving
from tests.support.waiting import eventually

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING


def events_of(process: Process) -> list[str]:
    return [json.loads(line)["event"] for line in process.log().splitlines()]


def wait_for_log(process: Process, text: str, timeout: float = 10.0) -> None:
    eventually(lambda: text in process.log(), timeout, lambda: f"no {text!r} in {process.log()}")


def wait_for_metrics(url: str, lines: list[str], timeout: float = 5.0) -> None:
    """A caller has its answer a moment before the server has counted it."""
    deadline = time.monotonic() + timeout
    while True:
        with urllib.request.urlopen(url, timeout=10) as page:
            text: str = page.read().decode()
        missing = [line for line in lines if line not in text.splitlines()]
        if not missing:
            return
        assert time.monotonic() < deadline, f"{missing} not in\n{text}"
        time.sleep(0.02)


def health(address: str, service: str = "") -> int:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=service)
        status: int = stub.Check(request, timeout=10, wait_for_ready=True).status
        return status


def test_it_is_not_serving_until_it_is_ready(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process, port = start(tmp_path, PROBE_READY_FILE=str(ready))
    address = f"127.0.0.1:{port}"
    with process:
        assert [health(address), health(address, SERVICE)] == [NOT_SERVING, NOT_SERVING]
        with pytest.raises(TimeoutError, match="NOT_SERVING"):
            wait_serving(address, timeout=0.3)
        ready.touch()
        process.wait_serving(address)
        assert health(address, SERVICE) == SERVING


def test_the_first_log_lines_are_the_settings_without_the_secret_and_the_address(
    tmp_path: Path,
) -> None:
    process, port = start(tmp_path)
    with process:
        process.wait_serving(f"127.0.0.1:{port}")
        settings, serving = (json.loads(line) for line in process.log().splitlines()[:2])
    assert (settings["event"], settings["version"]) == ("settings", version("groundswell"))
    assert settings["port"] == port
    assert "secret" not in settings
    assert (serving["event"], serving["address"]) == ("serving", f"127.0.0.1:{port}")


def test_sigterm_finishes_the_call_in_flight_ends_watches_and_closes(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    process, port = start(tmp_path, PROBE_CLOSE_FILE=str(closed))
    with process, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        process.wait_serving(f"127.0.0.1:{port}")
        stub = CatalogueServiceStub(channel)
        watch = iter(stub.WatchItems(pb.WatchItemsRequest()))
        next(watch)
        in_flight = stub.GetItem.future(pb.GetItemRequest(item_id="slow:1"))
        time.sleep(0.2)
        assert not closed.exists()
        process.popen.terminate()
        assert in_flight.result(10).item.item_id == "slow:1"
        with pytest.raises(grpc.RpcError) as ended:
            next(watch)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert process.wait(10) == 0
    assert closed.read_text() == "closed\n"
    assert events_of(process)[-2:] == ["draining", "closed"]


def test_health_says_not_serving_while_calls_are_still_taken(tmp_path: Path) -> None:
    process, port = start(tmp_path, GROUNDSWELL_DRAIN_WAIT_S="1.5")
    with process, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        process.wait_serving(f"127.0.0.1:{port}")
        process.popen.terminate()
        wait_for_log(process, "draining")
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5)
        assert answer.status == NOT_SERVING
        request = pb.GetItemRequest(item_id="late")
        assert CatalogueServiceStub(channel).GetItem(request, timeout=5).item.item_id == "late"
        assert process.wait(10) == 0


def test_a_call_that_takes_too_long_is_ended_when_the_grace_is_over(tmp_path: Path) -> None:
    process, port = start(tmp_path, GROUNDSWELL_DRAIN_S="0.5")
    with process, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        process.wait_serving(f"127.0.0.1:{port}")
        request = pb.GetItemRequest(item_id="slow:60")
        in_flight = CatalogueServiceStub(channel).GetItem.future(request)
        time.sleep(0.2)
        begin = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - begin < 5
        assert isinstance(in_flight.exception(5), grpc.RpcError)


def test_sigterm_before_it_is_ready_ends_it_cleanly(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    never = str(tmp_path / "never")
    process, port = start(tmp_path, PROBE_READY_FILE=never, PROBE_CLOSE_FILE=str(closed))
    with process:
        assert health(f"127.0.0.1:{port}") == NOT_SERVING
        assert process.stop() == 0
    assert closed.read_text() == "closed\n"
    assert "serving" not in events_of(process)


def test_a_taken_port_is_named_and_the_first_server_serves_on(tmp_path: Path) -> None:
    process, port = start(tmp_path)
    with process:
        process.wait_serving(f"127.0.0.1:{port}")
        second = service_process(
            "tests.support.probe_server", port, tmp_path, tmp_path / "second.log"
        )
        with second:
            assert second.wait() == 1
        (line,) = [line for line in second.log().splitlines() if "ADDRESS_UNAVAILABLE" in line]
        assert f"127.0.0.1:{port}" in line
        assert "Traceback" not in second.log()
        assert health(f"127.0.0.1:{port}") == SERVING


def test_a_taken_port_of_the_metrics_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        metrics_port = str(taken.getsockname()[1])
        process, _ = start(tmp_path, GROUNDSWELL_METRICS_PORT=metrics_port)
        with process:
            assert process.wait() == 1
    last = json.loads(process.log().splitlines()[-1])
    assert last["reason"] == "ADDRESS_UNAVAILABLE"
    assert f"127.0.0.1:{metrics_port}" in last["detail"]
    assert "GROUNDSWELL_METRICS_PORT" in last["detail"]


def test_a_server_that_cannot_get_ready_ends_with_one_line_that_says_why(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    process, _ = start(tmp_path, PROBE_BROKEN="1", PROBE_CLOSE_FILE=str(closed))
    with process:
        assert process.wait() == 1
    last = json.loads(process.log().splitlines()[-1])
    assert (last["event"], last["reason"]) == ("failed", "NO_CURRENT")
    assert "Traceback" not in process.log()
    assert closed.exists()


def test_a_missing_secret_is_named_at_the_start(tmp_path: Path) -> None:
    environment = {"GROUNDSWELL_BUNDLES": str(tmp_path), "GROUNDSWELL_PORT": str(free_port())}
    process = Process(["-m", "tests.support.probe_server"], environment, tmp_path / "log")
    with process:
        assert process.wait() == 2
    assert process.log() == "GROUNDSWELL_SECRET: is not set\n"


def test_a_port_is_free_again_after_the_end(tmp_path: Path) -> None:
    process, port = start(tmp_path)
    for _ in range(2):
        with process:
            process.wait_serving(f"127.0.0.1:{port}")
            assert process.stop() == 0


def test_metrics_count_the_calls_by_method_and_status(tmp_path: Path) -> None:
    metrics_port = free_port()
    process, port = start(tmp_path, GROUNDSWELL_METRICS_PORT=str(metrics_port))
    with process, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        process.wait_serving(f"127.0.0.1:{port}")
        stub = CatalogueServiceStub(channel)
        stub.GetItem(pb.GetItemRequest(item_id="x"), timeout=10)
        with pytest.raises(grpc.RpcError):
            stub.GetItem(pb.GetItemRequest(item_id="missing:x"), timeout=10)
        labels = f'grpc_method="GetItem",grpc_service="{SERVICE}",grpc_type="unary"'
        expected = [
            f"grpc_server_started_total{{{labels}}} 2.0",
            f'grpc_server_handled_total{{grpc_code="OK",{labels}}} 1.0',
            f'grpc_server_handled_total{{grpc_code="NotFound",{labels}}} 1.0',
            f"grpc_server_handling_seconds_count{{{labels}}} 2.0",
        ]
        wait_for_metrics(f"http://127.0.0.1:{metrics_port}/metrics", expected)
        assert process.stop() == 0


def test_the_probe_tells_serving_from_everything_else(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process, port = start(tmp_path, PROBE_READY_FILE=str(ready))
    address = f"127.0.0.1:{port}"
    assert health_probe.main([address]) == 1
    with process:
        assert health(address) == NOT_SERVING
        assert health_probe.main([address]) == 1
        ready.touch()
        process.wait_serving(address)
        assert health_probe.main([address]) == 0
        assert health_probe.main([address, SERVICE]) == 0
        assert health_probe.main([address, "other"]) == 1
    assert health_probe.main([]) == 2


def test_many_callers_at_once_are_all_answered(tmp_path: Path) -> None:
    process, port = start(tmp_path, GROUNDSWELL_MAX_CONCURRENT_RPCS="64")
    answers: list[str] = []

    def call(number: int) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            request = pb.GetItemRequest(item_id=f"item {number}")
            answers.append(CatalogueServiceStub(channel).GetItem(request, timeout=10).item.item_id)

    with process:
        process.wait_serving(f"127.0.0.1:{port}")
        threads = [threading.Thread(target=call, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers) == sorted(f"item {n}" for n in range(16))
