"""The errors that calls end with, and the one table from exception to gRPC status."""

import asyncio
import random
from typing import TypeAlias

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from groundswell.serving.around import Context

DOMAIN = "groundswell"
PUSHBACK_KEY = "grpc-retry-pushback-ms"

# Both texts travel in headers, of which many clients take no more than 8 KiB.
_MAX_MESSAGE_BYTES = 800
_MAX_FIELD_BYTES = 300
_NEVER_RETRY_MS = -1

Trailers: TypeAlias = tuple[tuple[str, str | bytes], ...]

_SHED_S = 0.5
"""When to call a process again that was too busy to accept a call."""


class ServiceError(Exception):
    """A call that cannot be answered, for a reason that the caller may know.

    `reason` is stable and UPPER_SNAKE; `message` is for a person; `field` is the path of the
    request's field that is wrong; `retry_after_s` says when trying again may help.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        field: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s


class InvalidArgument(ServiceError):  # noqa: N818 - named as the status that it becomes
    """The request is wrong, whatever the state of the system."""


class NotFound(ServiceError):  # noqa: N818
    """Something that the request names does not exist."""


class AlreadyExists(ServiceError):  # noqa: N818
    """Something that the request would make exists."""


class FailedPrecondition(ServiceError):  # noqa: N818
    """The request is right, but the system is not in the state that it needs."""


class Unauthenticated(ServiceError):  # noqa: N818
    """The caller does not prove who it is."""


class PermissionDenied(ServiceError):  # noqa: N818
    """The caller may not do this."""


class ResourceExhausted(ServiceError):  # noqa: N818
    """There is more work, or less space, than the process can take."""


class Unavailable(ServiceError):  # noqa: N818
    """Something that is needed cannot be reached now."""


class DeadlineExceeded(ServiceError):  # noqa: N818
    """The time for the call ran out."""


class Unimplemented(ServiceError):  # noqa: N818
    """The process does not have what was called."""


_STATUS_CODES: dict[type[ServiceError], grpc.StatusCode] = {
    InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}
# Whom an upstream does not let in is this process, not its caller: until that is corrected, the
# upstream is out of reach.
_ERRORS: dict[grpc.StatusCode, type[ServiceError]] = {
    **{code: error for error, code in _STATUS_CODES.items()},
    grpc.StatusCode.UNAUTHENTICATED: Unavailable,
    grpc.StatusCode.PERMISSION_DENIED: Unavailable,
}


def status_code(error: ServiceError) -> grpc.StatusCode:
    """The canonical status of an error, which is that of the nearest class in the table."""
    for cls in type(error).__mro__:
        if cls in _STATUS_CODES:
            return _STATUS_CODES[cls]
    return grpc.StatusCode.INTERNAL


def is_expected(error: BaseException) -> bool:
    """Whether an exception has a status of its own, so that it is no fault of the server."""
    return isinstance(error, ServiceError | TimeoutError)


def to_status(error: BaseException) -> status_pb2.Status:
    """The rich status of any exception; one that is not expected says nothing about itself."""
    if isinstance(error, TimeoutError):
        error = DeadlineExceeded("DEADLINE_EXCEEDED", "the time for the call ran out")
    if not isinstance(error, ServiceError):
        return _status(grpc.StatusCode.INTERNAL, "internal error", "INTERNAL")
    status = _status(status_code(error), error.message, error.reason)
    if error.field is not None:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(error.field, _MAX_FIELD_BYTES),
            description=_cut(error.message, _MAX_MESSAGE_BYTES),
            reason=error.reason,
        )
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMicroseconds(round(error.retry_after_s * 1e6))
        status.details.add().Pack(retry)
    return status


def _status(code: grpc.StatusCode, message: str, reason: str) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message=_cut(message, _MAX_MESSAGE_BYTES))
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN))
    return status


def _cut(text: str, max_bytes: int) -> str:
    """A text of at most `max_bytes`; what was left out is shown by an ellipsis."""
    encoded = text.encode()
    if len(encoded) <= max_bytes:
        return text
    return encoded[: max_bytes - len("…".encode())].decode(errors="ignore") + "…"


def status_name(error: BaseException, context: Context) -> str:
    """The name of the status that a call ends with which raised an exception."""
    if isinstance(error, asyncio.CancelledError):
        return grpc.StatusCode.CANCELLED.name
    if isinstance(error, grpc.aio.AbortError):
        code = context.code()
        return (code if isinstance(code, grpc.StatusCode) else _CODES[code]).name
    return _CODES[to_status(error).code].name


async def end_call(context: Context, error: BaseException) -> None:
    """End a call with the status of an exception."""
    status = to_status(error)
    ends = trailers(error, status, context.time_remaining())
    await context.abort(_CODES[status.code], status.message, ends)


def trailers(
    error: BaseException, status: status_pb2.Status, remaining_s: float | None
) -> Trailers:
    """What a call ends with: the rich status, and when a gRPC client may retry by itself."""
    rich = (rpc_status.GRPC_DETAILS_METADATA_KEY, status.SerializeToString())
    pushback_ms = retry_pushback_ms(error, remaining_s)
    return (rich,) if pushback_ms is None else (rich, (PUSHBACK_KEY, str(pushback_ms)))


def retry_pushback_ms(error: BaseException, remaining_s: float | None = None) -> int | None:
    """When a client that retries by itself may do so, in milliseconds; −1: never; None: it decides.

    gRPC's clients wait for exactly this long, so the time is random: they do not all come back at
    once. They would also wait past their deadline, and then lose the reason. So the answer is
    "never" when the rest of the call, `remaining_s`, is shorter. A call that is refused for its
    size, without a time to wait, does not fit a second later either.
    """
    if not isinstance(error, ServiceError):
        return None
    if error.retry_after_s is not None:
        wait_s = error.retry_after_s * random.uniform(1.0, 1.5)
        is_late = remaining_s is not None and wait_s >= remaining_s
        return _NEVER_RETRY_MS if is_late else round(wait_s * 1000)
    return _NEVER_RETRY_MS if isinstance(error, ResourceExhausted) else None


def from_rpc_error(error: grpc.aio.AioRpcError) -> ServiceError | None:
    """The error that an upstream of the suite ended a call with, to be raised again.

    None when the status is not in the table: that is a fault of the upstream, and becomes INTERNAL.
    A status without a reason (no server was reached) gets UPSTREAM_ and the status as its reason.
    """
    if error.code() is grpc.StatusCode.CANCELLED:
        # gRPC ends a call like this when the upstream's process is too busy to accept it.
        return ResourceExhausted("OVERLOADED", "the upstream is too busy", retry_after_s=_SHED_S)
    cls = _ERRORS.get(error.code())
    if cls is None:
        return None
    status = rpc_status.from_call(error)
    reason, field, retry_after_s = f"UPSTREAM_{error.code().name}", None, None
    for detail in status.details if status is not None else ():
        info, bad, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        if detail.Unpack(info) and _STATUS_CODES[cls] is error.code():
            reason = info.reason
        elif detail.Unpack(bad) and bad.field_violations:
            field = bad.field_violations[0].field
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToMicroseconds() / 1e6
    return cls(reason, error.details() or "", field=field, retry_after_s=retry_after_s)
