"""Every rule of the contract is checked before anything is asked or ranked."""

import asyncio
import math
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from groundswell.common.v1.event_pb2 import ACTION_CLICK, Event, InlineEvents
from groundswell.ranker.v1.ranker_service_pb2 import (
    BatchRecommendRequest,
    GetInterestsRequest,
    RecommendRequest,
)
from groundswell.ranker_service.page_tokens import PageTokens
from groundswell.ranker_service.requests import RequestReader
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.pseudonym import Pseudonymizer

SECRET = "a secret for tests, nothing more"
TOKENS = PageTokens(SECRET)
READER = RequestReader(Pseudonymizer(SECRET), TOKENS)


def event(**changed: Any) -> Event:
    whole = {"item_id": "i", "action": ACTION_CLICK, "time": Timestamp(seconds=1)}
    return Event(**{**whole, **changed})


def test_what_is_not_set_gets_the_defaults_of_the_contract() -> None:
    ask = READER.recommend(RecommendRequest(user_id="u"))
    assert (ask.k, ask.exclude_seen, ask.fusion_weight, ask.filter) == (10, True, None, "")
    assert ask.as_of_us > 1_600_000_000_000_000
    assert len(ask.user_mark) == 32


def test_what_is_set_is_taken() -> None:
    request = RecommendRequest(
        user_id="u",
        page_size=200,
        filter="x",
        deny_item_ids=["a"],
        exclude_seen=False,
        fusion_weight=0.0,
        as_of=Timestamp(seconds=5, nanos=3_000),
    )
    ask = READER.recommend(request)
    assert (ask.k, ask.exclude_seen, ask.fusion_weight) == (200, False, 0.0)
    assert (ask.as_of_us, list(ask.deny_item_ids)) == (5_000_003, ["a"])


@pytest.mark.parametrize(
    ("changed", "reason", "field"),
    [
        ({"user_id": ""}, "USER_ID_INVALID", "user_id"),
        ({"session_id": ""}, "SESSION_ID_INVALID", "session_id"),
        ({"session_id": "x" * 129}, "SESSION_ID_INVALID", "session_id"),
        ({"user_id": "x" * 257}, "USER_ID_INVALID", "user_id"),
        ({"user_id": "a\0b"}, "USER_ID_INVALID", "user_id"),
        ({"page_size": 0}, "PAGE_SIZE_INVALID", "page_size"),
        ({"page_size": -1}, "PAGE_SIZE_INVALID", "page_size"),
        ({"page_size": 100_000}, "PAGE_SIZE_INVALID", "page_size"),
        ({"fusion_weight": 1.5}, "FUSION_WEIGHT_INVALID", "fusion_weight"),
        ({"fusion_weight": -0.01}, "FUSION_WEIGHT_INVALID", "fusion_weight"),
        ({"fusion_weight": math.nan}, "FUSION_WEIGHT_INVALID", "fusion_weight"),
        ({"fusion_weight": math.inf}, "FUSION_WEIGHT_INVALID", "fusion_weight"),
        ({"deny_item_ids": ["x"] * 10_001}, "DENY_LIST_INVALID", "deny_item_ids"),
        ({"as_of": Timestamp(seconds=10**11)}, "TIME_INVALID", "as_of"),
        ({"as_of": Timestamp(nanos=-1)}, "TIME_INVALID", "as_of"),
        ({"num_interests": -1}, "NUM_INTERESTS_INVALID", "num_interests"),
        ({"num_interests": 1_001}, "NUM_INTERESTS_INVALID", "num_interests"),
    ],
)
async def test_a_wrong_field_is_named(changed: dict[str, Any], reason: str, field: str) -> None:
    request = RecommendRequest(**{"user_id": "u", **changed})
    with pytest.raises(InvalidArgument) as caught:
        READER.recommend(request)
    assert (caught.value.reason, caught.value.field) == (reason, field)
    with pytest.raises(InvalidArgument) as caught:
        await READER.batch(BatchRecommendRequest(requests=[RecommendRequest(user_id="u"), request]))
    assert (caught.value.reason, caught.value.field) == (reason, f"requests[1].{field}")
    assert caught.value.message.startswith("requests[1]")


