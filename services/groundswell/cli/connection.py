"""Connects a command to the services; who does not answer is named in one line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypedDict

import grpc

from groundswell.cli.failures import CommandError
from groundswell.cli.who_answers import who_answers
from groundswell.client import GroundswellClient, GroundswellError, Targets
from groundswell.client.secured import Tls, Token, from_environment
from groundswell.contract.addresses import address_problem

ServiceName = Literal["profile", "session", "ranker"]

_HTTP_PROXY = "GROUNDSWELL_HTTP_PROXY"
"""1 where calls go by the proxy of the environment, as for the services."""
_YES = ("1", "true", "yes", "on", "t", "y")
_NO = ("", "0", "false", "no", "off", "f", "n")
"""The same words as the services' settings take."""
_NO_CHANNEL = "Failed to create channel"
"""What gRPC says of a target that it cannot read."""


@contextmanager
def connected(targets: Targets, service: ServiceName) -> Iterator[GroundswellClient]:
    """A client that calls `service`.

    Raises CommandError for a wrong address, and when no or another service answers there.
    """
    address = getattr(targets, service)
    problem = address_problem(address)
    if problem is not None:
        raise CommandError(f"--{service} {address!r} is not an address: {problem}")
    with _client(targets) as client:
        try:
            yield client
        except GroundswellError as error:
            if _NO_CHANNEL in error.message:
                raise CommandError(
                    f"--{service} {address!r} is not an address: write HOST:PORT"
                ) from error
            # A service of the suite always gives a reason.
            if error.status is grpc.StatusCode.UNAVAILABLE and not error.reason:
                raise CommandError(
                    f"the {service} service does not answer at {address}; start it with "
                    f"`groundswell up`, or name its address with --{service} ({error.message})"
                ) from error
            if error.status is grpc.StatusCode.UNIMPLEMENTED:
                raise CommandError(_another_answers(address, service, error)) from error
            raise


class ClientOptions(TypedDict):
    """What every client of a command is made with."""

    http_proxy: bool
    tls: Tls | None
    token: Token | None


def client_options() -> ClientOptions:
    """Read the options of clients from the environment. Raises CommandError for a wrong one."""
    try:
        tls, token = from_environment()
    except (OSError, ValueError) as error:
        raise _wrong_secrets(error) from error
    return ClientOptions(http_proxy=_uses_proxy(), tls=tls, token=token)


def _client(targets: Targets) -> GroundswellClient:
    try:
        return GroundswellClient(targets, **client_options())
    except (OSError, ValueError) as error:
        raise _wrong_secrets(error) from error


def _wrong_secrets(error: Exception) -> CommandError:
    return CommandError(f"GROUNDSWELL_TLS_* and GROUNDSWELL_TOKEN_FILE: {error}")


def _uses_proxy() -> bool:
    word = os.environ.get(_HTTP_PROXY, "").strip().lower()
    if word not in _YES + _NO:
        raise CommandError(f"{_HTTP_PROXY}: {word!r} is neither 1 nor 0")
    return word in _YES


def _another_answers(address: str, service: ServiceName, error: GroundswellError) -> str:
    who = who_answers(address)
    if who == service:
        return f"the {service} service at {address} is of another release: {error.message}"
    found = "no service of the suite" if who is None else f"the {who} service"
    return (
        f"--{service} {address}: {found} answers there, not the {service} service, which "
        f"`groundswell up` starts at {getattr(Targets(), service)}"
    )
