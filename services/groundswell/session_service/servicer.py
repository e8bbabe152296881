"""Serves SessionService: checks requests, converts them to plain values, and answers."""

from collections.abc import Sequence
from typing import NamedTuple

from groundswell.common.v1.event_pb2 import Event
from groundswell.serving.around import Context
from groundswell.serving.errors import InvalidArgument, ResourceExhausted, Unavailable
from groundswell.serving.inline_events import read_inline_events
from groundswell.serving.slices import Slices
from groundswell.serving.subjects import read_subject, subject_id
from groundswell.serving.together import all_of
from groundswell.serving.validation import (
    check_session_id,
    check_subject,
    check_user_id,
    event_problem,
)
from groundswell.session.v1.session_service_pb2 import (
    BatchEncodeSessionsRequest,
    BatchEncodeSessionsResponse,
    EncodeSessionRequest,
    EncodeSessionResponse,
    LinkSessionRequest,
    LinkSessionResponse,
    RecordEventsRequest,
    RecordEventsResponse,
)
from groundswell.session.v1.session_service_pb2_grpc import SessionServiceServicer
from groundswell.session_service.bundles import SessionBundle, SessionBundles
from groundswell.session_service.encoder import EncodedSession
from groundswell.session_service.events import SentEvent, WriteResult, WriteStatus
from groundswell.session_service.messages import result_message, sent_event, window_columns
from groundswell.session_service.sessions import Found, Sessions, check_lineage

MAX_EVENTS = 1_000
MAX_SESSIONS = 256


class _StoredSession(NamedTuple):
    found: Found
    session: EncodedSession


class SessionServicer(SessionServiceServicer):
    """The contract is in session_service.proto."""

    def __init__(self, sessions: Sessions, bundles: SessionBundles) -> None:
        self._sessions = sessions
        self._bundles = bundles
        self._slices = Slices()

    async def RecordEvents(
        self, request: RecordEventsRequest, context: Context
    ) -> RecordEventsResponse:
        """Record a batch of events."""
        if not 1 <= len(request.events) <= MAX_EVENTS:
            raise InvalidArgument(
                "EVENTS_INVALID",
                f"events has {len(request.events)}; it must have 1 to {MAX_EVENTS}",
                field="events",
            )
        read = await self._slices.map(_read, request.events)
        good = [one for one in read if isinstance(one, SentEvent)]
        recorded = iter(await self._sessions.record(good, context.time_remaining()) if good else ())
        results = [next(recorded) if isinstance(one, SentEvent) else one for one in read]
        return RecordEventsResponse(results=[result_message(result) for result in results])

    async def EncodeSession(
        self, request: EncodeSessionRequest, context: Context
    ) -> EncodeSessionResponse:
        """Encode the window of a user or the inline events of a visitor."""
        subject = request.WhichOneof("subject")
        check_subject(subject, request.user_id, request.session_id)
        if subject == "inline_events":
            read = read_inline_events(request.inline_events.events)
            with self._bundles.held.asked_for(request.bundle_id) as bundle:
                events = window_columns(read, bundle.encoder.items)
                return (await bundle.encoder.encode_events(events)).message
        user_id = subject_id(request.user_id, request.session_id)
        with self._bundles.held.asked_for(request.bundle_id) as bundle:
            stored = await self._stored(user_id, bundle)
        response = EncodeSessionResponse()
        _write(response, stored)
        return response

    async def BatchEncodeSessions(
        self, request: BatchEncodeSessionsRequest, context: Context
    ) -> BatchEncodeSessionsResponse:
        """Encode the windows of several users."""
        requests = request.requests
        if not 1 <= len(requests) <= MAX_SESSIONS:
            raise _requests_invalid(f"has {len(requests)}; it must have 1 to {MAX_SESSIONS}")
        user_ids = []
        for index, one in enumerate(requests):
            path = f"requests[{index}]"
            if one.HasField("inline_events"):
                raise _requests_invalid(f"has inline events at {path}")
            if one.bundle_id != requests[0].bundle_id:
                raise _requests_invalid(f"names another bundle at {path} than at the first one")
            user_ids.append(read_subject(one, f"{path}."))
        with self._bundles.held.asked_for(requests[0].bundle_id) as bundle:
            found = await self._stored_of_all(user_ids, bundle)
        response = BatchEncodeSessionsResponse()
        for stored in found:
            result = response.results.add()
            if isinstance(stored, str):
                result.reason = stored
            else:
                _write(result.session, stored)
        return response

    async def _stored_of_all(
        self, user_ids: Sequence[str], bundle: SessionBundle
    ) -> list[_StoredSession | str]:
        """Answer from the caches at once; only what they lack takes a task for each user."""
        marks = [self._sessions.user_mark(user_id) for user_id in user_ids]
        lineage = bundle.encoder.items.lineage
        windows = await self._sessions.current(marks, self._bundles.capacity, lineage)
        found: list[_StoredSession | None] = []
        for mark, window in zip(marks, windows, strict=True):
            session = None if window is None else bundle.sessions.held(mark, window)
            if window is None or session is None or session.lineage != lineage:
                found.append(None)
            else:
                found.append(_StoredSession(Found(window, None), session))
        lacking = [user_id for user_id, one in zip(user_ids, found, strict=True) if one is None]
        read = iter(await all_of(self._stored_or_reason(one, bundle) for one in lacking))
        return [next(read) if one is None else one for one in found]

    async def _stored_or_reason(self, user_id: str, bundle: SessionBundle) -> _StoredSession | str:
        try:
            return await self._stored(user_id, bundle)
        except (ResourceExhausted, Unavailable) as error:
            return error.reason

    async def _stored(self, user_id: str, bundle: SessionBundle) -> _StoredSession:
        """Return the window of a user or an anonymous session, and encode it."""
        user_mark = self._sessions.user_mark(user_id)
        found = await self._sessions.window(
            user_id, user_mark, self._bundles.capacity, bundle.encoder.items.lineage
        )
        session = await bundle.sessions.of(user_mark, found.window)
        if found.window.records:
            check_lineage(session.lineage, found.window.lineage)
        return _StoredSession(found, session)

    async def LinkSession(
        self, request: LinkSessionRequest, context: Context
    ) -> LinkSessionResponse:
        """Move the events of an anonymous session to a user."""
        check_session_id(request.session_id)
        check_user_id(request.user_id)
        num_moved = await self._sessions.link(
            request.session_id, request.user_id, context.time_remaining()
        )
        return LinkSessionResponse(num_moved=num_moved)


def _read(event: Event) -> SentEvent | WriteResult:
    """Read an event; one that breaks a rule of the contract is rejected."""
    problem = event_problem(event)
    if problem is None:
        return sent_event(event)
    reason, detail = problem
    return WriteResult(WriteStatus.REJECTED, reason=reason, detail=detail)


def _requests_invalid(problem: str) -> InvalidArgument:
    return InvalidArgument("REQUESTS_INVALID", f"requests {problem}", field="requests")


def _write(response: EncodeSessionResponse, stored: _StoredSession) -> None:
    """Write an answer into its message: a copy of a message takes as long as all of this."""
    response.MergeFrom(stored.session.message)
    response.last_sequence = stored.found.window.last_sequence
    if stored.found.stale_s is not None:
        response.stale = True
        response.window_age.FromMicroseconds(round(stored.found.stale_s * 1e6))
