"""Builds requests from plain arguments, the same for the sync and the aio client."""

import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeAlias, TypedDict, TypeVar, Unpack

from groundswell.client.messages import TimeLike, timestamp
from groundswell.common.v1 import event_pb2
from groundswell.profile.v1 import catalogue_service_pb2 as catalogue_pb2
from groundswell.profile.v1 import event_service_pb2 as events_pb2
from groundswell.profile.v1 import profile_service_pb2 as profile_pb2
from groundswell.ranker.v1 import ranker_service_pb2 as ranker_pb2
from groundswell.session.v1 import session_service_pb2 as session_pb2

Events: TypeAlias = Iterable[event_pb2.Event]
AnyEvents: TypeAlias = Iterable[event_pb2.Event] | AsyncIterable[event_pb2.Event]
OfSubject = TypeVar(
    "OfSubject",
    ranker_pb2.RecommendRequest,
    ranker_pb2.GetInterestsRequest,
    session_pb2.EncodeSessionRequest,
)

Read = TypeVar("Read")

# The contract's limit of one batch.
MAX_EVENTS = 1_000
# The contract's limits of BatchRecommend.
MAX_REQUESTS = 256
MAX_BATCH_ITEMS = 10_000
# A broken stream raises after so long without an answer.
STREAM_GIVE_UP_S = 60.0


class RecommendOptions(TypedDict, total=False):
    """What a recommendation may be asked for besides its user; the contract gives the limits."""

    # How many items; 10 when it is not given.
    page_size: int
    # An SQL boolean expression, such as "price < 20 AND array_contains(categories, 'Comedy')".
    filter: str
    # Items never to return.
    deny_item_ids: Iterable[str]
    # Whether items that the user has seen are left out; they are when it is not given.
    exclude_seen: bool
    # Forces α, the share of the short-term vector, in [0, 1]; else the bundle decides.
    fusion_weight: float
    # The request's own time, the clock of recency; now when it is not given.
    as_of: TimeLike
    # How many interests the answer has, most probable first; 20 when it is not given.
    num_interests: int
    # How the page is arranged beyond its scores: pins, promotions, boosts, diversity and more.
    controls: ranker_pb2.Controls
    # Whether each item comes with its ranks under either vector alone.
    explain: bool
    # Whether the answer names the page after it, in `next_page_token`.
    with_next_page: bool
    # The `next_page_token` of the answer before; the first page when it is not given.
    page_token: str
    # Whether the items are ordered by what is popular now, whoever asks.
    trending: bool
    # How often the user may be shown the same item.
    impressions: ranker_pb2.ImpressionLimits
    # The bundle that must rank, one that the ranker has loaded; else the service decides.
    bundle_id: str


class InterestOptions(TypedDict, total=False):
    """What an interest distribution may be asked for besides its user."""

    # Forces α, the share of the short-term vector, in [0, 1]; else the bundle decides.
    fusion_weight: float
    # The request's own time, the clock of recency; now when it is not given.
    as_of: TimeLike
    # How many categories the answer has, most probable first; 20 when it is not given.
    num_interests: int
    # Whether the interests by either vector alone are wanted too.
    by_vector: bool


class SimilarOptions(TypedDict, total=False):
    """What similar items may be asked for besides their item."""

    # How many items; 10 when it is not given.
    page_size: int
    # As in RecommendOptions.
    filter: str


def recommend_request(
    user_id: str | None = None,
    *,
    session_id: str | None = None,
    events: Events | None = None,
    **options: Unpack[RecommendOptions],
) -> ranker_pb2.RecommendRequest:
    """A request for `recommend` or `batch_recommend`.

    Give one of the user's id, the id of an anonymous session, and `events`. Raises ValueError for
    none and for several.
    """
    as_of = options.get("as_of")
    request = ranker_pb2.RecommendRequest(
        page_size=options.get("page_size"),
        filter=options.get("filter", ""),
        deny_item_ids=options.get("deny_item_ids", ()),
        exclude_seen=options.get("exclude_seen"),
        fusion_weight=options.get("fusion_weight"),
        as_of=None if as_of is None else timestamp(as_of),
        num_interests=options.get("num_interests"),
        controls=options.get("controls"),
        explain=options.get("explain", False),
        with_next_page=options.get("with_next_page", False),
        page_token=options.get("page_token", ""),
        sort=ranker_pb2.SORT_TRENDING if options.get("trending") else ranker_pb2.SORT_UNSPECIFIED,
        impressions=options.get("impressions"),
        bundle_id=options.get("bundle_id", ""),
    )
    return _with_subject(request, user_id, session_id, events)


