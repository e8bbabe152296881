"""Asks the replicas of a service until one holds the bundle that ranks."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc

from groundswell.serving.errors import FailedPrecondition, from_rpc_error
from groundswell.serving.telemetry import count

T = TypeVar("T")

_NUM_ASKED = 3
"""How many replicas are asked at most. The channel sends each call to the next one."""


class BundleNotHeldError(Exception):
    """A service does not hold the bundle, so another bundle has to rank."""


@dataclass(frozen=True)
class BundleSpace:
    """The bundle that vectors must come from, and the lineage that item numbers must come from."""

    bundle_id: str
    dimension: int
    has_substitute: bool = False
    """Whether another bundle can rank when a service does not hold this one."""
    lineage: str = ""
    """The lineage of the catalogue that is ranked; empty before it is known."""


def has_numbers_of(space: BundleSpace, lineage: str, upstream: str) -> bool:
    """Whether the item numbers of an upstream's answer name the same items here.

    They do not just after a restore of the database, while one of the two services does not know
    its new state yet. A service of an earlier release names no lineage.
    """
    if lineage in ("", space.lineage):
        return True
    count("upstream_answers_refused", upstream=upstream, reason="LINEAGE_CHANGED")
    return False


def of_any_replica(
    ask: Callable[[float], Awaitable[T]], space: BundleSpace
) -> Callable[[float], Awaitable[T]]:
    """Return a function that calls `ask` again while the replica that answers lacks the bundle.

    It raises BundleNotHeldError when the bundle has a substitute and no replica that was asked
    holds it, and else what `ask` raises.
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
