"""Asks the profile and the session service for users' views, both at once, under one deadline."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import grpc
import numpy as np
import structlog
from numpy.typing import NDArray

from groundswell.common.v1.item_pb2 import Vector
from groundswell.common.v1.model_service_pb2 import GetModelRequest
from groundswell.common.v1.model_service_pb2_grpc import ModelServiceStub
from groundswell.profile.v1.profile_service_pb2 import GetProfileRequest, Profile
from groundswell.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from groundswell.ranker_service.profile_calls import ask_profiles
from groundswell.ranker_service.replicas import BundleSpace, has_numbers_of, of_any_replica
from groundswell.ranker_service.seen import Seen, SeenCache, unpacked
from groundswell.ranker_service.views import ProfileView, SessionView, Subject, Views, located
from groundswell.serving.errors import ServiceError, from_rpc_error
from groundswell.serving.telemetry import count
from groundswell.serving.together import all_of, both
from groundswell.serving.validation import to_us
from groundswell.serving.vectors import vector_from_proto
from groundswell.session.v1.session_service_pb2 import EncodeSessionRequest, EncodeSessionResponse
from groundswell.session.v1.session_service_pb2_grpc import SessionServiceStub

if TYPE_CHECKING:
    # What a stub over an aio channel is; it exists for type checkers alone.
    from groundswell.common.v1.model_service_pb2_grpc import ModelServiceAsyncStub

_log = structlog.get_logger(__name__)

# These statuses say that a visitor's own events are wrong, so the visitor's client gets them.
_CALLERS_FAULT = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)

T = TypeVar("T")

_BULK_PROFILES = 32
"""How many users' profiles one call asks for at most."""


