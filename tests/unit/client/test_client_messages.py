"""The client's helpers: events, items, times, vectors, requests, backoff."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from groundswell.client import event, item, recommend_request, vector_values
from groundswell.client.messages import timestamp
from groundswell.client.requests import event_batches
from groundswell.client.retries import LONGEST_WAIT_S, Backoff
from groundswell.common.v1 import event_pb2, item_pb2
from groundswell.serving.validation import event_problem


def test_an_event_with_nothing_but_user_and_item_may_be_written() -> None:
    made = event("anna", "i1")
    assert event_problem(made) is None
    assert made.action == event_pb2.ACTION_CLICK
    assert abs(made.time.ToDatetime(UTC) - datetime.now(UTC)) < timedelta(seconds=10)
    assert not made.HasField("value")
    assert not made.HasField("ordinal")


def test_every_event_has_an_id_of_its_own_unless_it_is_given_one() -> None:
    assert event("anna", "i1").event_id != event("anna", "i1").event_id
    assert event("anna", "i1", event_id="e1").event_id == "e1"


@pytest.mark.parametrize("name", ["view", "CART", "Purchase", "share"])
def test_an_action_goes_by_its_name(name: str) -> None:
    made = event("anna", "i1", name)
    assert event_pb2.Action.Name(made.action) == f"ACTION_{name.upper()}"


@pytest.mark.parametrize("name", ["", "buy", "unspecified", "ACTION_VIEW"])
def test_an_unknown_action_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=r"known are view, click, cart, .*share"):
        event("anna", "i1", name)


def test_an_action_may_be_the_enums_value() -> None:
    assert event("anna", "i1", event_pb2.ACTION_LIKE).action == event_pb2.ACTION_LIKE


def test_what_an_event_is_given_it_carries() -> None:
    made = event(
        "anna", "i1", "rate", time=12.5, value=0.0, ordinal=0, session_id="s", attribution_token="t"
    )
    assert made.time == Timestamp(seconds=12, nanos=500_000_000)
    assert made.HasField("value")
    assert made.HasField("ordinal")
    assert (made.session_id, made.attribution_token) == ("s", "t")


def test_times_of_every_kind_are_the_same_time() -> None:
    expected = Timestamp(seconds=1_577_923_200)
    east = timezone(timedelta(hours=8))
    for time in (
        expected,
        1_577_923_200,
        1_577_923_200.0,
        datetime(2020, 1, 2, tzinfo=UTC),
        datetime(2020, 1, 2, 8, tzinfo=east),
    ):
        assert timestamp(time) == expected


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        timestamp(datetime(2020, 1, 2))


def test_an_items_attributes_keep_their_kinds() -> None:
    made = item(
        "i1",
        "A title",
        description="long",
        categories=["Drama", "Comedy"],
        attributes={"brand": "acme", "price": 9, "new": True, "tags": ["a", "b"]},
        available=False,
    )
    kinds = {name: value.WhichOneof("kind") for name, value in made.attributes.items()}
    assert kinds == {"brand": "text", "price": "number", "new": "flag", "tags": "texts"}
    assert list(made.attributes["tags"].texts.values) == ["a", "b"]
    assert list(made.categories) == ["Drama", "Comedy"]
    assert made.HasField("available")
    assert not made.available
    assert not item("i2").HasField("available")


def test_a_vector_without_values_is_empty() -> None:
    assert vector_values(item_pb2.Vector()) == ()


def test_what_a_request_is_not_given_stays_unset() -> None:
    request = recommend_request("anna")
    assert request.user_id == "anna"
    for field in ("page_size", "exclude_seen", "fusion_weight", "as_of"):
        assert not request.HasField(field)


def test_a_log_is_cut_into_batches_without_losing_or_reading_ahead() -> None:
    read = 0

    def log() -> Iterator[event_pb2.Event]:
        nonlocal read
        for number in range(5):
            read += 1
            yield event("anna", "i1", event_id=str(number))

    batches = event_batches(log(), 2)
    first = next(batches)
    assert [e.event_id for e in first.events] == ["0", "1"]
    assert read == 2
    assert [[e.event_id for e in batch.events] for batch in batches] == [["2", "3"], ["4"]]


def test_waits_double_up_to_a_limit_and_begin_anew_after_an_answer() -> None:
    backoff = Backoff(give_up_s=60)
    waits = [backoff.next_wait_s() for _ in range(10)]
    for number, wait in enumerate(waits):
        longest = min(LONGEST_WAIT_S, 0.1 * 2**number)
        assert wait is not None
        assert longest / 2 <= wait <= longest
    backoff.worked()
    wait = backoff.next_wait_s()
    assert wait is not None
    assert wait <= 0.1


def test_it_gives_up_when_its_time_is_over() -> None:
    assert Backoff(give_up_s=0).next_wait_s() is None
