"""What a refused call ends with."""

from typing import Any

import grpc
import pytest

from groundswell.serving.admission import DeadlineAdmission
from groundswell.serving.overload import admitted
from groundswell.serving.pacing import Pacer
from groundswell.serving.telemetry import RpcMetrics


class Refusing(DeadlineAdmission):
    """Refuses every call."""

    def retry_after_s(self, remaining_s: float | None) -> float | None:  # noqa: ARG002
        return 0.2


class Context:
    """A call that has some time left."""

    def __init__(self, remaining_s: float | None) -> None:
        self._remaining_s = remaining_s

    def time_remaining(self) -> float | None:
        return self._remaining_s

    async def abort(self, code: grpc.StatusCode, message: str, trailers: Any) -> None:  # noqa: ARG002
        self.code, self.trailers = code, dict(trailers)
        raise grpc.aio.AbortError


@pytest.mark.parametrize(("remaining_s", "may_retry"), [(None, True), (2.0, True), (0.19, False)])
async def test_a_client_may_retry_by_itself_only_within_its_deadline(
    remaining_s: float | None, may_retry: bool
) -> None:
    handler: Any = grpc.unary_unary_rpc_method_handler(_never_called)
    context: Any = Context(remaining_s)
    metrics = RpcMetrics("unary", "test.Service", "Get")
    refused: Any = admitted(handler, metrics, Refusing(default_s=1.0), Pacer())
    with pytest.raises(grpc.aio.AbortError):
        await refused.stream_unary(None, context)
    assert context.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    pushback_ms = int(context.trailers["grpc-retry-pushback-ms"])
    assert 200 <= pushback_ms <= 300 if may_retry else pushback_ms == -1


async def _never_called(request: bytes, context: Any) -> bytes:  # noqa: ARG001
    raise AssertionError("a refused call was answered")
