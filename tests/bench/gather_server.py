"""A ranker that only gathers: asks both upstreams at once, and answers with fixed bytes.

`python -m tests.bench.gather_server PORT PROFILE SESSION FILE`; FILE holds the answer's bytes.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from groundswell.profile.v1.profile_service_pb2 import GetProfileRequest
from groundswell.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from groundswell.ranker.v1.ranker_service_pb2 import RecommendRequest
from groundswell.serving.channels import open_channel
from groundswell.serving.server import server_options
from groundswell.session.v1.session_service_pb2 import EncodeSessionRequest
from groundswell.session.v1.session_service_pb2_grpc import SessionServiceStub

_TIMEOUT_S = 0.5
_MAX_CONNECTION_AGE_S = 600.0
_MAX_PENDING_RPCS = 1_000


async def _main(port: int, profile: str, session: str, answer: bytes) -> None:
    profiles = ProfileServiceStub(open_channel(profile))
    sessions = SessionServiceStub(open_channel(session))

    async def recommend(request: RecommendRequest, context: Any) -> bytes:  # noqa: ARG001
        user_id = request.user_id
        await asyncio.gather(
            profiles.GetProfile(GetProfileRequest(user_id=user_id), timeout=_TIMEOUT_S),
            sessions.EncodeSession(EncodeSessionRequest(user_id=user_id), timeout=_TIMEOUT_S),
        )
        return answer

    method: grpc.RpcMethodHandler[RecommendRequest, bytes] = grpc.unary_unary_rpc_method_handler(
        recommend, RecommendRequest.FromString
    )
    server = grpc.aio.server(options=server_options(_MAX_CONNECTION_AGE_S, _MAX_PENDING_RPCS))
    server.add_registered_method_handlers(
        "groundswell.ranker.v1.RankerService", {"Recommend": method}
    )
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]).read_bytes()))
