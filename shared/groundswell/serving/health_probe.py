"""Asks a server for its health: `python -m groundswell.serving.health_probe 127.0.0.1:50051`."""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 3.0


def main(arguments: list[str]) -> int:
    """0 when the server at the address says SERVING, else 1; 2 without an address."""
    if len(arguments) not in (1, 2):
        sys.stderr.write("usage: python -m groundswell.serving.health_probe HOST:PORT [SERVICE]\n")
        return 2
    service = arguments[1] if len(arguments) == 2 else ""
    # What is probed is on this machine, where no proxy of the environment leads.
    direct = (("grpc.enable_http_proxy", 0),)
    with grpc.insecure_channel(arguments[0], options=direct) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S
            )
        except grpc.RpcError as error:
            sys.stderr.write(f"{arguments[0]}: {error.code().name} {error.details()}\n")
            return 1
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return 0
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    sys.stderr.write(f"{arguments[0]}: {status}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