class Upstreams:
    """The two services that the ranker asks; the channels stay for the process's life."""

    def __init__(
        self,
        profile: grpc.aio.Channel,
        session: grpc.aio.Channel,
        seen: SeenCache,
        *,
        max_bulk_users: int,
    ) -> None:
        self._profiles = ProfileServiceStub(profile)
        self._sessions = SessionServiceStub(session)
        self._models = {"profile": ModelServiceStub(profile), "session": ModelServiceStub(session)}
        self._seen = seen
        # The bounds hold over all calls of the process: a batch must not delay single calls.
        self._bulk_size = min(_BULK_PROFILES, max_bulk_users)
        self._bulk_profiles = asyncio.Semaphore(max_bulk_users // self._bulk_size)
        self._bulk_sessions = asyncio.Semaphore(max_bulk_users)

    async def gather(
        self, subjects: Sequence[Subject], space: BundleSpace, timeout_s: float
    ) -> list[Views]:
        """Return the views of each subject, in their order.

        Of several, at most `max_bulk_users` are asked for at once, over all calls of the process.
        Raises InvalidArgument or NotFound for what is wrong with a visitor's events, and
        BundleNotHeldError when a service lacks a bundle that has a substitute.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        profiles, sessions = await both(
            self._gather_profiles(subjects, space, deadline),
            self._gather_sessions(subjects, space, deadline),
        )
        return [Views(p, s) for p, s in zip(profiles, sessions, strict=True)]

    async def held_ids(self, timeout_s: float) -> dict[str, list[str]]:
        """Return the bundles that each service holds; none for a service that does not answer."""
        held = await asyncio.gather(*(_held_ids(m, timeout_s) for m in self._models.values()))
        return dict(zip(self._models, held, strict=True))

    async def _gather_profiles(
        self, subjects: Sequence[Subject], space: BundleSpace, deadline: float
    ) -> list[ProfileView | None]:
        users = [subject for subject in subjects if subject.inline_events is None]
        permits = self._bulk_profiles if len(subjects) > 1 else None
        size = self._bulk_size
        parts = await all_of(
            self._profile_views(users[start : start + size], space, deadline, permits)
            for start in range(0, len(users), size)
        )
        views = chain.from_iterable(parts)
        return [next(views) if one.inline_events is None else None for one in subjects]

    async def _profile_views(
        self,
        users: Sequence[Subject],
        space: BundleSpace,
        deadline: float,
        permits: asyncio.Semaphore | None,
    ) -> Sequence[ProfileView | None]:
        named = [self._seen.get(user.user_key) for user in users]
        requests = [
            GetProfileRequest(
                user_id=user.user_id,
                bundle_id=space.bundle_id,
                known_seen_version=None if held is None else held.version,
                known_seen_lineage="" if held is None else held.lineage,
            )
            for user, held in zip(users, named, strict=True)
        ]
        ask = of_any_replica(partial(ask_profiles, self._profiles, requests), space)
        profiles = await _answered("profile", ask, deadline, permits=permits)
        if profiles is None:
            return [None] * len(users)
        return [
            self._read_profile(profile, user, held, space)
            for profile, user, held in zip(profiles, users, named, strict=True)
        ]

    async def _gather_sessions(
        self, subjects: Sequence[Subject], space: BundleSpace, deadline: float
    ) -> list[SessionView | None]:
        permits = self._bulk_sessions if len(subjects) > 1 else None
        return await all_of(
            self._session_view(subject, space, deadline, permits) for subject in subjects
        )

    async def _session_view(
        self,
        subject: Subject,
        space: BundleSpace,
        deadline: float,
        permits: asyncio.Semaphore | None,
    ) -> SessionView | None:
        inline = subject.inline_events
        request = EncodeSessionRequest(bundle_id=space.bundle_id)
        if inline is None:
            request.user_id = subject.user_id
        else:
            request.inline_events.CopyFrom(inline)

        async def ask(timeout_s: float) -> EncodeSessionResponse:
            return await self._sessions.EncodeSession(request, timeout=timeout_s)

        faults = () if inline is None else _CALLERS_FAULT
        try:
            any_replica = of_any_replica(ask, space)
            answer = await _answered("session", any_replica, deadline, faults, permits)
        except ServiceError as error:
            raise located(error, subject.where) from error
        return None if answer is None else self._read_session(answer, space)

    def _read_session(
        self, answer: EncodeSessionResponse, space: BundleSpace
    ) -> SessionView | None:
        if not has_numbers_of(space, answer.lineage, "session"):
            return None
        try:
            packed = unpacked(answer.item_nos, answer.action_masks)
            return SessionView(
                vector=_vector(answer.vector, space) if answer.num_window_events else None,
                num_session_events=answer.num_session_events,
                last_event_us=_last_event_us(answer),
                window=packed.window(),
                seen=self._seen.counting(packed),
                stale=answer.stale,
            )
        except ServiceError as error:
            _refused("session", error)
            return None

    def _read_profile(
        self, profile: Profile, user: Subject, named: Seen | None, space: BundleSpace
    ) -> ProfileView | None:
        try:
            fits = has_numbers_of(space, profile.seen.lineage, "profile")
            return ProfileView(
                vector=_vector(profile.vector, space) if profile.vector.values else None,
                num_events=profile.num_events,
                last_event_us=_last_event_us(profile),
                stale=profile.stale,
                seen=self._seen.take(user.user_key, profile.seen, named) if fits else None,
                is_of_now=not profile.HasField("as_of"),
            )
        except ServiceError as error:
            _refused("profile", error)
            return None


async def _answered(
    upstream: str,
    ask: Callable[[float], Awaitable[T]],
    deadline: float,
    faults: Sequence[grpc.StatusCode] = (),
    permits: asyncio.Semaphore | None = None,
) -> T | None:
    """Return an upstream's answer; None when it fails or takes too long.

    A status of `faults` is raised instead. With `permits`, a permit is waited for first.
    """
    loop = asyncio.get_running_loop()
    try:
        if permits is None:
            return await ask(max(deadline - loop.time(), 0.0))
        async with asyncio.timeout_at(deadline), permits:
            return await ask(max(deadline - loop.time(), 0.0))
    except TimeoutError:
        count("upstream_failures", upstream=upstream, code="DEADLINE_EXCEEDED")
        return None
    except grpc.aio.AioRpcError as error:
        if error.code() in faults:
            raise from_rpc_error(error) or error from error
        count("upstream_failures", upstream=upstream, code=error.code().name)
        return None


async def _held_ids(model: "ModelServiceAsyncStub", timeout_s: float) -> list[str]:
    try:
        answer = await model.GetModel(GetModelRequest(), timeout=timeout_s)
    except grpc.aio.AioRpcError:
        return []
    return list(answer.loaded_bundle_ids)


def _vector(vector: Vector, space: BundleSpace) -> NDArray[np.float32]:
    """Return a vector; one of another bundle, or a broken one, is never ranked with."""
    return vector_from_proto(vector, space.dimension, space.bundle_id)


def _last_event_us(answer: Profile | EncodeSessionResponse) -> int | None:
    return to_us(answer.last_event_time) if answer.HasField("last_event_time") else None


def _refused(upstream: str, error: ServiceError) -> None:
    count("upstream_answers_refused", upstream=upstream, reason=error.reason)
    _log.error("upstream_answer_refused", upstream=upstream, reason=error.reason)
