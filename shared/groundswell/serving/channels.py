"""Channels to other services: one per target, opened inside the event loop, kept for life."""

import grpc

from groundswell.client.secured import Token, open_aio_channel
from groundswell.serving.door_settings import CallerSettings
from groundswell.serving.limits import MAX_RECEIVED_BYTES
from groundswell.serving.server import StartError
from groundswell.serving.settings import CallingSettings
from groundswell.serving.token_keys import TokenMaker
from groundswell.serving.tracing import traced_channel

# Pings stay slower than what the servers of the suite permit (see server.py).
_OPTIONS = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Without it gRPC waits a minute for the answer to a ping of keepalive.
    ("grpc.http2.ping_timeout_ms", 10_000),
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


def open_channel(target: str, settings: CallingSettings | None = None) -> grpc.aio.Channel:
    """A channel to `target`, such as "127.0.0.1:50051" or "dns:///profile:50051".

    With `http_proxy` of the settings it goes by the proxy that `http_proxy` of the environment
    names, if any. By default it does not: gRPC itself would ask the proxy even for the loopback
    address. Raises StartError for a wrong certificate, key or token, and for a token that others
    could read.
    """
    http_proxy = settings is not None and settings.http_proxy
    options = (*_OPTIONS, ("grpc.enable_http_proxy", int(http_proxy)))
    if settings is None:
        return traced_channel(open_aio_channel(target, options))
    try:
        channel = open_aio_channel(target, options, settings.calling_tls, _token(settings))
    except (OSError, ValueError) as error:
        message = f"calls to other services: {error}"
        raise StartError("CALLER_INVALID", message) from error
    return traced_channel(channel)


def _token(settings: CallerSettings) -> Token | None:
    if settings.token_signing_key is None:
        return settings.token_file
    issuer, audience = settings.token_issuer, settings.token_audience
    maker = TokenMaker(settings.token_signing_key, issuer=issuer, audience=audience)
    return maker.own(settings.caller)