def test_somebody_must_be_asked_for() -> None:
    with pytest.raises(InvalidArgument) as caught:
        READER.recommend(RecommendRequest())
    assert caught.value.reason == "SUBJECT_INVALID"
    with pytest.raises(InvalidArgument) as caught:
        READER.interests(GetInterestsRequest())
    assert caught.value.reason == "SUBJECT_INVALID"


@pytest.mark.parametrize(
    ("events", "reason", "field"),
    [
        ([event()] * 201, "EVENTS_INVALID", "inline_events.events"),
        ([event(), event(item_id="")], "ITEM_ID_INVALID", "inline_events.events[1].item_id"),
        ([event(action=0)], "ACTION_INVALID", "inline_events.events[0].action"),
        ([event(time=None)], "TIME_INVALID", "inline_events.events[0].time"),
        ([event(value=math.nan)], "VALUE_INVALID", "inline_events.events[0].value"),
    ],
)
def test_a_visitors_event_that_is_wrong_is_named(
    events: list[Event], reason: str, field: str
) -> None:
    request = RecommendRequest(inline_events=InlineEvents(events=events))
    with pytest.raises(InvalidArgument) as caught:
        READER.recommend(request)
    assert (caught.value.reason, caught.value.field) == (reason, field)


def test_interests_are_20_unless_another_number_is_asked_for() -> None:
    assert READER.recommend(RecommendRequest(user_id="u")).num_interests == 20
    assert READER.recommend(RecommendRequest(user_id="u", num_interests=0)).num_interests == 0
    assert READER.interests(GetInterestsRequest(user_id="u")).num_interests == 20
    asked = GetInterestsRequest(user_id="u", num_interests=10_000)
    assert READER.interests(asked).num_interests == 10_000
    for wrong in (0, 10_001):
        with pytest.raises(InvalidArgument, match="from 1 to 10000") as caught:
            READER.interests(GetInterestsRequest(user_id="u", num_interests=wrong))
        assert caught.value.reason == "NUM_INTERESTS_INVALID"


@pytest.mark.parametrize(
    ("asked", "named"),
    [({"page_size": 200}, "10,200 items"), ({"num_interests": 200}, "10,200 interests")],
)
async def test_a_batch_asks_for_at_most_10000_items_and_interests(
    asked: dict[str, int], named: str
) -> None:
    one: Any = {"user_id": "u", "page_size": 1, "num_interests": 1, **asked}
    requests = [RecommendRequest(**one)] * 50
    assert len(await READER.batch(BatchRecommendRequest(requests=requests))) == 50
    with pytest.raises(InvalidArgument, match=named) as caught:
        await READER.batch(BatchRecommendRequest(requests=[*requests, requests[0]]))
    assert (caught.value.reason, caught.value.field) == ("REQUESTS_INVALID", "requests")


@pytest.mark.parametrize("num", [0, 257])
async def test_a_batch_has_1_to_256_requests(num: int) -> None:
    request = BatchRecommendRequest(requests=[RecommendRequest(user_id="u")] * num)
    with pytest.raises(InvalidArgument) as caught:
        await READER.batch(request)
    assert caught.value.reason == "REQUESTS_INVALID"


async def test_other_calls_run_while_the_largest_batch_is_read() -> None:
    """A batch of 256 visitors with 200 events each takes long to check."""
    events = [event(item_id=f"item-{n}") for n in range(200)]
    visitor = RecommendRequest(inline_events=InlineEvents(events=events))
    request = BatchRecommendRequest(requests=[visitor] * 256)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    ticking = asyncio.create_task(others())
    await asyncio.sleep(0)
    assert len(await READER.batch(request)) == 256
    ticking.cancel()
    assert turns >= 10
