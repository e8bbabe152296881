"""Refuses a method that no servicer has, with a reason and the names of the served services."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import grpc

from groundswell.serving.around import Context, Handler
from groundswell.serving.errors import Unimplemented, end_call


class UnknownMethodInterceptor(grpc.aio.ServerInterceptor):
    """Answers UNIMPLEMENTED with a reason; gRPC itself would answer it without one.

    It stands outside of the interceptors that count and keep methods. One handler serves every
    unknown name, so that callers cannot fill the memory, or the metrics, with names.
    """

    def __init__(self) -> None:
        self.services: Sequence[str] = ()
        """The full names of the services that the process has."""
        self._refusal: Handler = grpc.stream_stream_rpc_method_handler(self._refuse)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        handler = await continuation(handler_call_details)
        return self._refusal if handler is None else handler

    async def _refuse(self, _requests: AsyncIterator[bytes], context: Context) -> None:
        served = ", ".join(self.services)
        message = f"this process does not serve the method that was called; it serves {served}"
        await end_call(context, Unimplemented("METHOD_UNKNOWN", message))
