"""The errors that calls end with, and the one table from exception to gRPC status."""

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

DOMAIN = "groundswell"


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


class ResourceExhausted(ServiceError):  # noqa: N818
    """There is more work, or less space, than the process can take."""


class Unavailable(ServiceError):  # noqa: N818
    """Something that is needed cannot be reached now."""


class DeadlineExceeded(ServiceError):  # noqa: N818
    """The time for the call ran out."""


_STATUS_CODES: dict[type[ServiceError], grpc.StatusCode] = {
    InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_ERRORS = {code: error for error, code in _STATUS_CODES.items()}


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
            field=error.field, description=error.message, reason=error.reason
        )
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMicroseconds(round(error.retry_after_s * 1e6))
        status.details.add().Pack(retry)
    return status


def _status(code: grpc.StatusCode, message: str, reason: str) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN))
    return status


def from_rpc_error(error: grpc.aio.AioRpcError) -> ServiceError | None:
    """The error that an upstream of the suite ended a call with, to be raised again.

    None when the status is not in the table: then the upstream failed, and so does the caller.
    A status without a reason (nobody was reached) gets UPSTREAM_ and the status as its reason.
    """
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
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad) and bad.field_violations:
            field = bad.field_violations[0].field
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToMicroseconds() / 1e6
    return cls(reason, error.details() or "", field=field, retry_after_s=retry_after_s)
