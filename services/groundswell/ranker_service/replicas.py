"""Asks a service, replica by replica until one holds the bundle that ranks, within a deadline."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import grpc
import structlog
from grpc_status import rpc_status

from groundswell.common.v1.model_service_pb2 import GetModelRequest
from groundswell.profile.v1.profile_service_pb2 import Profile
from groundswell.ranker_service.breaker import Breaker
from groundswell.serving.errors import FailedPrecondition, ServiceError, from_rpc_error
from groundswell.serving.telemetry import count
from groundswell.serving.validation import to_us
from groundswell.session.v1.session_service_pb2 import EncodeSessionResponse

if TYPE_CHECKING:
    # What a stub over an aio channel is; it exists for type checkers alone.
    from groundswell.common.v1.model_service_pb2_grpc import ModelServiceAsyncStub

_log = structlog.get_logger(__name__)

T = TypeVar("T")

_NUM_ASKED = 3
"""How many replicas are asked at most. The channel sends each call to the next one."""
_ENOUGH_S = 0.4
"""A call that has less time says nothing about the service that did not answer in it."""
_PROBE_TIMEOUT_S = 0.5


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


class Begun(NamedTuple, Generic[T]):
    """A call that was sent."""

    call: Any
    """None when nothing was sent."""
    answer: Callable[[], Awaitable[T | None]]
    """To be called once: waits for the answer."""

    def leave(self) -> None:
        """Cancel the call, unless it has ended."""
        if self.call is not None:
            self.call.cancel()


class Upstream:
    """One service that is asked while it answers; see `Breaker`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._breaker = Breaker(name)
        self._probes: set[asyncio.Task[Any]] = set()

    @property
    def is_down(self) -> bool:
        """Whether the service is taken for down, so that no call waits for it."""
        return self._breaker.is_open

    def begin(
        self,
        send: Callable[[float], Awaitable[T]],
        space: BundleSpace,
        deadline: float,
        faults: Sequence[grpc.StatusCode] = (),
    ) -> "Begun[T]":
        """Call `send(timeout_s)` now; its answer is None when the service fails or takes too long.

        `deadline` is a time of the event loop. A status of `faults` is raised as its ServiceError.
        The answer raises BundleNotHeldError when the bundle has a substitute and no replica that
        was asked holds it.
        """
        if self._breaker.is_open:
            self._probe(send, space)
            count("upstream_failures", upstream=self.name, code="NOT_ASKED")
            return Begun(None, _no_answer)
        timeout_s = max(deadline - asyncio.get_running_loop().time(), 0.0)
        first = send(timeout_s)
        more = (send, space, deadline, faults)
        return Begun(first, partial(self._answer, first, timeout_s, *more))

    async def ask(
        self, send: Callable[[float], Awaitable[T]], space: BundleSpace, deadline: float
    ) -> T | None:
        """Return the answer of what `begin` sends."""
        return await self.begin(send, space, deadline).answer()

    def _probe(self, send: Callable[[float], Awaitable[T]], space: BundleSpace) -> None:
        """Ask the service with the time that it may take, unless it was just asked so."""
        if self._breaker.may_probe():
            alone = replace(space, has_substitute=False)
            deadline = asyncio.get_running_loop().time() + _PROBE_TIMEOUT_S
            first = send(_PROBE_TIMEOUT_S)
            answer = self._answer(first, _PROBE_TIMEOUT_S, send, alone, deadline, is_probe=True)
            probe = asyncio.create_task(answer)
            self._probes.add(probe)
            probe.add_done_callback(self._probes.discard)

    async def _answer(
        self,
        first: Awaitable[T],
        timeout_s: float,
        send: Callable[[float], Awaitable[T]],
        space: BundleSpace,
        deadline: float,
        faults: Sequence[grpc.StatusCode] = (),
        *,
        is_probe: bool = False,
    ) -> T | None:
        """Wait for the first call, which had `timeout_s`, and for others that it may need."""
        try:
            answer = await _of_any_replica(first, send, space, deadline)
        except BundleNotHeldError:
            self._breaker.answered()
            raise
        except grpc.aio.AioRpcError as error:
            if not _is_outage(error):
                self._breaker.answered()
            elif is_probe or timeout_s >= _ENOUGH_S or not _ran_out(error):
                self._breaker.failed()
            else:
                self._probe(send, space)
            if error.code() in faults:
                raise from_rpc_error(error) or error from error
            count("upstream_failures", upstream=self.name, code=error.code().name)
            return None
        self._breaker.answered()
        return answer


