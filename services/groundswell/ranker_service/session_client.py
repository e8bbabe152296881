"""The client of the session service: short-term vectors and windows of users and visitors."""

import asyncio
from dataclasses import dataclass
from functools import partial

import grpc
import numpy as np
from numpy.typing import NDArray

from groundswell.ranker_service.replicas import (
    BundleSpace,
    answered,
    has_numbers_of,
    last_event_us,
    refused,
)
from groundswell.ranker_service.requests import Ask, located
from groundswell.ranker_service.seen import SeenCache, unpacked
from groundswell.serving.errors import ServiceError
from groundswell.serving.subjects import name_subject
from groundswell.serving.vectors import vector_from_proto
from groundswell.session.v1.session_service_pb2 import EncodeSessionRequest, EncodeSessionResponse
from groundswell.session.v1.session_service_pb2_grpc import SessionServiceStub

_SERVICE = "session"

# These statuses say that a visitor's own events are wrong, so the visitor's client gets them.
_CALLERS_FAULT = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)


@dataclass(frozen=True)
class ShortTerm:
    """What the session service knows of a user or a visitor."""

    vector: NDArray[np.float32] | None
    """[d] u_s; None for an empty window."""
    num_session_events: int
    last_event_us: int | None
    window: NDArray[np.int64]
    """[n] the items of the window's events, oldest first; -1 for a dislike."""
    seen: NDArray[np.int64]
    """The items of the window that count as seen."""
    stale: bool
    """Whether the newest events may be missing."""


class SessionClient:
    """Asks for the window of one user or visitor, encoded."""

    def __init__(self, channel: grpc.aio.Channel, seen: SeenCache) -> None:
        self._stub = SessionServiceStub(channel)
        self._seen = seen

    async def short_term(
        self,
        ask: Ask,
        space: BundleSpace,
        deadline: float,
        permits: asyncio.Semaphore | None,
    ) -> ShortTerm | None:
        """Return what is known; None without an answer in time.

        `deadline` is a time of the event loop. With `permits`, a permit is waited for first. Raises
        InvalidArgument or NotFound for what is wrong with a visitor's events, and
        BundleNotHeldError when the service lacks a bundle that has a substitute.
        """
        request = EncodeSessionRequest(bundle_id=space.bundle_id)
        if ask.inline_events is None:
            name_subject(request, ask.user_id)
        else:
            request.inline_events.CopyFrom(ask.inline_events)
        faults = () if ask.inline_events is None else _CALLERS_FAULT
        call = partial(self._ask, request)
        try:
            answer = await answered(_SERVICE, call, space, deadline, faults, permits)
        except ServiceError as error:
            raise located(error, ask.where) from error
        return None if answer is None else self._read(answer, space)

    async def _ask(self, request: EncodeSessionRequest, timeout_s: float) -> EncodeSessionResponse:
        return await self._stub.EncodeSession(request, timeout=timeout_s)

    def _read(self, answer: EncodeSessionResponse, space: BundleSpace) -> ShortTerm | None:
        if not has_numbers_of(space, answer.lineage, _SERVICE):
            return None
        try:
            packed = unpacked(answer.item_nos, answer.action_masks)
            return ShortTerm(
                vector=(
                    vector_from_proto(answer.vector, space.dimension, space.bundle_id)
                    if answer.num_window_events
                    else None
                ),
                num_session_events=answer.num_session_events,
                last_event_us=last_event_us(answer),
                window=packed.window(),
                seen=self._seen.counting(packed),
                stale=answer.stale,
            )
        except ServiceError as error:
            refused(_SERVICE, error)
            return None
