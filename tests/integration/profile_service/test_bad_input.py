"""Bad input of every kind is refused with its reason, and nothing is written."""

import base64
import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import grpc
import pytest

from groundswell.client import GroundswellClient, GroundswellError, event, item
from groundswell.profile.v1 import (
    catalogue_service_pb2,
    catalogue_service_pb2_grpc,
    event_service_pb2,
    event_service_pb2_grpc,
    profile_service_pb2,
    profile_service_pb2_grpc,
)
from tests.support.suite import Suite

Call = Callable[[GroundswellClient], object]


@pytest.fixture(scope="module")
def channel(service: Suite) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(service.targets.profile) as channel:
        yield channel


def _refused(error: GroundswellError) -> tuple[str, str, list[str]]:
    return error.status.name, error.reason, [violation.field for violation in error.violations]


def test_each_bad_event_is_rejected_for_itself_and_named(client: GroundswellClient) -> None:
    good = event("careful", "item-1", event_id="good")
    bad = {
        "EVENT_ID_INVALID": event("careful", "item-1", event_id=""),
        "USER_ID_INVALID": event("", "item-1"),
        "ITEM_ID_INVALID": event("careful", ""),
        "ACTION_INVALID": event("careful", "item-1", 0),  # type: ignore[arg-type]
        "VALUE_INVALID": event("careful", "item-1", value=math.nan),
        "TIME_INVALID": event("careful", "item-1", time=9e9),
        "ORDINAL_INVALID": event("careful", "item-1", ordinal=-1),
        "SESSION_ID_INVALID": event("careful", "item-1", session_id="\0"),
        "ITEM_NOT_FOUND": event("careful", "no such item"),
    }
    results = client.append_events([good, *bad.values()])
    assert [r.reason for r in results] == ["", *bad]
    assert all(r.detail for r in results[1:])
    assert [e.event.event_id for e in client.list_events("careful")] == ["good"]


def _items(**parts: object) -> Call:
    return lambda client: client.upsert_items([item("good"), item("bad", **parts)])  # type: ignore[arg-type] # wrong on purpose


