"""Channels over TLS and calls with a token; files of both are read again when they change."""

import asyncio
import ipaddress
import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

import grpc

from groundswell.client.files import Reloaded, read_authorities, read_pair

Token: TypeAlias = str | Path | Callable[[], str]
"""A token; the file that holds one, which is read again when it changes; or what returns one."""
Options: TypeAlias = Sequence[tuple[str, int | str]]

_BY_GRPC = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):", re.IGNORECASE)
"""Prefixes of names that gRPC resolves by rules of its own."""

_ALLOW_INSECURE = "GROUNDSWELL_ALLOW_INSECURE"
# Longer than a call of the client may take.
_CLOSE_REPLACED_S = 3600.0


@dataclass(frozen=True)
class Tls:
    """How servers prove who they are, and this client to them. Files are PEM.

    `ca` holds the authorities that servers' certificates are checked against; without it those of
    gRPC, which know public servers. Mutual TLS needs `certificate` and `key`.
    """

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a certificate and its key belong together")

    def credentials(self) -> Reloaded[grpc.ChannelCredentials]:
        """What a channel is opened with. Raises OSError, ValueError for a wrong file."""
        given = (self.ca, self.certificate, self.key)
        return Reloaded([Path(file) for file in given if file is not None], self._read)

    def _read(self) -> grpc.ChannelCredentials:
        authorities = None if self.ca is None else read_authorities(Path(self.ca))
        if self.certificate is None or self.key is None:
            return grpc.ssl_channel_credentials(authorities)
        certificate, key = read_pair(Path(self.certificate), Path(self.key))
        return grpc.ssl_channel_credentials(authorities, key, certificate)


def from_environment() -> tuple[Tls | None, Path | None]:
    """What the variables GROUNDSWELL_TLS_CA, _TLS_CLIENT_CERTIFICATE, _TLS_CLIENT_KEY and
    _TOKEN_FILE say of calls; None: not encrypted, or without a token. Raises ValueError.
    """
    names = ("TLS_CA", "TLS_CLIENT_CERTIFICATE", "TLS_CLIENT_KEY", "TOKEN_FILE")
    ca, certificate, key, token = (os.environ.get(f"GROUNDSWELL_{name}") or None for name in names)
    return (Tls(ca, certificate, key) if ca else None), (Path(token) if token else None)


def is_loopback(target: str) -> bool:
    """Whether only this machine answers at a target, such as "localhost:1" or "dns:///a:1"."""
    names = _BY_GRPC.sub("", target).lstrip("/").lower().split(",")
    hosts = {name.rpartition(":")[0].strip("[]") for name in names}
    try:
        return all(ipaddress.ip_address(host).is_loopback for host in hosts - {"localhost"})
    except ValueError:
        return target.lower().startswith("unix")


def _check_readers(target: str) -> None:
    """Raise ValueError where others could read a token that is sent in plain text."""
    allowed = os.environ.get(_ALLOW_INSECURE, "").strip().lower()
    if not is_loopback(target) and allowed not in ("1", "true", "yes", "on", "t", "y"):
        raise ValueError(
            f"the token for {target} would be sent in plain text: use TLS (GROUNDSWELL_TLS_CA), or "
            f"set {_ALLOW_INSECURE}=1 on a network that you trust"
        )


def open_aio_channel(
    target: str, options: Options, tls: Tls | None = None, token: Token | None = None
) -> grpc.aio.Channel:
    """A channel for an event loop.

    Raises OSError, and ValueError for a wrong file, or a token that others could read.
    """
    if tls is None and token is None:
        return grpc.aio.insecure_channel(target, options=options)
    return cast("grpc.aio.Channel", SecuredChannel(grpc.aio, target, options, tls, token))


def open_channel(
    target: str, options: Options, tls: Tls | None = None, token: Token | None = None
) -> grpc.Channel:
    """A channel for threads. Raises as `open_aio_channel`."""
    if tls is None and token is None:
        return grpc.insecure_channel(target, options=options)
    return cast("grpc.Channel", SecuredChannel(grpc, target, options, tls, token))


def token_source(token: Token) -> Callable[[], str]:
    """What returns the token of a call. Raises OSError, ValueError for a wrong file."""
    if isinstance(token, Path):
        path = token
        return Reloaded([path], lambda: _read_token(path))
    if isinstance(token, str):
        return lambda: token
    return token


