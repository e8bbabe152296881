"""What a client sees of a real server: health, reflection, errors, limits."""

import time
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from groundswell.profile.v1 import catalogue_service_pb2 as pb
from groundswell.profile.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from tests.integration.serving.conftest import Server
from tests.support.probe_server import SERVICE
from tests.support.waiting import eventually

TIMEOUT_S = 10.0
MIB = 1024 * 1024


def get_item(server: Server, item_id: str) -> pb.GetItemResponse:
    request = pb.GetItemRequest(item_id=item_id)
    return CatalogueServiceStub(server.channel).GetItem(request, timeout=TIMEOUT_S)


def refused(server: Server, item_id: str) -> grpc.Call:
    with pytest.raises(grpc.RpcError) as caught:
        get_item(server, item_id)
    assert isinstance(caught.value, grpc.Call)
    return caught.value


def refused_when_full(server: Server) -> grpc.Call:
    """The first refusal of a call, once those before it are all in flight."""
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        try:
            get_item(server, "one too many")
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            return error
    raise AssertionError("nothing was refused")


def reason(call: grpc.Call) -> str:
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(call).details[0].Unpack(info)
    return str(info.reason)


@pytest.mark.parametrize("service", ["", SERVICE])
def test_health_answers_for_the_process_and_for_each_service(server: Server, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(server.channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_health_knows_no_other_service(server: Server) -> None:
    stub = health_pb2_grpc.HealthStub(server.channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_names_the_services_and_gives_their_contract(server: Server) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]
    listed, file = stub.ServerReflectionInfo(iter(requests), timeout=TIMEOUT_S)
    names = {service.name for service in listed.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names
    assert b"UpsertItemsRequest" in file.file_descriptor_response.file_descriptor_proto[0]


@pytest.mark.parametrize(
    ("item_id", "code", "expected"),
    [
        ("", grpc.StatusCode.INVALID_ARGUMENT, "ITEM_ID_INVALID"),
        ("missing:7", grpc.StatusCode.NOT_FOUND, "ITEM_NOT_FOUND"),
        ("timeout", grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
        ("bug", grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
def test_an_exception_becomes_its_status_with_its_reason(
    server: Server, item_id: str, code: grpc.StatusCode, expected: str
) -> None:
    call = refused(server, item_id)
    assert call.code() is code
    assert reason(call) == expected


def test_internal_carries_nothing_of_the_exceptions_text(server: Server) -> None:
    call = refused(server, "bug:hunter2")
    assert call.details() == "internal error"
    assert b"hunter2" not in rpc_status.from_call(call).SerializeToString()


def test_a_bug_is_logged_with_its_place_and_without_its_text(server: Server) -> None:
    refused(server, "bug:hunter3")
    (line,) = [line for line in server.process.log().splitlines() if "call_failed" in line][-1:]
    assert "RuntimeError" in line
    assert "probe_server.py" in line
    assert "hunter3" not in server.process.log()


def test_a_status_that_the_handler_set_itself_stays(server: Server) -> None:
    call = refused(server, "abort")
    assert (call.code(), call.details()) == (grpc.StatusCode.DATA_LOSS, "as it said itself")


def test_an_error_of_a_stream_has_its_status_too(server: Server) -> None:
    stub = CatalogueServiceStub(server.channel)
    with pytest.raises(grpc.RpcError) as caught:
        next(iter(stub.WatchItems(pb.WatchItemsRequest(since_revision=-1), timeout=TIMEOUT_S)))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(caught.value, grpc.Call)
    assert reason(caught.value) == "REVISION_INVALID"


def upsert_of(num_bytes: int) -> pb.UpsertItemsRequest:
    """A request of exactly so many bytes."""
    request = pb.UpsertItemsRequest()
    item = request.items.add(item_id="big", description="x" * num_bytes)
    item.description = "x" * (2 * num_bytes - request.ByteSize())
    assert request.ByteSize() == num_bytes
    return request


def test_a_request_above_4_mib_is_bad_input_and_no_overload(server: Server) -> None:
    stub = CatalogueServiceStub(server.channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.UpsertItems(upsert_of(4 * MIB + 1), timeout=TIMEOUT_S)
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason(caught.value) == "MESSAGE_TOO_LARGE"


def test_what_grpc_itself_refuses_has_no_reason(server: Server) -> None:
    stub = CatalogueServiceStub(server.channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.UpsertItems(upsert_of(9 * MIB), timeout=TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert isinstance(caught.value, grpc.Call)
    assert rpc_status.from_call(caught.value) is None


def test_a_request_of_4_mib_is_taken(server: Server) -> None:
    stub = CatalogueServiceStub(server.channel)
    assert stub.UpsertItems(upsert_of(4 * MIB), timeout=TIMEOUT_S).item_nos


def test_a_method_that_nobody_serves_is_refused_with_a_reason(server: Server) -> None:
    for path in (f"/{SERVICE}/NoSuchMethod", "/groundswell.ranker.v1.RankerService/Recommend"):
        with pytest.raises(grpc.RpcError) as caught:
            call: Any = server.channel.unary_unary(path)
            call(b"", timeout=TIMEOUT_S)
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert reason(caught.value) == "METHOD_UNKNOWN"
        assert SERVICE in caught.value.details()


def test_a_status_with_a_long_text_arrives_cut_and_with_its_reason(server: Server) -> None:
    call = refused(server, "missing:" + "é" * 5_000)
    assert call.code() is grpc.StatusCode.NOT_FOUND
    assert reason(call) == "ITEM_NOT_FOUND"
    assert len(call.details().encode()) <= 800


def test_grpc_clients_are_told_when_to_try_again(server: Server) -> None:
    trailers = dict(refused(server, "busy:2").trailing_metadata())
    assert 2_000 <= int(trailers["grpc-retry-pushback-ms"]) <= 3_000
    assert "grpc-retry-pushback-ms" not in dict(refused(server, "missing:7").trailing_metadata())


def test_a_call_too_many_is_refused_early_and_health_still_answers(server: Server) -> None:
    stub = CatalogueServiceStub(server.channel)
    slow = [stub.GetItem.future(pb.GetItemRequest(item_id="slow:1.5")) for _ in range(8)]
    call = refused_when_full(server)
    assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason(call) == "OVERLOADED"
    retry = error_details_pb2.RetryInfo()
    assert rpc_status.from_call(call).details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() > 0
    health = health_pb2_grpc.HealthStub(server.channel)
    answer = health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert all(future.result(TIMEOUT_S).item.item_id == "slow:1.5" for future in slow)
    assert get_item(server, "again").item.item_id == "again"


def test_a_caller_that_leaves_frees_its_place(server: Server) -> None:
    stub = CatalogueServiceStub(server.channel)
    slow = [stub.GetItem.future(pb.GetItemRequest(item_id="slow:60")) for _ in range(8)]
    assert refused_when_full(server).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for call in slow:
        call.cancel()

    def is_answered() -> bool:
        with suppress(grpc.RpcError):
            return bool(get_item(server, "x").item.item_id == "x")
        return False

    eventually(is_answered, 5)


def test_streams_have_places_of_their_own_and_health_has_others(server: Server) -> None:
    stub = CatalogueServiceStub(server.channel)
    watches = [stub.WatchItems(pb.WatchItemsRequest()) for _ in range(8)]
    for watch in watches:
        next(iter(watch))
    assert get_item(server, "x").item.item_id == "x"
    one_too_many = next_error(stub.WatchItems(pb.WatchItemsRequest()))
    assert one_too_many.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason(one_too_many) == "TOO_MANY_STREAMS"
    health = health_pb2_grpc.HealthStub(server.channel)
    checks = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(8)]
    for check in checks:
        assert next(iter(check)).status == health_pb2.HealthCheckResponse.SERVING
    assert reason(next_error(health.Watch(health_pb2.HealthCheckRequest()))) == "TOO_MANY_STREAMS"
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S).status == 1
    for stream in (*watches, *checks):
        stream.cancel()

    def is_watched() -> bool:
        watch = stub.WatchItems(pb.WatchItemsRequest())
        with suppress(grpc.RpcError):
            assert next(iter(watch)).caught_up
            watch.cancel()
            return True
        return False

    eventually(is_watched, 5)


def next_error(stream: Any) -> grpc.Call:
    with pytest.raises(grpc.RpcError) as caught:
        next(iter(stream))
    assert isinstance(caught.value, grpc.Call)
    return caught.value
