"""The client of the session service: short-term vectors and windows of users and visitors."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import grpc
import numpy as np
from numpy.typing import NDArray

from groundswell.ranker_service.kept import KeptAnswers
from groundswell.ranker_service.replicas import (
    Begun,
    BundleSpace,
    Upstream,
    has_negative,
    has_numbers_of,
    last_event_us,
    refused,
)
from groundswell.ranker_service.requests import Ask, located
from groundswell.ranker_service.seen import SeenCache, unpacked
from groundswell.serving.errors import ServiceError
from groundswell.serving.subjects import name_subject
from groundswell.serving.telemetry import count
from groundswell.serving.together import all_of, both
from groundswell.serving.vectors import vector_from_proto
from groundswell.session.v1.session_service_pb2 import (
    BatchEncodeSessionsRequest,
    BatchEncodeSessionsResponse,
    EncodeSessionRequest,
    EncodeSessionResponse,
    EncodeSessionResult,
)
from groundswell.session.v1.session_service_pb2_grpc import SessionServiceStub

_SERVICE = "session"
_METHOD = "/groundswell.session.v1.SessionService/EncodeSession"
_ANSWER_BYTES = 1_000
"""The bytes of an answer besides the values of its arrays: the objects."""

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
    lineage: str = ""
    """That of the database that the item numbers belong to."""
    last_sequence: int = 0
    """The sequence of the newest event; 0 for inline events."""

    @property
    def num_bytes(self) -> int:
        """The memory that it takes."""
        vector_bytes = 0 if self.vector is None else self.vector.nbytes
        return _ANSWER_BYTES + vector_bytes + self.window.nbytes + self.seen.nbytes


class SessionClient:
    """Asks for the windows of users and visitors, encoded.

    While the service does not answer, the last window of a user that it gave is used.
    """

    def __init__(self, channel: grpc.aio.Channel, seen: SeenCache, *, max_kept_bytes: int) -> None:
        self._stub = SessionServiceStub(channel)
        # It gives the bytes: most answers are the same as the last one about the user.
        self._encode: grpc.aio.UnaryUnaryMultiCallable[EncodeSessionRequest, bytes] = (
            channel.unary_unary(_METHOD, request_serializer=EncodeSessionRequest.SerializeToString)
        )
        self._upstream = Upstream(_SERVICE)
        self._seen = seen
        self._kept: KeptAnswers[ShortTerm] = KeptAnswers(max_kept_bytes)

    @property
    def is_down(self) -> bool:
        """Whether the service is taken for down."""
        return self._upstream.is_down

    def drop(self, user_marks: Collection[bytes]) -> None:
        """Forget the last answers about users."""
        self._kept.drop(user_marks)

    def begin(self, ask: Ask, space: BundleSpace, deadline: float) -> Begun[ShortTerm]:
        """Ask about one user or visitor now; the answer is None where nothing is known.

        `deadline` is a time of the event loop. The answer raises InvalidArgument or NotFound for
        what is wrong with a visitor's events, and BundleNotHeldError when the service lacks a
        bundle that has a substitute.
        """
        request = _request(ask, space)
        faults = () if ask.inline_events is None else _CALLERS_FAULT

        def send(timeout_s: float) -> Awaitable[bytes]:
            call: Awaitable[bytes] = self._encode(request, timeout=timeout_s)
            return call

        call, answer = self._upstream.begin(send, space, deadline, faults)
        return Begun(call, partial(self._short_term, answer, ask, space))

    async def short_terms(
        self, asks: Sequence[Ask], space: BundleSpace, deadline: float
    ) -> list[ShortTerm | None]:
        """Return what is known of each user or visitor, in their order; see `begin`."""
        users = [ask for ask in asks if ask.inline_events is None]
        visitors = [ask for ask in asks if ask.inline_events is not None]
        of_users, of_visitors = await both(
            self._of_users(users, space, deadline),
            all_of(self.begin(ask, space, deadline).answer() for ask in visitors),
        )
        found = iter(of_users), iter(of_visitors)
        return [next(found[ask.inline_events is not None]) for ask in asks]

    async def _short_term(
        self, answer: Callable[[], Awaitable[bytes | None]], ask: Ask, space: BundleSpace
    ) -> ShortTerm | None:
        try:
            sent = await answer()
        except ServiceError as error:
            raise located(error, ask.where) from error
        if sent is None:
            return self._last(ask, space)
        kept = self._kept.read_from(sent, ask.user_mark, space)
        if kept is not None:
            return kept
        return self._read(EncodeSessionResponse.FromString(sent), ask, space, sent)

    async def _of_users(
        self, users: Sequence[Ask], space: BundleSpace, deadline: float
    ) -> list[ShortTerm | None]:
        if not users:
            return []
        requests = [_request(ask, space) for ask in users]
        batch = BatchEncodeSessionsRequest(requests=requests)
        answer = await self._upstream.ask(partial(self._send_batch, batch), space, deadline)
        if answer is None:
            return [self._last(ask, space) for ask in users]
        return [
            self._of_result(result, ask, space)
            for ask, result in zip(users, answer.results, strict=True)
        ]

    def _of_result(
        self, result: EncodeSessionResult, ask: Ask, space: BundleSpace
    ) -> ShortTerm | None:
        if not result.HasField("session"):
            return self._last(ask, space)
        sent = result.session.SerializeToString()
        kept = self._kept.read_from(sent, ask.user_mark, space)
        return kept or self._read(result.session, ask, space, sent)

    async def _send_batch(
        self, request: BatchEncodeSessionsRequest, timeout_s: float
    ) -> BatchEncodeSessionsResponse:
        return await self._stub.BatchEncodeSessions(request, timeout=timeout_s)

    def _read(
        self, answer: EncodeSessionResponse, ask: Ask, space: BundleSpace, sent: bytes = b""
    ) -> ShortTerm | None:
        numbers = (answer.num_window_events, answer.num_session_events, answer.last_sequence)
        if not has_numbers_of(space, answer.lineage, _SERVICE) or has_negative(_SERVICE, *numbers):
            return None
        try:
            packed = unpacked(answer.item_nos, answer.action_masks)
            short = ShortTerm(
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
                lineage=answer.lineage,
                last_sequence=answer.last_sequence,
            )
        except ServiceError as error:
            refused(_SERVICE, error)
            return None
        if ask.user_mark:
            self._kept.put(ask.user_mark, space, short, sent)
        return short

    def _last(self, ask: Ask, space: BundleSpace) -> ShortTerm | None:
        """Return the last window of a user whom the service does not answer for now."""
        kept = self._kept.get(ask.user_mark, space)
        if kept is None:
            return None
        count("upstream_answers_kept", upstream=_SERVICE)
        return replace(kept, stale=True)


def _request(ask: Ask, space: BundleSpace) -> EncodeSessionRequest:
    request = EncodeSessionRequest(bundle_id=space.bundle_id)
    if ask.inline_events is None:
        name_subject(request, ask.user_id)
    else:
        request.inline_events.CopyFrom(ask.inline_events)
    return request
