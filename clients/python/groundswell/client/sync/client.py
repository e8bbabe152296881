# Generated from aio/client.py by `make client`: change that file.
"""The client for code without an event loop."""

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Literal, Self, Unpack

from groundswell.client import requests
from groundswell.client.channels import Deadlines, Targets, channel_options
from groundswell.client.errors import GroundswellError
from groundswell.client.retries import Reopening
from groundswell.client.secured import Tls, Token, open_channel
from groundswell.client.sync.calls import ThrottledCalls, stream
from groundswell.client.sync.profile import ProfileCalls
from groundswell.client.throttling import MAX_SHARE
from groundswell.common.v1 import event_pb2
from groundswell.common.v1 import model_service_pb2 as model_pb2
from groundswell.common.v1.model_service_pb2_grpc import ModelServiceStub
from groundswell.ranker.v1 import ranker_service_pb2 as ranker_pb2
from groundswell.ranker.v1.ranker_service_pb2_grpc import RankerServiceStub
from groundswell.session.v1 import session_service_pb2 as session_pb2
from groundswell.session.v1.session_service_pb2_grpc import SessionServiceStub


class GroundswellClient(ProfileCalls):
    """Calls the services of a suite; make one, keep it, and close it at the end.

    It is safe to use from many threads. Every call has a deadline, `timeout` in seconds
    where it is given, and raises GroundswellError. Calls that reach no server are tried again
    within their deadline, and so are calls that a busy server refuses, when it says after what
    time. While most calls fail, no call is tried again. The messages are those of the contracts in
    `protos/`.
    While a service refuses most calls with OVERLOADED, the client refuses some by itself: it sends
    about one and a half times as many as the service accepts. A call that it refuses raises
    OverloadedError with `is_local`. With `throttling=False` it sends every call.
    With `http_proxy` calls use the proxy of the environment variable `http_proxy`, if it is set.
    With `tls` they are encrypted, and with `token` each says who calls: the token, the path of its
    file, or a function that returns it at once. Files of both are read again when they change; a
    wrong one raises OSError or ValueError at the start. So does a token without `tls` for another
    machine than this, since it could be read on its way, unless GROUNDSWELL_ALLOW_INSECURE=1.
    """

    def __init__(
        self,
        targets: Targets | None = None,
        *,
        deadlines: Deadlines | None = None,
        http_proxy: bool = False,
        throttling: bool = True,
        tls: Tls | None = None,
        token: Token | None = None,
    ) -> None:
        targets = targets or Targets()
        options = channel_options(http_proxy=http_proxy)
        self._channels = {
            "ranker": open_channel(targets.ranker, options, tls, token),
            "session": open_channel(targets.session, options, tls, token),
            "profile": open_channel(targets.profile, options, tls, token),
        }
        max_share = MAX_SHARE if throttling else 0.0
        self._calls = {name: ThrottledCalls(max_share) for name in self._channels}
        super().__init__(
            self._channels["profile"], self._calls["profile"], deadlines or Deadlines()
        )
        self._ranker = RankerServiceStub(self._channels["ranker"])
        self._session = SessionServiceStub(self._channels["session"])
        self._models = {name: ModelServiceStub(channel) for name, channel in self._channels.items()}

    def close(self) -> None:
        """Close the connections; calls in flight end with CANCELLED."""
        for channel in self._channels.values():
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- ranker

    def recommend(
        self,
        user_id: str | None = None,
        *,
        session_id: str | None = None,
        events: requests.Events | None = None,
        timeout: float | None = None,
        **options: Unpack[requests.RecommendOptions],
    ) -> ranker_pb2.RecommendResponse:
        """The items for a user, for an anonymous session, or for `events`, best first.

        The options are those of `RecommendOptions`. `degradations` of the answer says how it
        falls short, for example that it is not personalised.
        """
        request = requests.recommend_request(
            user_id, session_id=session_id, events=events, **options
        )
        return self._calls["ranker"](
            self._ranker.Recommend, request, timeout, self._deadlines.read_s
        )

    def batch_recommend(
        self, asked: Iterable[ranker_pb2.RecommendRequest], *, timeout: float | None = None
    ) -> list[ranker_pb2.RecommendResponse]:
        """The answers to up to 256 requests of `recommend_request`, in their order.

        They may ask for 10,000 items together. One wrong request fails the call.
        """
        request = ranker_pb2.BatchRecommendRequest(requests=asked)
        answer = self._calls["ranker"](
            self._ranker.BatchRecommend, request, timeout, self._deadlines.bulk_s
        )
        return list(answer.responses)

    def recommend_categories(
        self,
        request: ranker_pb2.RecommendRequest,
        *,
        num_categories: int | None = None,
        timeout: float | None = None,
    ) -> list[ranker_pb2.CategoryRecommendations]:
        """The most probable categories of a subject, each with its best items.

        `request` is one of `recommend_request`; its page size, at most 50, is that of a category.
        Five categories when `num_categories` is not given.
        """
        asked = ranker_pb2.RecommendCategoriesRequest(
            request=request, num_categories=num_categories
        )
        answer = self._calls["ranker"](
            self._ranker.RecommendCategories, asked, timeout, self._deadlines.bulk_s
        )
        return list(answer.categories)

    def explain_item(
        self,
        request: ranker_pb2.RecommendRequest,
        item_id: str,
        *,
        attribution_token: str = "",
        timeout: float | None = None,
    ) -> ranker_pb2.ExplainItemResponse:
        """Why an item is in the answer to a request of `recommend_request`, or why not.

        The token of an answer says which fusion weight was drawn for it.
        """
        asked = ranker_pb2.ExplainItemRequest(
            request=request, item_id=item_id, attribution_token=attribution_token
        )
        return self._calls["ranker"](
            self._ranker.ExplainItem, asked, timeout, self._deadlines.bulk_s
        )

    def replay(
        self,
        attribution_token: str,
        request: ranker_pb2.RecommendRequest,
        *,
        timeout: float | None = None,
    ) -> ranker_pb2.ReplayRecommendResponse:
        """Make the answer of a token again from its request, and say what has changed since."""
        asked = ranker_pb2.ReplayRecommendRequest(
            attribution_token=attribution_token, request=request
        )
        return self._calls["ranker"](
            self._ranker.ReplayRecommend, asked, timeout, self._deadlines.bulk_s
        )

    def recommend_all(
        self,
        asked: Iterable[ranker_pb2.RecommendRequest],
        *,
        batch_size: int = requests.MAX_REQUESTS,
        timeout: float | None = None,
    ) -> Iterator[ranker_pb2.RecommendResponse]:
        """The answers to any number of requests of `recommend_request`, in their order.

        The requests are read as they are needed, `batch_size` at a time, which may ask for 10,000
        items together. When the connection breaks, the stream goes on where it was.
        """
        batches = requests.Repeatable(requests.recommend_batches(asked, batch_size))
        seconds = self._deadlines.stream_s if timeout is None else timeout
        reopening = Reopening(requests.STREAM_GIVE_UP_S, seconds)
        while True:
            start = partial(
                self._ranker.StreamRecommend, batches.unanswered(), timeout=reopening.left_s
            )
            try:
                with closing(stream(start)) as answers:
                    for answer in answers:
                        reopening.answered()
                        batches.answered()
                        for response in answer.responses:
                            yield response
                return
            except GroundswellError as error:
                time.sleep(reopening.wait_s(error))

    def similar_items(
        self,
        item_id: str,
        *,
        timeout: float | None = None,
        **options: Unpack[requests.SimilarOptions],
    ) -> ranker_pb2.SimilarItemsResponse:
        """The items nearest to an item, nearest first; the options are `SimilarOptions`."""
        request = requests.similar_request(item_id, options)
        return self._calls["ranker"](
            self._ranker.SimilarItems, request, timeout, self._deadlines.read_s
        )

    def interests(
        self,
        user_id: str | None = None,
        *,
        session_id: str | None = None,
        events: requests.Events | None = None,
        timeout: float | None = None,
        **options: Unpack[requests.InterestOptions],
    ) -> ranker_pb2.GetInterestsResponse:
        """The most probable categories of a subject; the options are `InterestOptions`."""
        request = requests.interests_request(user_id, session_id, events, options)
        return self._calls["ranker"](
            self._ranker.GetInterests, request, timeout, self._deadlines.read_s
        )

    # --- session

    def record_events(
        self, events: requests.Events, *, timeout: float | None = None
    ) -> list[event_pb2.EventResult]:
        """Record up to 1,000 events as they happen; the answer comes when they are durable.

        One result per event: accepted, a duplicate, or rejected with its reason.
        """
        request = session_pb2.RecordEventsRequest(events=events)
        answer = self._calls["session"](
            self._session.RecordEvents, request, timeout, self._deadlines.write_s
        )
        return list(answer.results)

    def encode_session(
        self,
        user_id: str | None = None,
        *,
        session_id: str | None = None,
        events: requests.Events | None = None,
        bundle_id: str = "",
        timeout: float | None = None,
    ) -> session_pb2.EncodeSessionResponse:
        """The short-term vector of the last events of a user or a session, or of those given."""
        request = requests.session_request(user_id, session_id, events, bundle_id)
        return self._calls["session"](
            self._session.EncodeSession, request, timeout, self._deadlines.read_s
        )

    def link_session(self, session_id: str, user_id: str, *, timeout: float | None = None) -> int:
        """Move the events of an anonymous session to a user; return how many were moved.

        Events belong to an anonymous session when they were recorded without a user. The error's
        reason is SESSION_LINKED when the session is linked to another user.
        """
        request = session_pb2.LinkSessionRequest(session_id=session_id, user_id=user_id)
        answer = self._calls["session"](
            self._session.LinkSession, request, timeout, self._deadlines.write_s
        )
        return answer.num_moved

    # --- models

    def model(
        self,
        service: Literal["ranker", "session", "profile"] = "ranker",
        *,
        num_categories: int | None = None,
        timeout: float | None = None,
    ) -> model_pb2.GetModelResponse:
        """The bundle that a service serves with now, and those that it can answer for.

        `num_categories` of its categories are named, 20 when it is not given.
        """
        request = model_pb2.GetModelRequest(num_categories=num_categories)
        return self._calls[service](
            self._models[service].GetModel, request, timeout, self._deadlines.read_s
        )