REQUESTS: dict[str, tuple[str, str, Call]] = {
    "no user": ("USER_ID_INVALID", "user_id", lambda c: c.get_profile("")),
    "a user with a NUL": ("USER_ID_INVALID", "user_id", lambda c: c.get_profile("a\0b")),
    "a long user": ("USER_ID_INVALID", "user_id", lambda c: c.get_profile("é" * 129)),
    "a user of a batch": (
        "USER_ID_INVALID",
        "requests[1].user_id",
        lambda c: c.batch_get_profiles(["a", ""]),
    ),
    "no users": ("USERS_INVALID", "requests", lambda c: c.batch_get_profiles([])),
    "too many users": ("USERS_INVALID", "requests", lambda c: c.batch_get_profiles(["a"] * 257)),
    "too many to refresh": (
        "USERS_INVALID",
        "user_ids",
        lambda c: list(c.refresh_profiles(["a"] * 10_001)),
    ),
    "a long item": ("ITEM_ID_INVALID", "item_id", lambda c: c.get_item("x" * 257)),
    "no items": ("ITEMS_INVALID", "items", lambda c: c.upsert_items([])),
    "too many items": (
        "ITEMS_INVALID",
        "items",
        lambda c: c.upsert_items(item(f"x{n}") for n in range(1_001)),
    ),
    "an item twice": (
        "ITEMS_INVALID",
        "items[1].item_id",
        lambda c: c.upsert_items([item("good"), item("good")]),
    ),
    "an item without an id": (
        "ITEM_ID_INVALID",
        "items[1].item_id",
        lambda c: c.upsert_items([item("good"), item("")]),
    ),
    "a title with a NUL": ("TITLE_INVALID", "items[1].title", _items(title="\0")),
    "a long title": ("TITLE_INVALID", "items[1].title", _items(title="x" * 2_001)),
    "a long description": (
        "DESCRIPTION_INVALID",
        "items[1].description",
        _items(description="x" * 20_001),
    ),
    "a category twice": ("CATEGORIES_INVALID", "items[1].categories", _items(categories="aa")),
    "an empty category": (
        "CATEGORIES_INVALID",
        "items[1].categories[0]",
        _items(categories=[""]),
    ),
    "too many categories": (
        "CATEGORIES_INVALID",
        "items[1].categories",
        _items(categories=[str(n) for n in range(65)]),
    ),
    "an infinite attribute": (
        "ATTRIBUTES_INVALID",
        "items[1].attributes.price",
        _items(attributes={"price": math.inf}),
    ),
    "an attribute that is not a number": (
        "ATTRIBUTES_INVALID",
        "items[1].attributes.price",
        _items(attributes={"price": math.nan}),
    ),
    "an attribute named as a field": (
        "ATTRIBUTES_INVALID",
        "items[1].attributes",
        _items(attributes={"title": "x"}),
    ),
    "an attribute that SQL could not name": (
        "ATTRIBUTES_INVALID",
        "items[1].attributes",
        _items(attributes={"a b": "x"}),
    ),
    "a list with a NUL": (
        "ATTRIBUTES_INVALID",
        "items[1].attributes.tags",
        _items(attributes={"tags": ["a", "\0"]}),
    ),
    "nothing to delete": ("ITEMS_INVALID", "item_ids", lambda c: c.delete_items([])),
    "an empty id to delete": (
        "ITEM_ID_INVALID",
        "item_ids[1]",
        lambda c: c.delete_items(["item-1", ""]),
    ),
    "no page": ("PAGE_SIZE_INVALID", "page_size", lambda c: list(c.list_items(page_size=0))),
    "a huge page": (
        "PAGE_SIZE_INVALID",
        "page_size",
        lambda c: list(c.list_events("a", page_size=100_000)),
    ),
    "a negative revision": (
        "REVISION_INVALID",
        "since_revision",
        lambda c: next(iter(c.watch_items(-1))),
    ),
    "no events": ("EVENTS_INVALID", "events", lambda c: c.append_events([])),
    "too many events": (
        "EVENTS_INVALID",
        "events",
        lambda c: c.append_events([event("a", "item-1")] * 1_001),
    ),
    "no texts": ("TEXTS_INVALID", "texts", lambda c: c.encode_texts([])),
    "an empty text": ("TEXTS_INVALID", "texts[1]", lambda c: c.encode_texts(["a", ""])),
    "a text with a NUL": ("TEXTS_INVALID", "texts[0]", lambda c: c.encode_texts(["\0"])),
    "a long text": ("TEXT_INVALID", "text", lambda c: c.predict_interests("x" * 20_001)),
    "a text of unknown signs": (
        "TEXT_UNKNOWN",
        "text",
        lambda c: c.predict_interests("\U0001f9ff\U0001f9ff \U0001f9ff \U0001f9ff"),
    ),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_a_bad_request_is_refused_with_the_field_named(
    what: str, client: GroundswellClient
) -> None:
    reason, field, call = REQUESTS[what]
    with pytest.raises(GroundswellError) as caught:
        call(client)
    assert _refused(caught.value) == ("INVALID_ARGUMENT", reason, [field])


def test_nothing_of_a_refused_write_is_written(client: GroundswellClient) -> None:
    for _, _, call in REQUESTS.values():
        with pytest.raises(GroundswellError):
            call(client)
    with pytest.raises(GroundswellError) as caught:
        client.get_item("good")
    assert caught.value.reason == "ITEM_NOT_FOUND"
    assert client.get_item("item-1").title


def test_a_bundle_that_is_not_loaded_is_refused(client: GroundswellClient) -> None:
    calls: list[Call] = [
        lambda c: c.get_profile("a", bundle_id="0123456789abcdef"),
        lambda c: c.encode_texts(["a"], bundle_id="../current"),
        lambda c: next(iter(c.watch_items(bundle_id="0123456789abcdef"))),
    ]
    for call in calls:
        with pytest.raises(GroundswellError) as caught:
            call(client)
        assert (caught.value.status.name, caught.value.reason) == (
            "FAILED_PRECONDITION",
            "BUNDLE_NOT_LOADED",
        )


def _token(place: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "not base64 at all",
        _token([1, 2]),
        _token([1, 2, 3]),
        _token([1, True, "e"]),
        _token([2**63, 0, "e"]),
        _token([1.5, 0, "e"]),
        _token([1, 0, "\0"]),
        _token([1, 0, "\ud800"]),
        base64.urlsafe_b64encode(b"[" * 50_000).decode(),
    ],
)
def test_a_page_token_that_was_not_given_out_is_refused(
    token: str, client: GroundswellClient, channel: grpc.Channel
) -> None:
    client.append_events([event("paged", "item-1", event_id="p1")])
    request = event_service_pb2.ListEventsRequest(user_id="paged", page_token=token)
    with pytest.raises(grpc.RpcError) as caught:
        event_service_pb2_grpc.EventServiceStub(channel).ListEvents(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    items = catalogue_service_pb2.ListItemsRequest(page_token=token)
    with pytest.raises(grpc.RpcError) as caught:
        catalogue_service_pb2_grpc.CatalogueServiceStub(channel).ListItems(items)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_batch_that_mixes_bundles_is_refused(channel: grpc.Channel) -> None:
    requests = [
        profile_service_pb2.GetProfileRequest(user_id="a", bundle_id=bundle_id)
        for bundle_id in ("", "another")
    ]
    with pytest.raises(grpc.RpcError) as caught:
        profile_service_pb2_grpc.ProfileServiceStub(channel).BatchGetProfiles(
            profile_service_pb2.BatchGetProfilesRequest(requests=requests)
        )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\x0a\x05\x0a\x03\xed\xa0\x80", id="a lone surrogate"),
        pytest.param(b"\x0a\x04\x0a\x02\xff\xfe", id="no UTF-8"),
        pytest.param(b"\x0a\xff\xff", id="a message that was cut off"),
        pytest.param(b"\x0a" + b"\x00" * (5 * 2**20), id="5 MiB"),
    ],
)
def test_bytes_that_are_no_message_do_no_harm(
    sent: bytes, client: GroundswellClient, channel: grpc.Channel
) -> None:
    before = len(list(client.list_items()))
    for method in ("EventService/AppendEvents", "CatalogueService/UpsertItems"):
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/groundswell.profile.v1.{method}"
        )
        with pytest.raises(grpc.RpcError) as caught:
            call(sent, timeout=10)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "Error parsing" not in (caught.value.details() or "")
    assert len(list(client.list_items())) == before


