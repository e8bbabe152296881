"""Channels to other services: one per target, opened inside the event loop, kept for life."""

import grpc

from groundswell.serving.limits import MAX_RECEIVED_BYTES
from groundswell.serving.tracing import traced_channel

# Pings stay slower than what the servers of the suite permit (see server.py).
_OPTIONS = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.max_receive_message_length", MAX_RECEIVED_BYTES),
    # A peer that comes back must be found within seconds, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.dns_min_time_between_resolutions_ms", 2_000),
)


def open_channel(target: str, *, http_proxy: bool = False) -> grpc.aio.Channel:
    """A channel to `target`, such as "127.0.0.1:50051" or "dns:///profile:50051".

    With `http_proxy` it goes by the proxy that `http_proxy` of the environment names, if any. By
    default it does not: gRPC itself would ask the proxy even for the loopback address.
    """
    options = (*_OPTIONS, ("grpc.enable_http_proxy", int(http_proxy)))
    return traced_channel(grpc.aio.insecure_channel(target, options=options))
