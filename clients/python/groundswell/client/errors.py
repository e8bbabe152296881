"""The one error of the client, read from a call's status and its details."""

from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

# The contract's limit of one request.
MAX_REQUEST_BYTES = 4 * 1024 * 1024
TOO_LARGE = "MESSAGE_TOO_LARGE"
OVERLOADED = "OVERLOADED"

# The text of gRPC's own error for a message that is too large; it has no reason.
_GRPC_TOO_LARGE = "message larger than max"
# The text of gRPC's own error when a server is too busy to accept a call, and when to retry.
_GRPC_SHED = "CANCELLED"
_SHED_S = 0.5
_DETAILS_KEY = "grpc-status-details-bin"
_FIELD = descriptor_pb2.FieldDescriptorProto

# What is read of google.rpc's messages: name → (number, type), or (number, message) when repeated
# or nested. A pool of our own, under names of our own: an application may have the real ones.
_MESSAGES: dict[str, dict[str, tuple[int, int | str, bool]]] = {
    "Any": {"type_url": (1, _FIELD.TYPE_STRING, False), "value": (2, _FIELD.TYPE_BYTES, False)},
    "Status": {
        "code": (1, _FIELD.TYPE_INT32, False),
        "message": (2, _FIELD.TYPE_STRING, False),
        "details": (3, "Any", True),
    },
    "ErrorInfo": {
        "reason": (1, _FIELD.TYPE_STRING, False),
        "domain": (2, _FIELD.TYPE_STRING, False),
    },
    "FieldViolation": {
        "field": (1, _FIELD.TYPE_STRING, False),
        "description": (2, _FIELD.TYPE_STRING, False),
        "reason": (3, _FIELD.TYPE_STRING, False),
    },
    "BadRequest": {"field_violations": (1, "FieldViolation", True)},
    "Duration": {
        "seconds": (1, _FIELD.TYPE_INT64, False),
        "nanos": (2, _FIELD.TYPE_INT32, False),
    },
    "RetryInfo": {"retry_delay": (1, "Duration", False)},
}
_PACKAGE = "groundswell.client.rpc"


class FieldViolation(NamedTuple):
    """A field of the request that is wrong."""

    field: str
    description: str
    reason: str


class GroundswellError(Exception):
    """A call that failed.

    `status` is the canonical status. `reason` is the contract's stable UPPER_SNAKE reason, such as
    ITEM_NOT_FOUND; empty when no server answered (no connection, a deadline). A message that is too
    large has MESSAGE_TOO_LARGE, if gRPC, a server, or this client refused it. A
    call that a server was too busy to accept has OVERLOADED too; gRPC ends it with CANCELLED.
    `violations` name the fields that are wrong; `retry_after_s` says when trying again may help,
    None when the server did not say.
    """

    def __init__(
        self,
        status: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        violations: tuple[FieldViolation, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{status.name}{f' ({reason})' if reason else ''}: {message}")
        self.status = status
        self.message = message
        self.reason = reason
        self.violations = violations
        self.retry_after_s = retry_after_s


class OverloadedError(GroundswellError):
    """A call that was refused because the service is overloaded; its reason is OVERLOADED.

    With `is_local` it was not sent: the client itself refused it, because the service had refused
    many of the last calls.
    """

    def __init__(
        self,
        status: grpc.StatusCode,
        message: str,
        *,
        reason: str = OVERLOADED,
        violations: tuple[FieldViolation, ...] = (),
        retry_after_s: float | None = None,
        is_local: bool = False,
    ) -> None:
        super().__init__(
            status, message, reason=reason, violations=violations, retry_after_s=retry_after_s
        )
        self.is_local = is_local


def from_call(
    status: grpc.StatusCode, message: str | None, trailing_metadata: Iterable[Any] | None
) -> GroundswellError:
    """The error of a call that ended with `status`."""
    packed = dict(trailing_metadata or ()).get(_DETAILS_KEY)
    reason, violations, retry_after_s = "", [], None
    for detail in _message("Status").FromString(packed).details if packed else ():
        match detail.type_url.rpartition("/")[2]:
            case "google.rpc.ErrorInfo":
                reason = _message("ErrorInfo").FromString(detail.value).reason
            case "google.rpc.BadRequest":
                bad = _message("BadRequest").FromString(detail.value)
                violations += [
                    FieldViolation(v.field, v.description, v.reason) for v in bad.field_violations
                ]
            case "google.rpc.RetryInfo":
                delay = _message("RetryInfo").FromString(detail.value).retry_delay
                retry_after_s = delay.seconds + delay.nanos / 1e9
    if not packed and _GRPC_TOO_LARGE in (message or ""):
        reason = TOO_LARGE
    if status is grpc.StatusCode.CANCELLED and not packed and message == _GRPC_SHED:
        reason, retry_after_s = OVERLOADED, _SHED_S
    kind = OverloadedError if reason == OVERLOADED else GroundswellError
    return kind(
        status,
        message or "",
        reason=reason,
        violations=tuple(violations),
        retry_after_s=retry_after_s,
    )


def from_rpc_error(error: grpc.RpcError) -> GroundswellError:
    """The error of a call that raised, sync or aio."""
    return from_call(error.code(), error.details(), error.trailing_metadata())


def closed_error() -> GroundswellError:
    """The error of a call of a client that was closed before."""
    return GroundswellError(grpc.StatusCode.FAILED_PRECONDITION, "the client is closed")


def check_size(request: Message) -> None:
    """Raise GroundswellError (MESSAGE_TOO_LARGE) when a request is larger than servers take."""
    size = request.ByteSize()
    if size > MAX_REQUEST_BYTES:
        raise GroundswellError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"the request is {size:,} bytes long; at most {MAX_REQUEST_BYTES:,} are taken: send "
            "less at once",
            reason=TOO_LARGE,
        )


def _message(name: str) -> Any:
    """The class of one of the messages above."""
    return _classes()[name]


@cache
def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="groundswell/client/rpc.proto", package=_PACKAGE, syntax="proto3"
    )
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for field_name, (number, kind, is_repeated) in fields.items():
            field = message.field.add(name=field_name, number=number)
            field.label = _FIELD.LABEL_REPEATED if is_repeated else _FIELD.LABEL_OPTIONAL
            if isinstance(kind, str):
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = _FIELD.Type.ValueType(kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }
