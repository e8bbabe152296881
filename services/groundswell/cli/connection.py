"""A client of the running services, whose silence is told in a person's words."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import grpc

from groundswell.cli.failures import CommandError
from groundswell.client import GroundswellClient, GroundswellError, Targets

ServiceName = Literal["profile", "session", "ranker"]

_HTTP_PROXY = "GROUNDSWELL_HTTP_PROXY"
"""1 where calls go by the proxy of the environment, as for the services."""


@contextmanager
def connected(targets: Targets, service: ServiceName) -> Iterator[GroundswellClient]:
    """A client that calls `service`. Raises CommandError when nobody answers there."""
    with GroundswellClient(targets, http_proxy=os.environ.get(_HTTP_PROXY) == "1") as client:
        try:
            yield client
        except GroundswellError as error:
            # A service of the suite always gives a reason.
            if error.status is grpc.StatusCode.UNAVAILABLE and not error.reason:
                address = getattr(targets, service)
                raise CommandError(
                    f"the {service} service does not answer at {address}; `groundswell up` starts "
                    f"it, --{service} says where else it is ({error.message})"
                ) from error
            raise
