"""Both clients: which call reaches which service with what, and what comes back."""

from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from groundswell.client import event, item, recommend_request, vector_values
from groundswell.common.v1 import event_pb2, item_pb2, model_service_pb2
from groundswell.profile.v1 import catalogue_service_pb2 as catalogue_pb2
from groundswell.profile.v1 import event_service_pb2 as events_pb2
from groundswell.profile.v1 import profile_service_pb2 as profile_pb2
from groundswell.profile.v1 import text_service_pb2 as text_pb2
from groundswell.ranker.v1 import ranker_service_pb2 as ranker_pb2
from groundswell.session.v1 import session_service_pb2 as session_pb2
from tests.support.recorder import Recorders

WHEN = datetime(2020, 1, 2, tzinfo=UTC)
STAMP = Timestamp(seconds=1_577_923_200)
EVENT = event("anna", "i1", "cart", time=WHEN, event_id="e1")
ITEM = item("i1", "A title", categories=["Drama"])
INLINE = event_pb2.InlineEvents(events=[EVENT])


@pytest.mark.parametrize(
    ("method", "arguments", "named", "service", "request_"),
    [
        (
            "recommend",
            ("anna",),
            {"page_size": 3, "filter": "price < 2", "fusion_weight": 0.0, "exclude_seen": False},
            "ranker.Recommend",
            ranker_pb2.RecommendRequest(
                user_id="anna",
                page_size=3,
                filter="price < 2",
                fusion_weight=0.0,
                exclude_seen=False,
            ),
        ),
        (
            "recommend",
            (),
            {"events": [EVENT], "as_of": WHEN, "deny_item_ids": ["i2"]},
            "ranker.Recommend",
            ranker_pb2.RecommendRequest(inline_events=INLINE, as_of=STAMP, deny_item_ids=["i2"]),
        ),
        (
            "recommend",
            (),
            {"events": []},
            "ranker.Recommend",
            ranker_pb2.RecommendRequest(inline_events=event_pb2.InlineEvents()),
        ),
        (
            "similar_items",
            ("i1",),
            {"page_size": 4},
            "ranker.SimilarItems",
            ranker_pb2.SimilarItemsRequest(item_id="i1", page_size=4),
        ),
        (
            "interests",
            ("anna",),
            {"as_of": WHEN},
            "ranker.GetInterests",
            ranker_pb2.GetInterestsRequest(user_id="anna", as_of=STAMP),
        ),
        (
            "encode_session",
            ("anna",),
            {"bundle_id": "b"},
            "session.EncodeSession",
            session_pb2.EncodeSessionRequest(user_id="anna", bundle_id="b"),
        ),
        (
            "encode_session",
            (),
            {"session_id": "visit"},
            "session.EncodeSession",
            session_pb2.EncodeSessionRequest(session_id="visit"),
        ),
        (
            "link_session",
            ("visit", "anna"),
            {},
            "session.LinkSession",
            session_pb2.LinkSessionRequest(session_id="visit", user_id="anna"),
        ),
        (
            "record_events",
            ([EVENT],),
            {},
            "session.RecordEvents",
            session_pb2.RecordEventsRequest(events=[EVENT]),
        ),
        (
            "append_events",
            ([EVENT],),
            {},
            "profile.AppendEvents",
            events_pb2.AppendEventsRequest(events=[EVENT]),
        ),
        (
            "upsert_items",
            ([ITEM],),
            {},
            "profile.UpsertItems",
            catalogue_pb2.UpsertItemsRequest(items=[ITEM]),
        ),
        (
            "delete_items",
            (["i1", "i2"],),
            {},
            "profile.DeleteItems",
            catalogue_pb2.DeleteItemsRequest(item_ids=["i1", "i2"]),
        ),
        ("get_item", ("i1",), {}, "profile.GetItem", catalogue_pb2.GetItemRequest(item_id="i1")),
        (
            "get_profile",
            ("anna",),
            {"known_seen_version": 0, "known_seen_lineage": "1f"},
            "profile.GetProfile",
            profile_pb2.GetProfileRequest(
                user_id="anna", known_seen_version=0, known_seen_lineage="1f"
            ),
        ),
        (
            "batch_get_profiles",
            (["anna", "ben"],),
            {"bundle_id": "b"},
            "profile.BatchGetProfiles",
            profile_pb2.BatchGetProfilesRequest(
                requests=[
                    profile_pb2.GetProfileRequest(user_id="anna", bundle_id="b"),
                    profile_pb2.GetProfileRequest(user_id="ben", bundle_id="b"),
                ]
            ),
        ),
        (
            "encode_texts",
            (["a film"],),
            {},
            "profile.EncodeTexts",
            text_pb2.EncodeTextsRequest(texts=["a film"]),
        ),
        (
            "predict_interests",
            ("a film",),
            {},
            "profile.PredictInterests",
            text_pb2.PredictInterestsRequest(text="a film"),
        ),
        ("model", (), {}, "ranker.GetModel", model_service_pb2.GetModelRequest()),
        ("model", ("session",), {}, "session.GetModel", model_service_pb2.GetModelRequest()),
        ("model", ("profile",), {}, "profile.GetModel", model_service_pb2.GetModelRequest()),
    ],
)
def test_a_call_reaches_its_service_with_its_request(
    client: Any,
    suite: Recorders,
    method: str,
    arguments: tuple[Any, ...],
    named: dict[str, Any],
    service: str,
    request_: Any,
) -> None:
    getattr(client, method)(*arguments, **named)
    place, _, name = service.partition(".")
    assert getattr(suite, place).requests == [(name, request_)]
    others = {"ranker", "session", "profile"} - {place}
    assert all(getattr(suite, other).requests == [] for other in others)


