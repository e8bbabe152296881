"""The console's web application: its pages, its files, and the headers that guard both."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundswell.cli.console.subject import (
    MAX_LINES,
    MAX_SIZE,
    MistakeError,
    size_of,
    subject_of,
)
from groundswell.cli.console.suite_page import suite_page
from groundswell.cli.console.user_page import user_page
from groundswell.cli.console.why_page import why_page
from groundswell.client import GroundswellClient, GroundswellError, Targets

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
_FOLDER = Path(__file__).parent
_THREADS = 16
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Pages hold personal data.
    "Cache-Control": "no-store",
}
_FIELDS = ("user", "session", "items", "size")
_STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class _Guarded:
    """Gives every answer the same headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, send_guarded)


class _Pages:
    """The handlers; they run in threads, since the client waits for the services."""

    def __init__(self, client: GroundswellClient, targets: Targets, bundles: Path | None) -> None:
        self._client, self._addresses, self._bundles = client, asdict(targets), bundles
        self._pool = ThreadPoolExecutor(_THREADS, "console")
        self._templates = Environment(
            loader=FileSystemLoader(_FOLDER / "pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(max_lines=MAX_LINES, max_size=MAX_SIZE)

    def start(self, request: Request) -> Response:
        """The form, and below it what is known of the subject that it names."""
        if not request.query_params:
            return self._page("user.html.jinja", request)
        subject = subject_of(request.query_params, self._client, self._pool)
        size = size_of(request.query_params)
        found = user_page(self._client, self._pool, subject, size)
        return self._page("user.html.jinja", request, subject=subject, **found)

    def why(self, request: Request) -> Response:
        """Why an item is in a subject's list, or not."""
        subject = subject_of(request.query_params, self._client, self._pool)
        found = why_page(self._client, self._pool, subject, request.query_params)
        return self._page("why.html.jinja", request, subject=subject, **found)

    def suite(self, request: Request) -> Response:
        """The services, their queues, and the bundle."""
        found = suite_page(self._client, self._pool, self._addresses, self._bundles)
        return self._page("suite.html.jinja", request, **found)

    def mistake(self, request: Request, error: Exception) -> Response:
        """The form again, with what is wrong."""
        return self._page("user.html.jinja", request, 400, problem=str(error))

    def failure(self, request: Request, error: Exception) -> Response:
        """A service that did not answer as it should."""
        status = _STATUSES.get(error.status, 502) if isinstance(error, GroundswellError) else 500
        return self._page("user.html.jinja", request, status, problem=str(error))

    def _page(self, name: str, request: Request, status: int = 200, **values: Any) -> Response:
        shown: Mapping[str, Any] = {
            "filled": {name: request.query_params.get(name, "") for name in _FIELDS},
            "path": request.url.path,
            "subject": None,
            "problem": "",
            **values,
        }
        return HTMLResponse(self._templates.get_template(name).render(shown), status)


def console_app(
    client: GroundswellClient, targets: Targets, bundles: Path | None, hosts: tuple[str, ...]
) -> Starlette:
    """Make the application.

    `targets` are shown. `bundles` is the folder whose manifests are read, if there is one. Requests
    whose Host is none of `hosts` are refused, so that no other page's script can read this one by a
    name of its own (DNS rebinding); "*" takes all.
    """
    pages = _Pages(client, targets, bundles)
    return Starlette(
        routes=[
            Route("/", pages.start),
            Route("/why", pages.why),
            Route("/suite", pages.suite),
            Mount("/static", StaticFiles(directory=_FOLDER / "static")),
        ],
        middleware=[
            Middleware(_Guarded),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        ],
        exception_handlers={MistakeError: pages.mistake, GroundswellError: pages.failure},
    )
