"""Finds out which service of the suite listens at an address.

It asks for the health of each service by name: a server knows only its own.
"""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_SERVICES = {
    "profile": "groundswell.profile.v1.ProfileService",
    "session": "groundswell.session.v1.SessionService",
    "ranker": "groundswell.ranker.v1.RankerService",
}
_TIMEOUT_S = 2.0


def who_answers(address: str) -> str | None:
    """The name of the service there: profile, session or ranker; None when it is none of them."""
    with grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name, service in _SERVICES.items():
            request = health_pb2.HealthCheckRequest(service=service)
            try:
                health.Check(request, timeout=_TIMEOUT_S)
            except grpc.RpcError:
                continue
            return name
    return None
