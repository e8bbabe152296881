"""A gRPC server that answers at once with fixed bytes: what a call costs when nothing is done.

`python -m tests.bench.canned_server PORT FILE`; FILE is the JSON that `write_answers` writes. With
the variables of a certificate it speaks TLS; it checks no tokens.
"""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from groundswell.serving.door_settings import DoorSettings
from groundswell.serving.server import server_options
from groundswell.serving.tls import server_credentials

_MAX_CONNECTION_AGE_S = 600.0
_MAX_PENDING_RPCS = 1_000

Answers = Mapping[str, Message | Sequence[Message]]
"""By method, such as "/package.Service/Method": the answer, or those of a stream that then stays
open without another."""


def write_answers(path: Path, answers: Answers) -> None:
    """Write what a canned server shall answer."""
    content = {
        method: [_text(m) for m in answer] if isinstance(answer, Sequence) else _text(answer)
        for method, answer in answers.items()
    }
    path.write_text(json.dumps(content))


def _text(message: Message) -> str:
    return base64.b64encode(message.SerializeToString()).decode()


class _Canned(grpc.GenericRpcHandler):
    def __init__(self, path: Path) -> None:
        self._handlers: dict[str, Any] = {}
        for method, answer in json.loads(path.read_text()).items():
            if isinstance(answer, str):
                self._handlers[method] = _unary(base64.b64decode(answer))
            else:
                self._handlers[method] = _stream([base64.b64decode(one) for one in answer])

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(handler_call_details.method)


def _unary(answer: bytes) -> Any:
    async def call(request: bytes, context: Any) -> bytes:  # noqa: ARG001 - gRPC's signature
        return answer

    return grpc.unary_unary_rpc_method_handler(call)


def _stream(answers: list[bytes]) -> Any:
    async def call(request: bytes, context: Any) -> AsyncIterator[bytes]:  # noqa: ARG001
        for answer in answers:
            yield answer
        await asyncio.Event().wait()

    return grpc.unary_stream_rpc_method_handler(call)


async def _main(port: int, path: Path) -> None:
    server = grpc.aio.server(options=server_options(_MAX_CONNECTION_AGE_S, _MAX_PENDING_RPCS))
    server.add_generic_rpc_handlers((_Canned(path),))
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    credentials = server_credentials(DoorSettings())
    if credentials is None:
        server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        server.add_secure_port(f"127.0.0.1:{port}", credentials)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), Path(sys.argv[2])))
