"""Runs a gRPC server from its first log line to its drained end."""

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from importlib.metadata import version
from typing import Any, cast

import grpc
import structlog
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from groundswell.serving.access import Door
from groundswell.serving.audit import AuditLog
from groundswell.serving.calls import Calls
from groundswell.serving.health import Health
from groundswell.serving.limits import TRANSPORT_REQUEST_BYTES
from groundswell.serving.loop_lag import measure_loop_lag
from groundswell.serving.metrics_server import start_metrics
from groundswell.serving.overload import NO_ADMISSIONS, Admissions
from groundswell.serving.pseudonym import Pseudonymizer
from groundswell.serving.redaction import printable
from groundswell.serving.settings import ServingSettings
from groundswell.serving.telemetry import configure_logging, set_up_logging
from groundswell.serving.tls import server_credentials
from groundswell.serving.tokens import TokenReader
from groundswell.serving.tracing import stop_traces

EXIT_FAILED = 1

_log = structlog.get_logger(__name__)


class StartError(Exception):
    """The process cannot serve; `reason` is UPPER_SNAKE, the text says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a process's coroutine on its one event loop; an error ends it with status 1."""
    set_up_logging("INFO", "json", final=False)
    try:
        asyncio.run(main)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the last stop of every error
        _log_start_failure(error)
        sys.exit(EXIT_FAILED)


async def serve(
    settings: ServingSettings,
    register: Callable[[grpc.aio.Server], Sequence[str]],
    *,
    ready: Callable[[], Awaitable[None]],
    close: Callable[[], Awaitable[None]],
    health: Health | None = None,
    admissions: Admissions = NO_ADMISSIONS,
) -> None:
    """Serve until SIGTERM or SIGINT; `admissions` refuse calls that would wait too long.

    `register` adds the servicers and returns their full service names. Health says NOT_SERVING
    for each of them and for "" until `ready` has returned; a caller that passes `health` can
    report a part that fails later. At the end: NOT_SERVING, a short wait for load balancers to see
    it, no new calls, `drain_s` for those in flight, then `close`, which is called in any case.
    Raises StartError when the port is taken, and what `ready` raises.
    """
    configure_logging(settings)
    _log.info("settings", version=version("groundswell"), **printable(settings))
    if not settings.is_loopback and settings.missing_of_door:
        missing = " and ".join(settings.missing_of_door)
        _log.warning("insecure", host=settings.host, detail=f"not set: {missing}")
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        await _serve(settings, register, ready, health or Health(), stopping, admissions)
    finally:
        await close()
        await asyncio.to_thread(stop_traces)
    _log.info("closed")


async def _serve(
    settings: ServingSettings,
    register: Callable[[grpc.aio.Server], Sequence[str]],
    ready: Callable[[], Awaitable[None]],
    health: Health,
    stopping: asyncio.Event,
    admissions: Admissions,
) -> None:
    server = grpc.aio.server(
        options=server_options(settings.max_connection_age_s, settings.max_pending_rpcs)
    )
    tokens, credentials, audit = _read_door(settings)
    calls = Calls(
        server,
        max_concurrent_rpcs=settings.max_concurrent_rpcs,
        max_streams=settings.max_streams,
        max_streams_per_peer=settings.max_streams_per_peer,
        admissions=admissions,
        door=None if tokens is None else Door(tokens),
        audit=audit,
    )
    wrapping = cast("grpc.aio.Server", calls)
    names = calls.services = register(wrapping)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, wrapping)
    await health.add(names)
    if settings.is_loopback if settings.reflection is None else settings.reflection:
        _add_reflection(wrapping, names)
    port = _bind(server, settings, credentials)
    stop_metrics = _start_metrics(settings)
    await server.start()
    measuring = asyncio.create_task(measure_loop_lag())
    try:
        if await _until_ready(ready, stopping):
            await health.ready()
            _log.info("serving", address=settings.address_of(port), services=list(names))
            await stopping.wait()
        _log.info("draining")
        await health.shut_down()
        await asyncio.sleep(settings.drain_wait_s)
        calls.drained.drain()
        await server.stop(settings.drain_s)
    finally:
        await server.stop(None)
        measuring.cancel()
        stop_metrics()
        if audit is not None:
            audit.close()