def interests_request(
    user_id: str | None, session_id: str | None, events: Events | None, options: InterestOptions
) -> ranker_pb2.GetInterestsRequest:
    """A request for `interests`."""
    as_of = options.get("as_of")
    request = ranker_pb2.GetInterestsRequest(
        fusion_weight=options.get("fusion_weight"),
        as_of=None if as_of is None else timestamp(as_of),
        num_interests=options.get("num_interests"),
        by_vector=options.get("by_vector", False),
    )
    return _with_subject(request, user_id, session_id, events)


def recommend_batches(
    asked: Iterable[ranker_pb2.RecommendRequest], size: int
) -> Iterator[ranker_pb2.StreamRecommendRequest]:
    """The requests of a stream, `size` users each, read as they are needed."""
    remaining = iter(asked)
    while batch := list(islice(remaining, size)):
        yield ranker_pb2.StreamRecommendRequest(requests=batch)


class Repeatable(Generic[Read]):
    """Requests of a stream; those without an answer are sent again over another one.

    gRPC may read for a stream that has broken while another one reads already.
    """

    def __init__(self, read: Iterator[Read]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._num_answered = 0
        self._unanswered: deque[Read] = deque()

    def unanswered(self) -> Iterator[Read]:
        """The requests that are not answered now, read as they are needed."""
        place = self._num_answered
        while (request := self._at(place)) is not None:
            yield request
            place += 1

    def answered(self) -> None:
        """Note the answer to the first request without one."""
        with self._lock:
            self._unanswered.popleft()
            self._num_answered += 1

    def _at(self, place: int) -> Read | None:
        with self._lock:
            place -= self._num_answered
            if place == len(self._unanswered):
                self._unanswered.extend(islice(self._read, 1))
            return self._unanswered[place] if 0 <= place < len(self._unanswered) else None


def similar_request(item_id: str, options: SimilarOptions) -> ranker_pb2.SimilarItemsRequest:
    """A request for `similar_items`."""
    return ranker_pb2.SimilarItemsRequest(
        item_id=item_id,
        page_size=options.get("page_size"),
        filter=options.get("filter", ""),
    )


def session_request(
    user_id: str | None, session_id: str | None, events: Events | None, bundle_id: str
) -> session_pb2.EncodeSessionRequest:
    """A request for `encode_session`."""
    request = session_pb2.EncodeSessionRequest(bundle_id=bundle_id)
    return _with_subject(request, user_id, session_id, events)


def profiles_request(
    user_ids: Iterable[str], bundle_id: str
) -> profile_pb2.BatchGetProfilesRequest:
    """A request for `batch_get_profiles`."""
    return profile_pb2.BatchGetProfilesRequest(
        requests=[
            profile_pb2.GetProfileRequest(user_id=user_id, bundle_id=bundle_id)
            for user_id in user_ids
        ]
    )


def watch_request(
    since_revision: int, bundle_id: str, with_content: bool, lineage: str
) -> catalogue_pb2.WatchItemsRequest:
    """A request for `watch_items`."""
    return catalogue_pb2.WatchItemsRequest(
        since_revision=since_revision,
        bundle_id=bundle_id,
        with_content=with_content,
        lineage=lineage,
    )


def event_batches(events: Events, size: int) -> Iterator[events_pb2.ImportEventsRequest]:
    """The requests of an import, `size` events each, read as they are needed."""
    remaining = iter(events)
    while batch := list(islice(remaining, size)):
        yield events_pb2.ImportEventsRequest(events=batch)


async def async_event_batches(
    events: AnyEvents, size: int
) -> AsyncIterator[events_pb2.ImportEventsRequest]:
    """The same for events that may come asynchronously."""
    batch: list[event_pb2.Event] = []
    async for event in _as_async(events):
        batch.append(event)
        if len(batch) == size:
            yield events_pb2.ImportEventsRequest(events=batch)
            batch = []
    if batch:
        yield events_pb2.ImportEventsRequest(events=batch)


async def _as_async(events: AnyEvents) -> AsyncIterator[event_pb2.Event]:
    if isinstance(events, AsyncIterable):
        async for event in events:
            yield event
    else:
        for event in events:
            yield event


def _with_subject(
    request: OfSubject, user_id: str | None, session_id: str | None, events: Events | None
) -> OfSubject:
    if [user_id, session_id, events].count(None) != 2:
        raise ValueError("give one of user_id, session_id and events")
    if user_id is not None:
        request.user_id = user_id
    if session_id is not None:
        request.session_id = session_id
    if events is not None:
        request.inline_events.CopyFrom(event_pb2.InlineEvents(events=events))
    return request
