"""Calls of a suite behind its door: with any token, and as a load while files are replaced."""

import asyncio
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from groundswell.cli.suite.door import LocalDoor
from groundswell.client import AsyncGroundswellClient, event
from groundswell.client.errors import from_rpc_error
from tests.support.suite import Suite

REFUSED = ("UNAUTHENTICATED", "PERMISSION_DENIED")
LONG_ENOUGH_S = 2.0
"""Within this time every process has looked at a replaced file."""


class Behind:
    """The suite behind its door, with two live keys of tokens, and where its metrics are."""

    def __init__(self, suite: Suite, door: LocalDoor, older: Path, metrics_port: int) -> None:
        self.suite, self.door, self.older, self.metrics_port = suite, door, older, metrics_port

    def channel(self, name: str) -> grpc.aio.Channel:
        """A channel without a token."""
        certificate, key = (path.read_bytes() for path in self.door.certificates.client)
        roots = self.door.certificates.ca.read_bytes()
        credentials = grpc.ssl_channel_credentials(roots, key, certificate)
        return grpc.aio.secure_channel(self.suite.addresses[name], credentials)

    def client(self) -> AsyncGroundswellClient:
        """A client with the door's certificates and token."""
        return AsyncGroundswellClient(self.suite.targets, tls=self.door.tls, token=self.door.token)

    def audited(self) -> list[dict[str, Any]]:
        """The lines of the ranker's audit log."""
        lines = (self.suite.folder / "audit.log").read_text().splitlines()
        return [json.loads(line) for line in lines]


async def outcome(
    channel: grpc.aio.Channel, path: str, token: str | None, kind: str, timeout_s: float = 10.0
) -> str:
    """The reason that refused an empty request at the door; "" when it passed."""
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    call: Any = partial(getattr(channel, kind)(path), metadata=metadata, wait_for_ready=True)
    try:
        if kind == "stream_stream":
            started = call(timeout=timeout_s)
            await started.done_writing()
            await started.read()
        elif kind == "unary_stream":
            started = call(b"", timeout=2.0)
            await started.read()
            started.cancel()
        else:
            await call(b"", timeout=timeout_s)
    except grpc.aio.AioRpcError as error:
        if error.code().name not in REFUSED:
            return ""
        failure = from_rpc_error(error)
        assert (failure.reason == "ROLE_MISSING") == (error.code().name == "PERMISSION_DENIED")
        return failure.reason
    return ""


class Load:
    """Calls of all three services that run one after the other, over connections that end often."""

    def __init__(self, behind: Behind) -> None:
        self._client = behind.client()
        self._ranker = behind.suite.ranker
        self._running = [asyncio.create_task(self._repeat(call)) for call in self._calls()]
        self._answered = asyncio.Semaphore(0)

    def _calls(self) -> list[Callable[[], Awaitable[Any]]]:
        client = self._client
        return [
            lambda: client.recommend("anna"),
            lambda: client.record_events([event("bert", "item-2", "click")]),
            lambda: client.model("profile"),
        ]

    async def _repeat(self, call: Callable[[], Awaitable[Any]]) -> None:
        while True:
            answer = await call()
            assert not getattr(answer, "degradations", ()), self._ranker.log()[-4000:]
            self._answered.release()
            await asyncio.sleep(0.05)

    async def goes_on(self) -> None:
        """Wait until every process has looked at the files, and each call was answered again."""
        await asyncio.sleep(LONG_ENOUGH_S)
        self._answered = asyncio.Semaphore(0)
        async with asyncio.timeout(30):
            for _ in range(20):
                await self._answered.acquire()
        for task in self._running:
            if task.done():
                task.result()

    async def __aenter__(self) -> "Load":
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._client.close()


def certificate_of(behind: Behind) -> str:
    """The certificate that the ranker shows."""
    context = ssl.create_default_context(cafile=behind.door.certificates.ca)
    context.load_cert_chain(*behind.door.certificates.client)
    context.set_alpn_protocols(["h2"])
    host, _, port = behind.suite.addresses["ranker"].rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=5) as connection,
        context.wrap_socket(connection, server_hostname="localhost") as secured,
    ):
        assert secured.version() in ("TLSv1.2", "TLSv1.3")
        shown = secured.getpeercert(binary_form=True)
        assert shown is not None
        return ssl.DER_cert_to_PEM_cert(shown)


def replace(path: Path, content: bytes) -> None:
    made = path.with_suffix(".new")
    made.write_bytes(content)
    made.replace(path)
