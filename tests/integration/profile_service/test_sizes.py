"""The largest requests of the contract are taken, and every client can receive the answers."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from groundswell.client import event, item
from groundswell.common.v1 import event_pb2, item_pb2
from groundswell.contract.items import MAX_ITEM_BYTES, MAX_TEXT_BYTES
from groundswell.profile.v1 import catalogue_service_pb2 as catalogue_pb2
from groundswell.profile.v1 import event_service_pb2 as events_pb2
from groundswell.profile.v1 import profile_service_pb2 as profile_pb2
from groundswell.profile.v1 import text_service_pb2 as text_pb2
from groundswell.profile.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from groundswell.profile.v1.event_service_pb2_grpc import EventServiceStub
from groundswell.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from groundswell.profile.v1.text_service_pb2_grpc import TextServiceStub
from groundswell.profile_service.store.items import ItemContent
from tests.integration.profile_service.support import open_memory, profile_service

MIB = 1024 * 1024
TIMEOUT_S = 60.0
NUM_HUGE, NUM_LONG, NUM_SHORT = 3, 220, 100


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Iterator[grpc.Channel]:
    """A channel of a plain gRPC client to a service with a catalogue of an earlier release."""
    folder = tmp_path_factory.mktemp("sizes")
    asyncio.run(_fill(folder))
    impatient = {
        "GROUNDSWELL_ENCODE_TEXTS_TIMEOUT_S": "0.00001",
        "GROUNDSWELL_PREDICT_INTERESTS_TIMEOUT_S": "0.00001",
    }
    with (
        profile_service(folder, bundles, impatient) as service,
        grpc.insecure_channel(service.targets.profile) as channel,
    ):
        yield channel


async def _fill(folder: Path) -> None:
    """Store items of 4 MB, which were allowed once, and items of 20 kB and of 100 bytes."""
    memory = await open_memory(f"sqlite+aiosqlite:///{folder / 'groundswell.db'}", folder)
    texts: Any = {f"a{n}": ["x" * MAX_TEXT_BYTES] * 64 for n in range(62)}
    huge = [ItemContent(f"huge-{n}", "T", "", [], {**texts, "z": 1.0}) for n in range(NUM_HUGE)]
    long = [ItemContent(f"long-{n}", "T", "y" * 20_000) for n in range(NUM_LONG)]
    short = [ItemContent(f"short-{n}", "T", "z" * 100) for n in range(NUM_SHORT)]
    for contents in (short, huge, long):
        await memory.catalogue.upsert(contents)
    await memory.database.close()


def all_ids() -> set[str]:
    numbers = {"huge": NUM_HUGE, "long": NUM_LONG, "short": NUM_SHORT}
    return {f"{name}-{n}" for name, num in numbers.items() for n in range(num)}


def maximal(item_id: str) -> item_pb2.Item:
    """An item of exactly the size that is allowed."""
    texts = {f"a{n}": ["x" * MAX_TEXT_BYTES] * 60 for n in range(4)}
    made = item(item_id, "T" * 1_900, description="", attributes=texts)
    made.description = "y" * (MAX_ITEM_BYTES - made.ByteSize() - 4)
    made.title += "T" * (MAX_ITEM_BYTES - made.ByteSize())
    assert made.ByteSize() == MAX_ITEM_BYTES
    return made


def reason(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    assert isinstance(error, grpc.Call)
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(error).details[0].Unpack(info)
    return error.code(), info.reason


def test_every_page_of_items_can_be_received_and_none_is_missing(channel: grpc.Channel) -> None:
    stub = CatalogueServiceStub(channel)
    listed: list[str] = []
    pages = []
    request = catalogue_pb2.ListItemsRequest(page_size=1_000)
    while True:
        page = stub.ListItems(request, timeout=TIMEOUT_S)
        pages.append(page.ByteSize())
        listed += [one.item_id for one in page.items]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert all_ids() <= set(listed)
    assert len(listed) == len(set(listed))
    assert max(pages) < 3 * MIB
    assert 2 <= len(pages) < 10


def test_a_watch_of_large_items_can_be_received_and_none_is_missing(channel: grpc.Channel) -> None:
    watch = CatalogueServiceStub(channel).WatchItems(catalogue_pb2.WatchItemsRequest())
    watched: list[catalogue_pb2.WatchItemsResponse] = []
    for message in watch:
        watched.append(message)
        if message.caught_up:
            break
    watch.cancel()
    assert max(message.ByteSize() for message in watched) < 3 * MIB
    revisions = [change.item.revision for message in watched for change in message.changes]
    assert revisions == sorted(set(revisions))
    assert all(message.changes[-1].item.revision == message.revision for message in watched)
    assert all_ids() <= {c.item.item_id for message in watched for c in message.changes}


def test_an_item_of_an_earlier_release_comes_without_its_largest_attributes(
    channel: grpc.Channel,
) -> None:
    request = catalogue_pb2.GetItemRequest(item_id="huge-1")
    answer = CatalogueServiceStub(channel).GetItem(request, timeout=TIMEOUT_S)
    assert answer.ByteSize() < MAX_ITEM_BYTES + 100
    assert answer.item.title == "T"
    assert answer.item.attributes_omitted
    assert answer.item.attributes["z"].number == 1.0
    assert 1 < len(answer.item.attributes) < 10


def test_the_largest_request_of_the_largest_items_is_taken_and_they_come_back(
    channel: grpc.Channel,
) -> None:
    stub = CatalogueServiceStub(channel)
    items = [maximal(f"max-{n}") for n in range(16)]
    with pytest.raises(grpc.RpcError) as caught:
        stub.UpsertItems(catalogue_pb2.UpsertItemsRequest(items=items), timeout=TIMEOUT_S)
    refused = (grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_TOO_LARGE")
    assert reason(caught.value) == refused
    stub.UpsertItems(catalogue_pb2.UpsertItemsRequest(items=items[:15]), timeout=TIMEOUT_S)
    request = catalogue_pb2.GetItemRequest(item_id="max-14")
    stored = stub.GetItem(request, timeout=TIMEOUT_S).item
    assert dict(stored.attributes) == dict(items[14].attributes)
    assert not stored.attributes_omitted
    ids = catalogue_pb2.DeleteItemsRequest(item_ids=[f"max-{n}" for n in range(15)])
    assert stub.DeleteItems(ids, timeout=TIMEOUT_S).num_deleted == 15


def test_an_item_above_the_limit_is_named(channel: grpc.Channel) -> None:
    items = [item("small"), maximal("one byte")]
    items[1].title += "T"
    with pytest.raises(grpc.RpcError) as caught:
        CatalogueServiceStub(channel).UpsertItems(catalogue_pb2.UpsertItemsRequest(items=items))
    assert reason(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, "ITEM_TOO_LARGE")
    bad = error_details_pb2.BadRequest()
    assert rpc_status.from_call(caught.value).details[1].Unpack(bad)
    assert bad.field_violations[0].field == "items[1]"


def longest_event(number: int) -> event_pb2.Event:
    made = event(
        "u" * 256,
        "short-" + str(number % NUM_SHORT),
        "rate",
        event_id=f"{number:0128}",
        value=1.0,
        ordinal=2**63 - 1,
        session_id="s" * 128,
        attribution_token="t" * 512,
    )
    made.action = event_pb2.ACTION_SHARE
    return made


def test_a_thousand_of_the_longest_events_are_taken_and_listed_at_once(
    channel: grpc.Channel,
) -> None:
    stub = EventServiceStub(channel)
    events = [longest_event(n) for n in range(1_000)]
    request = events_pb2.AppendEventsRequest(events=events)
    assert len(stub.AppendEvents(request, timeout=TIMEOUT_S).results) == 1_000
    asked = events_pb2.ListEventsRequest(user_id="u" * 256, page_size=1_000)
    assert len(stub.ListEvents(asked, timeout=TIMEOUT_S).events) == 1_000


def test_an_import_of_nothing_but_refused_events_is_answered_whole(channel: grpc.Channel) -> None:
    refused = [longest_event(n) for n in range(1_000)]
    for one in refused:
        one.attribution_token += "t"
    batches = [events_pb2.ImportEventsRequest(events=refused)] * 2
    answers = list(EventServiceStub(channel).ImportEvents(iter(batches), timeout=TIMEOUT_S))
    assert [len(answer.rejected) for answer in answers] == [1_000, 1_000]
    reasons = {one.result.reason for answer in answers for one in answer.rejected}
    assert reasons == {"ATTRIBUTION_TOKEN_INVALID"}


def test_ten_thousand_of_the_longest_users_are_waited_for(channel: grpc.Channel) -> None:
    request = profile_pb2.RefreshProfilesRequest(user_ids=[f"{n:0256}" for n in range(10_000)])
    answers = list(ProfileServiceStub(channel).RefreshProfiles(request, timeout=TIMEOUT_S))
    assert answers[-1].num_users_left == 0


def test_texts_are_read_until_a_default_deadline_where_a_client_set_none(
    channel: grpc.Channel,
) -> None:
    stub = TextServiceStub(channel)
    texts = text_pb2.EncodeTextsRequest(texts=["soldiers in a war"] * 64)
    calls = [
        (stub.EncodeTexts, texts),
        (stub.PredictInterests, text_pb2.PredictInterestsRequest(text="soldiers " * 2_000)),
    ]
    for method, request in calls:
        call: Any = method
        with pytest.raises(grpc.RpcError) as caught:
            call(request)
        expected = (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        assert reason(caught.value) == expected
    answer = stub.EncodeTexts(texts, timeout=TIMEOUT_S)
    assert len(answer.vectors) == 64