def _read_door(
    settings: ServingSettings,
) -> tuple[TokenReader | None, grpc.ServerCredentials | None, AuditLog | None]:
    """What checks tokens, what the port is opened with, and the audit log, where there are any."""
    try:
        tokens = _tokens(settings)
        is_audited = tokens is not None or settings.audit_log is not None
        pseudonyms = Pseudonymizer(*settings.secrets)
        audit = AuditLog(pseudonyms, settings.audit_log) if is_audited else None
        return tokens, server_credentials(settings), audit
    except (OSError, ValueError) as error:
        raise StartError(
            "DOOR_INVALID", f"a file of certificates, keys or audit: {error}"
        ) from error


def _tokens(settings: ServingSettings) -> TokenReader | None:
    if settings.token_keys is None:
        return None
    issuer, audience = settings.token_issuer, settings.token_audience
    return TokenReader(settings.token_keys, issuer=issuer, audience=audience)


def _add_reflection(server: grpc.aio.Server, names: Sequence[str]) -> None:
    shown = (*names, SERVICE_NAME, reflection.SERVICE_NAME)
    servicer = reflection.aio.ReflectionServicer(shown)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)


async def _until_ready(ready: Callable[[], Awaitable[None]], stopping: asyncio.Event) -> bool:
    """Whether the process got ready; False when it was told to stop before."""
    preparing = asyncio.ensure_future(ready())
    told_to_stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({preparing, told_to_stop}, return_when=asyncio.FIRST_COMPLETED)
    told_to_stop.cancel()
    if not preparing.done():
        preparing.cancel()
        await asyncio.gather(preparing, return_exceptions=True)
        return False
    preparing.result()
    # What was loaded stays for life: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    return True


def server_options(
    max_connection_age_s: float, max_pending_rpcs: int
) -> tuple[tuple[str, int], ...]:
    """The gRPC options of every server of the suite."""
    age_ms = int(max_connection_age_s * 1000)
    return (
        ("grpc.max_receive_message_length", TRANSPORT_REQUEST_BYTES),
        ("grpc.max_send_message_length", -1),
        # Without this a second process would silently share the port.
        ("grpc.so_reuseport", 0),
        # When the process is too busy to accept calls, gRPC itself ends those above these numbers.
        # Without a bound, hundreds of calls would wait until their deadline is over.
        ("grpc.server.max_pending_requests", max_pending_rpcs),
        ("grpc.server.max_pending_requests_hard_limit", 2 * max_pending_rpcs),
        # Clients connect again from time to time, so that new replicas get calls. Streams that
        # are open then have as long again to end.
        ("grpc.max_connection_age_ms", age_ms),
        ("grpc.max_connection_age_grace_ms", age_ms),
        # Connections that are left, half open or before they began, are closed within the minute.
        # Without a timeout of its own gRPC waits a minute for the answer to a ping of keepalive.
        ("grpc.server_handshake_timeout_ms", 20_000),
        ("grpc.http2.settings_timeout", 20_000),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Clients of the suite ping every 20 s.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    )


def _bind(
    server: grpc.aio.Server, settings: ServingSettings, credentials: grpc.ServerCredentials | None
) -> int:
    try:
        if credentials is not None:
            return server.add_secure_port(settings.address, credentials)
        return server.add_insecure_port(settings.address)
    except RuntimeError as error:
        raise StartError(
            "ADDRESS_UNAVAILABLE",
            f"cannot listen on {settings.address}: the port is taken, or the host is not this "
            "machine's; set GROUNDSWELL_PORT and GROUNDSWELL_HOST",
        ) from error


def _start_metrics(settings: ServingSettings) -> Callable[[], None]:
    try:
        # Its threads need a reader of tokens of their own.
        return start_metrics(settings, _tokens(settings))
    except OSError as error:
        raise StartError(
            "ADDRESS_UNAVAILABLE",
            f"cannot serve metrics on {settings.host}:{settings.metrics_port}: {error}; set "
            "GROUNDSWELL_METRICS_PORT",
        ) from error


def _log_start_failure(error: Exception) -> None:
    """One line for an error that has a reason (StartError, BundleError …), else a traceback."""
    reason = getattr(error, "reason", None)
    if reason is None:
        _log.error("failed", exc_info=error)
    else:
        _log.error("failed", reason=reason, detail=str(error))