def _ran_out(error: grpc.aio.AioRpcError) -> bool:
    return error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def _is_outage(error: grpc.aio.AioRpcError) -> bool:
    """Whether a call got no answer: services of the suite give a reason with their errors."""
    if _ran_out(error):
        return True
    is_away = error.code() is grpc.StatusCode.UNAVAILABLE
    return is_away and rpc_status.from_call(error) is None


async def _no_answer() -> None:
    return None


async def _of_any_replica(
    first: Awaitable[T],
    send: Callable[[float], Awaitable[T]],
    space: BundleSpace,
    deadline: float,
) -> T:
    """Wait for a call; call `send` again while the replica that answers lacks the bundle."""
    call = first
    for left in reversed(range(_NUM_ASKED)):
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            if not _lacks_bundle(error):
                raise
            count("upstream_bundles_not_held")
            if left == 0:
                if space.has_substitute:
                    raise BundleNotHeldError from error
                raise
        call = send(max(deadline - asyncio.get_running_loop().time(), 0.0))
    raise AssertionError("the last replica that was asked has answered")


def _lacks_bundle(error: grpc.aio.AioRpcError) -> bool:
    if error.code() != grpc.StatusCode.FAILED_PRECONDITION:
        return False
    told = from_rpc_error(error)
    return isinstance(told, FailedPrecondition) and told.reason == "BUNDLE_NOT_LOADED"


def has_numbers_of(space: BundleSpace, lineage: str, service: str) -> bool:
    """Whether the item numbers of a service's answer name the same items here.

    They do not just after a restore of the database, while one of the two services does not know
    its new state yet. A service of an earlier release names no lineage.
    """
    if lineage in ("", space.lineage):
        return True
    count("upstream_answers_refused", upstream=service, reason="LINEAGE_CHANGED")
    return False


def has_negative(service: str, *numbers: int) -> bool:
    """Whether a service's answer has a negative number where none may be; it is then noted."""
    if min(numbers) >= 0:
        return False
    _note_refused(service, "NUMBER_NEGATIVE")
    return True


def refused(service: str, error: ServiceError) -> None:
    """Note an answer that ranking must not use: a vector of another bundle, or a broken one."""
    _note_refused(service, error.reason)


def _note_refused(service: str, why: str) -> None:
    count("upstream_answers_refused", upstream=service, reason=why)
    _log.error("upstream_answer_refused", upstream=service, reason=why)


def last_event_us(answer: Profile | EncodeSessionResponse) -> int | None:
    """The time of an answer's last event, in microseconds since 1970; None without one."""
    return to_us(answer.last_event_time) if answer.HasField("last_event_time") else None


async def held_ids(
    models: Mapping[str, "ModelServiceAsyncStub"], timeout_s: float
) -> dict[str, list[str]]:
    """Return the bundles that each service holds; none for a service that does not answer."""
    held = await asyncio.gather(*(_held_ids(model, timeout_s) for model in models.values()))
    return dict(zip(models, held, strict=True))


async def _held_ids(model: "ModelServiceAsyncStub", timeout_s: float) -> list[str]:
    try:
        answer = await model.GetModel(GetModelRequest(), timeout=timeout_s)
    except grpc.aio.AioRpcError:
        return []
    return list(answer.loaded_bundle_ids)