def test_answers_come_back_whole(client: Any, suite: Recorders) -> None:
    answer = ranker_pb2.RecommendResponse(
        recommendations=[ranker_pb2.Recommendation(item_id="i1", score=0.5)], bundle_id="b"
    )
    suite.ranker.answers["Recommend"] = lambda *_: answer
    assert client.recommend("anna") == answer


def test_a_batch_asks_for_all_at_once_and_answers_in_order(client: Any, suite: Recorders) -> None:
    answers = [ranker_pb2.RecommendResponse(recommendation_id=str(n)) for n in range(2)]
    suite.ranker.answers["BatchRecommend"] = lambda *_: ranker_pb2.BatchRecommendResponse(
        responses=answers
    )
    asked = [recommend_request("anna"), recommend_request(events=[EVENT], page_size=2)]
    assert client.batch_recommend(asked) == answers
    (request,) = suite.ranker.asked("BatchRecommend")
    assert list(request.requests) == asked


def test_results_of_a_write_come_one_per_event(client: Any, suite: Recorders) -> None:
    results = [
        event_pb2.EventResult(status=event_pb2.EVENT_STATUS_ACCEPTED, sequence=1),
        event_pb2.EventResult(status=event_pb2.EVENT_STATUS_REJECTED, reason="ITEM_NOT_FOUND"),
    ]
    suite.session.answers["RecordEvents"] = lambda *_: session_pb2.RecordEventsResponse(
        results=results
    )
    assert client.record_events([EVENT, EVENT]) == results


def test_a_list_of_events_reads_all_its_pages(client: Any, suite: Recorders) -> None:
    def page(request: Any, _: Any) -> events_pb2.ListEventsResponse:
        number = int(request.page_token or "0")
        events = [events_pb2.StoredEvent(sequence=10 - number)]
        return events_pb2.ListEventsResponse(
            events=events, next_page_token=str(number + 1) if number < 2 else ""
        )

    suite.profile.answers["ListEvents"] = page
    stored = client.list_events("anna", page_size=1)
    assert [event.sequence for event in stored] == [10, 9, 8]
    asked = suite.profile.asked("ListEvents")
    assert [(r.user_id, r.page_size, r.page_token) for r in asked] == [
        ("anna", 1, ""),
        ("anna", 1, "1"),
        ("anna", 1, "2"),
    ]


def test_a_list_of_items_reads_pages_only_as_they_are_needed(client: Any, suite: Recorders) -> None:
    suite.profile.answers["ListItems"] = lambda *_: catalogue_pb2.ListItemsResponse(
        items=[ITEM], next_page_token="more"
    )
    items = client.list_items()
    assert next(items) == ITEM
    assert len(suite.profile.asked("ListItems")) == 1
    assert next(items) == ITEM
    assert len(suite.profile.asked("ListItems")) == 2
    items.close()


def test_progress_of_a_refresh_comes_until_nothing_is_left(client: Any, suite: Recorders) -> None:
    suite.profile.answers["RefreshProfiles"] = lambda *_: iter(
        profile_pb2.RefreshProfilesResponse(num_users_left=left) for left in (2, 1, 0)
    )
    assert [step.num_users_left for step in client.refresh_profiles(["anna"])] == [2, 1, 0]
    assert list(suite.profile.asked("RefreshProfiles")[0].user_ids) == ["anna"]


def test_an_answer_larger_than_a_request_may_be_is_read(client: Any, suite: Recorders) -> None:
    big = item_pb2.Item(description="x" * (6 * 1024 * 1024))
    suite.profile.answers["GetItem"] = lambda *_: catalogue_pb2.GetItemResponse(item=big)
    assert client.get_item("i1") == big


def test_a_vector_of_an_answer_can_be_read(client: Any, suite: Recorders) -> None:
    vector = item_pb2.Vector(values=b"\0\0\xc0\x3f\0\0\0\xc0", dimension=2)
    suite.session.answers["EncodeSession"] = lambda *_: session_pb2.EncodeSessionResponse(
        vector=vector
    )
    assert vector_values(client.encode_session("anna").vector) == (1.5, -2.0)


@pytest.mark.parametrize("named", [{}, {"user_id": "anna", "events": [EVENT]}])
def test_neither_or_both_of_user_and_events_is_refused_before_a_call(
    client: Any, suite: Recorders, named: dict[str, Any]
) -> None:
    for call in (client.recommend, client.interests, client.encode_session):
        with pytest.raises(ValueError, match="one of user_id, session_id and events"):
            call(**named)
    assert suite.ranker.requests == suite.session.requests == []
