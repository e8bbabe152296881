"""Asks the replicas of a service until one holds the bundle that is ranked with."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc

from groundswell.serving.errors import FailedPrecondition, from_rpc_error
from groundswell.serving.telemetry import count

T = TypeVar("T")

_NUM_ASKED = 3
"""Replicas that are asked at most. The channel gives each call to the next one."""


class BundleNotHeldError(Exception):
    """A service does not hold the bundle: another one is to be ranked with."""


@dataclass(frozen=True)
class BundleSpace:
    """The space that the vectors must be of, and the database that item numbers must be of."""

    bundle_id: str
    dimension: int
    has_substitute: bool = False
    """Whether another bundle can be ranked with where a service does not hold this one."""
    lineage: str = ""
    """The lineage of the catalogue that is ranked; empty before it is known."""


def has_numbers_of(space: BundleSpace, lineage: str, upstream: str) -> bool:
    """Whether the item numbers of an upstream's answer name the same items here.

    They do not when the database was restored and one of us does not follow its new state yet. A
    service of the release before names no lineage.
    """
    if lineage in ("", space.lineage):
        return True
    count("upstream_answers_refused", upstream=upstream, reason="LINEAGE_CHANGED")
    return False


def of_any_replica(
    ask: Callable[[float], Awaitable[T]], space: BundleSpace
) -> Callable[[float], Awaitable[T]]:
    """Return what asks again, within the time, while the replica that answers lacks the bundle.

    What it returns raises BundleNotHeldError when the bundle has a substitute and no replica that
    was asked holds it; everything else as `ask` does.
    """

    async def asking(timeout_s: float) -> T:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        for left in reversed(range(_NUM_ASKED)):
            try:
                return await ask(max(deadline - loop.time(), 0.0))
            except grpc.aio.AioRpcError as error:
                if not _lacks_bundle(error):
                    raise
                count("upstream_bundles_not_held")
                if left == 0:
                    if space.has_substitute:
                        raise BundleNotHeldError from error
                    raise
        raise AssertionError("the last replica that was asked has answered")

    return asking


def _lacks_bundle(error: grpc.aio.AioRpcError) -> bool:
    if error.code() != grpc.StatusCode.FAILED_PRECONDITION:
        return False
    told = from_rpc_error(error)
    return isinstance(told, FailedPrecondition) and told.reason == "BUNDLE_NOT_LOADED"