def test_texts_of_every_kind_are_encoded(client: GroundswellClient) -> None:
    texts = ["مرحبا", "🦆" * 500, "e" + "\u0301" * 4_000, "\u200b\u200d\u202e x", "汉字 混 mixed"]
    answer = client.encode_texts(texts)
    assert len(answer.vectors) == len(texts)
    assert all(len(v.values) == 4 * v.dimension for v in answer.vectors)
    client.upsert_items(item(f"odd {n}", text[:400]) for n, text in enumerate(texts))
    for _ in client.refresh_profiles(timeout=30):
        pass


def test_a_listing_before_a_time_is_that_on_every_page_and_refuses_another_time(
    client: GroundswellClient, channel: grpc.Channel
) -> None:
    times = [datetime(2026, 5, 4, hour, tzinfo=UTC) for hour in range(5)]
    sent = [event("hourly", "item-1", time=t, event_id=f"{n}") for n, t in enumerate(times)]
    client.append_events(sent)
    stub = event_service_pb2_grpc.EventServiceStub(channel)
    request = event_service_pb2.ListEventsRequest(user_id="hourly", page_size=2)
    request.before.FromDatetime(times[3])
    first = stub.ListEvents(request)
    request.page_token = first.next_page_token
    found = [*first.events, *stub.ListEvents(request).events]
    assert [stored.event.event_id for stored in found] == ["2", "1", "0"]
    request.before.seconds = 2**40
    with pytest.raises(grpc.RpcError, match="before does not lie"):
        stub.ListEvents(request)
