"""Serves the metrics over HTTP, behind the same door as the calls."""

import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server

from groundswell.client.files import Reloaded, num_failing, read_pair
from groundswell.serving.access import MONITOR, OPERATOR, check_role
from groundswell.serving.door_settings import DoorSettings
from groundswell.serving.errors import ServiceError, Unauthenticated
from groundswell.serving.settings import ServingSettings
from groundswell.serving.telemetry import gauge_of
from groundswell.serving.tokens import TokenReader

_READERS = frozenset({MONITOR, OPERATOR})
_TIMEOUT_S = 10.0
_MAX_CONNECTIONS = 32


def start_metrics(settings: ServingSettings, tokens: TokenReader | None) -> Callable[[], None]:
    """Serve the metrics when a port is set; returns what ends that.

    `tokens` is used in threads of the metrics alone. Raises OSError when the port is taken.
    """
    if settings.metrics_port is None:
        return lambda: None
    gauge_of("reloads_failing", num_failing)
    client_ca = settings.tls_client_ca
    started: tuple[WSGIServer, threading.Thread] = start_http_server(
        settings.metrics_port,
        addr=settings.host,
        certfile=_text(settings.tls_certificate),
        keyfile=_text(settings.tls_key),
        client_cafile=_text(client_ca),
        client_auth_required=client_ca is not None,
    )
    server, thread = started
    # Whoever connects and sends nothing takes a thread no longer than this.
    server.RequestHandlerClass.timeout = _TIMEOUT_S  # type: ignore[attr-defined]
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # who leaves, or is silent
    server.verify_request = _has_room  # type: ignore[method-assign, assignment]
    _reload_certificates(server, settings)
    app: Any = server.get_app()
    lock = threading.Lock()

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with lock:
            refusal = None if tokens is None else _refusal(tokens, environ)
        if refusal is None:
            answered: Iterable[bytes] = app(environ, start_response)
            return answered
        start_response(refusal, [("WWW-Authenticate", "Bearer"), ("Content-Length", "0")])
        return []

    server.set_app(answer)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


def _refusal(tokens: TokenReader, environ: dict[str, Any]) -> str | None:
    """The status of a request without a right token; None: it may read."""
    try:
        check_role(tokens.read(environ.get("HTTP_AUTHORIZATION", "")), _READERS)
    except Unauthenticated:
        return "401 Unauthorized"
    except ServiceError:
        return "403 Forbidden"
    return None


def _has_room(*_: object) -> bool:
    """Whether one more connection gets a thread."""
    names = [thread.name for thread in threading.enumerate()]
    return sum("process_request_thread" in name for name in names) < _MAX_CONNECTIONS


def _reload_certificates(server: WSGIServer, settings: DoorSettings) -> None:
    """Make each new connection use the files of the certificate as they are then."""
    certificate, key, listening = settings.tls_certificate, settings.tls_key, server.socket
    if certificate is None or key is None or not isinstance(listening, ssl.SSLSocket):
        return
    # In the thread of the connection, not in that which accepts all of them.
    listening.do_handshake_on_connect = False  # type: ignore[attr-defined]
    context, authorities = listening.context, settings.tls_client_ca

    def read() -> None:
        read_pair(certificate, key)
        context.load_cert_chain(certificate, key)
        if authorities is not None:
            context.load_verify_locations(authorities)

    reload = Reloaded([path for path in (certificate, key, authorities) if path], read)
    accept = server.get_request

    def get_request() -> Any:
        reload()
        return accept()

    server.get_request = get_request  # type: ignore[method-assign]


def _text(path: object | None) -> str | None:
    return None if path is None else str(path)