def _read_token(path: Path) -> str:
    token = path.read_text(encoding="ascii").strip()
    if not token:
        raise ValueError(f"{path} is empty")
    return token


class SecuredChannel:
    """Stands for a channel of `grpc` or `grpc.aio`: its methods are called with the token.

    gRPC gives a channel its certificates for life. When a file of them was replaced, the next call
    opens another channel. Calls take it once it is connected; those in flight end on the one
    before.
    """

    def __init__(
        self, library: Any, target: str, options: Options, tls: Tls | None, token: Token | None
    ) -> None:
        if tls is None and token is not None:
            _check_readers(target)
        self._library, self._target, self._options = library, target, options
        self._credentials = None if tls is None else tls.credentials()
        self._token = None if token is None else token_source(token)
        self._lock = threading.Lock()
        self._opened_with = None if self._credentials is None else self._credentials()
        self._channel = self._open()
        self._connecting: Any = None
        self._is_closed = False

    def _open(self) -> Any:
        if self._opened_with is None:
            return self._library.insecure_channel(self._target, options=self._options)
        # With the channel's own connections: those of an earlier certificate are not used again.
        options = (*self._options, ("grpc.use_local_subchannel_pool", 1))
        return self._library.secure_channel(self._target, self._opened_with, options=options)

    def current(self) -> Any:
        """The channel that a new call takes."""
        if self._credentials is not None and self._credentials() is not self._opened_with:
            with self._lock:
                self._replace(self._credentials())
        return self._channel

    def _replace(self, credentials: grpc.ChannelCredentials) -> None:
        """Connect another channel; until it is connected, calls take the one before."""
        if self._is_closed or credentials is self._opened_with:
            return
        self._stop_connecting()
        self._opened_with = credentials
        channel = self._open()
        if self._library is grpc:
            self._connecting = grpc.channel_ready_future(channel)
        else:
            self._connecting = asyncio.ensure_future(channel.channel_ready())
        self._connecting.add_done_callback(partial(self._take, channel))

    def _take(self, channel: Any, connected: Any) -> None:
        if connected.cancelled():
            self._close_replaced(channel, 0.0)
        else:
            before, self._channel = self._channel, channel
            self._close_replaced(before, _CLOSE_REPLACED_S)

    def _close_replaced(self, channel: Any, after_s: float) -> None:
        # One of grpc.aio closes when nothing refers to it: neither this, nor a call in flight.
        if self._library is grpc:
            timer = threading.Timer(after_s, channel.close)
            timer.daemon = True
            timer.start()

    def _stop_connecting(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a call says of its caller."""
        return () if self._token is None else (("authorization", f"Bearer {self._token()}"),)

    def unary_unary(self, *made_of: Any, **options: Any) -> "_Method":
        """As that of a channel."""
        return _Method(self, "unary_unary", made_of, options)

    def unary_stream(self, *made_of: Any, **options: Any) -> "_Method":
        """As that of a channel."""
        return _Method(self, "unary_stream", made_of, options)

    def stream_unary(self, *made_of: Any, **options: Any) -> "_Method":
        """As that of a channel."""
        return _Method(self, "stream_unary", made_of, options)

    def stream_stream(self, *made_of: Any, **options: Any) -> "_Method":
        """As that of a channel."""
        return _Method(self, "stream_stream", made_of, options)

    def close(self, *grace: float | None) -> Any:
        """As that of a channel; to be awaited with grpc.aio."""
        with self._lock:
            self._is_closed = True
            self._stop_connecting()
        return self._channel.close(*grace)


class _Method:
    """A method of a secured channel, to be called as that of a channel."""

    def __init__(
        self, owner: SecuredChannel, kind: str, made_of: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        self._owner, self._kind, self._made_of, self._options = owner, kind, made_of, options

    def __call__(self, *request: Any, metadata: Any = None, **options: Any) -> Any:
        # Bound anew for each call: a method that is seldom called must not keep an old channel.
        channel = self._owner.current()
        method = getattr(channel, self._kind)(*self._made_of, **self._options)
        said = (*(metadata or ()), *self._owner.metadata())
        call = method(*request, metadata=said, **options)
        if isinstance(channel, grpc.aio.Channel):
            # A channel that nothing refers to is closed, and ends calls that wait for a connection.
            call.add_done_callback(lambda _: channel)
        return call
