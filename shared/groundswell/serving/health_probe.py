"""Asks a server for its health: `python -m groundswell.serving.health_probe 127.0.0.1:50051`."""

import sys
from contextlib import closing

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from groundswell.client.secured import Tls, from_environment, open_channel

SERVING, NOT_SERVING = "SERVING", "NOT_SERVING"
TIMEOUT_S = 3.0


def health(
    address: str, service: str = "", timeout_s: float = TIMEOUT_S, tls: Tls | None = None
) -> str:
    """SERVING or NOT_SERVING as a server on this machine says it, or why it gives no answer.

    `service` is the full name of one of its services; a server knows only its own. No token is
    needed. Raises OSError, ValueError for a wrong file of `tls`.
    """
    # No proxy of the environment leads to this machine.
    direct = (("grpc.enable_http_proxy", 0),)
    with closing(open_channel(address, direct, tls)) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=timeout_s
            )
        except grpc.RpcError as error:
            return f"{error.code().name} {error.details()}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def main(arguments: list[str]) -> int:
    """0 when the server at the address says SERVING, else 1; 2 without an address.

    It is asked over TLS where GROUNDSWELL_TLS_CA is set, as calls of a service are.
    """
    if len(arguments) not in (1, 2):
        sys.stderr.write("usage: python -m groundswell.serving.health_probe HOST:PORT [SERVICE]\n")
        return 2
    status = health(arguments[0], "".join(arguments[1:]), tls=from_environment()[0])
    if status == SERVING:
        return 0
    sys.stderr.write(f"{arguments[0]}: {status}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
