"""The session service's calls to the profile service's log of events."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from math import inf
from typing import TypeVar

import grpc

from groundswell.profile.v1.event_service_pb2 import (
    AppendEventsRequest,
    LinkSessionRequest,
    ListEventsRequest,
)
from groundswell.profile.v1.event_service_pb2_grpc import EventServiceStub
from groundswell.serving.errors import ServiceError, Unavailable, from_rpc_error
from groundswell.serving.joining import JoinedCalls
from groundswell.serving.subjects import name_subject
from groundswell.session_service.events import Appended, SentEvent
from groundswell.session_service.messages import event_message, window_events, write_result
from groundswell.session_service.windows.window import Listing

Answer = TypeVar("Answer")

_MAX_EVENTS = 1_000
"""As many as AppendEvents takes."""
_MAX_APPENDS = 2
"""While one call waits for its answer, another one is on its way."""
_LINK_TIMEOUT_S = 60.0
_OUTAGE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class EventLogClient:
    """The calls of this service to the durable log. Every call has a deadline."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        append_timeout_s: float,
        list_timeout_s: float,
    ) -> None:
        self._stub = EventServiceStub(channel)
        self._append_timeout_s = append_timeout_s
        self._appends = JoinedCalls(self._append, max_rows=_MAX_EVENTS, max_runs=_MAX_APPENDS)
        self._list_timeout_s = list_timeout_s

    async def append(self, events: Sequence[SentEvent], remaining_s: float | None) -> Appended:
        """Store events durably and return what became of each, in their order.

        Calls that wait at the same time are one call of the profile service. `remaining_s` is what
        the caller's own deadline leaves. Raises Unavailable (PROFILE_UNAVAILABLE): the events may
        have been stored or not.
        """
        limit_s = min(self._append_timeout_s, inf if remaining_s is None else remaining_s)
        try:
            async with asyncio.timeout(limit_s):
                return await self._appends.submit(events)
        except TimeoutError as error:
            raise _not_answered() from error

    async def _append(
        self,
        begin: Callable[[], list[Sequence[SentEvent]]],
        *,
        again: bool,  # noqa: ARG002 - it is sent in the same way
    ) -> Sequence[Appended]:
        calls = begin()
        if not calls:
            return []
        messages = [event_message(event) for events in calls for event in events]
        request = AppendEventsRequest(events=messages)
        answer = await self._write(self._stub.AppendEvents, request, self._append_timeout_s)
        # An earlier release names no histories.
        histories = answer.histories or [0] * len(answer.results)
        results = map(write_result, answer.results, histories)
        return [Appended(list(islice(results, len(one))), answer.lineage) for one in calls]

    async def link(self, session_id: str, user_id: str, remaining_s: float | None) -> int:
        """Move the events of an anonymous session to a user; return how many were moved.

        Raises Unavailable (PROFILE_UNAVAILABLE): they may have been moved or not.
        """
        request = LinkSessionRequest(session_id=session_id, user_id=user_id)
        # A long session moves in parts, and may take longer than an append.
        limit_s = min(_LINK_TIMEOUT_S, inf if remaining_s is None else remaining_s)
        return (await self._write(self._stub.LinkSession, request, limit_s)).num_moved

    async def _write(
        self,
        call: Callable[..., Awaitable[Answer]],
        request: AppendEventsRequest | LinkSessionRequest,
        timeout_s: float,
    ) -> Answer:
        try:
            return await call(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            # A cancelled call may have begun.
            is_open = error.code() is grpc.StatusCode.CANCELLED
            raise (_not_answered() if is_open else _as_service_error(error)) from error

    async def newest(self, user_id: str, count: int) -> Listing:
        """Return the newest events of a user, at most `count` ≤ 1,000.

        Events that lie too far in the future, by the clock of the profile service, are left out:
        they would hide the events of today.

        Raises Unavailable (PROFILE_UNAVAILABLE), and another ServiceError where the profile
        service gives a reason.
        """
        request = ListEventsRequest(page_size=count, omit_future=True, as_columns=True)
        name_subject(request, user_id)
        try:
            page = await self._stub.ListEvents(request, timeout=self._list_timeout_s)
        except grpc.aio.AioRpcError as error:
            problem = _as_service_error(error)
            # The caller can then answer from a cached window, whatever failed there.
            raise (problem if isinstance(problem, ServiceError) else _not_answered()) from error
        return Listing(window_events(page), page.last_sequence, page.lineage, page.history)


def _as_service_error(error: grpc.aio.AioRpcError) -> Exception:
    """Return the error that a failure of the profile service means for the caller."""
    if error.code() in _OUTAGE:
        return _not_answered()
    return from_rpc_error(error) or error


def _not_answered() -> Unavailable:
    return Unavailable("PROFILE_UNAVAILABLE", "the profile service does not answer")
