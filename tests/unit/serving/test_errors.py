"""Errors: one table from exception to status, and back from an upstream's answer."""

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from groundswell.serving import errors


def unpack(status: status_pb2.Status, kind: type[Any]) -> list[Any]:
    found = []
    for detail in status.details:
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    return found


def as_received(status: status_pb2.Status) -> grpc.aio.AioRpcError:
    sent = rpc_status.to_status(status)
    return grpc.aio.AioRpcError(
        sent.code,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(*sent.trailing_metadata),
        details=sent.details,
    )


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.InvalidArgument, grpc.StatusCode.INVALID_ARGUMENT),
        (errors.NotFound, grpc.StatusCode.NOT_FOUND),
        (errors.AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
        (errors.FailedPrecondition, grpc.StatusCode.FAILED_PRECONDITION),
        (errors.ResourceExhausted, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
        (errors.DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
        (errors.Unimplemented, grpc.StatusCode.UNIMPLEMENTED),
    ],
)
def test_each_error_has_its_status_and_carries_its_reason(
    kind: type[errors.ServiceError], code: grpc.StatusCode
) -> None:
    status = errors.to_status(kind("SOME_REASON", "why"))
    assert (status.code, status.message) == (code.value[0], "why")
    (info,) = unpack(status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == ("SOME_REASON", "groundswell")


def test_a_subclass_has_the_status_of_its_parent() -> None:
    class NoSuchItem(errors.NotFound):
        pass

    assert errors.to_status(NoSuchItem("X", "x")).code == grpc.StatusCode.NOT_FOUND.value[0]


def test_a_wrong_field_is_named() -> None:
    status = errors.to_status(errors.InvalidArgument("PAGE", "too big", field="page_size"))
    (bad,) = unpack(status, error_details_pb2.BadRequest)
    (violation,) = bad.field_violations
    assert (violation.field, violation.description) == ("page_size", "too big")
    assert violation.reason == "PAGE"


def test_an_overload_says_when_to_come_back() -> None:
    status = errors.to_status(errors.ResourceExhausted("OVERLOADED", "busy", retry_after_s=1.25))
    (retry,) = unpack(status, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 1250


def test_what_is_not_expected_says_nothing_about_itself() -> None:
    status = errors.to_status(RuntimeError("the password is hunter2"))
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert b"hunter2" not in status.SerializeToString()
    assert unpack(status, error_details_pb2.ErrorInfo)[0].reason == "INTERNAL"


def test_a_timeout_is_a_deadline() -> None:
    status = errors.to_status(TimeoutError())
    assert status.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


def test_an_upstreams_error_comes_back_as_it_was_raised() -> None:
    raised = errors.NotFound(
        "ITEM_NOT_FOUND", "no such item", field="events[2].item_id", retry_after_s=0.5
    )
    again = errors.from_rpc_error(as_received(errors.to_status(raised)))
    assert type(again) is errors.NotFound
    assert vars(again) == vars(raised)


def test_an_upstream_that_nobody_reached_is_unavailable() -> None:
    unreached = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details="refused"
    )
    error = errors.from_rpc_error(unreached)
    assert isinstance(error, errors.Unavailable)
    assert error.reason == "UPSTREAM_UNAVAILABLE"


def test_an_upstreams_own_failure_is_not_passed_on() -> None:
    failed = as_received(errors.to_status(RuntimeError("bug")))
    assert errors.from_rpc_error(failed) is None


def test_long_texts_are_cut_so_that_they_fit_into_headers() -> None:
    raised = errors.InvalidArgument("X", "ü" * 20_000, field="f" * 20_000)
    status = errors.to_status(raised)
    assert len(status.SerializeToString()) < 3_000
    assert status.message.endswith("…")
    assert len(status.message.encode()) <= 800


def test_a_retry_waits_at_least_as_long_as_was_said_and_not_all_wait_alike() -> None:
    busy = errors.ResourceExhausted("OVERLOADED", "busy", retry_after_s=0.2)
    waits = {errors.retry_pushback_ms(busy) for _ in range(50)}
    assert len(waits) > 10
    assert all(wait is not None and 200 <= wait <= 300 for wait in waits)


def test_a_retry_that_would_come_after_the_deadline_is_not_asked_for() -> None:
    busy = errors.ResourceExhausted("OVERLOADED", "busy", retry_after_s=2.0)
    assert errors.retry_pushback_ms(busy, remaining_s=1.9) == -1
    assert errors.retry_pushback_ms(busy, remaining_s=3.1) in range(2_000, 3_001)


def test_what_does_not_fit_is_not_to_be_tried_again_and_other_errors_say_nothing() -> None:
    assert errors.retry_pushback_ms(errors.ResourceExhausted("STORE_FULL", "full")) == -1
    assert errors.retry_pushback_ms(errors.Unavailable("STORE_UNAVAILABLE", "down")) is None
    assert errors.retry_pushback_ms(RuntimeError()) is None
