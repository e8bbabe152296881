"""Items between their messages and their stored form."""

import pytest

from groundswell.client import item
from groundswell.profile_service.catalogue import attribute_kind
from groundswell.profile_service.servicers.item_messages import item_content, item_message
from groundswell.profile_service.store.items import KnownItem
from groundswell.serving.errors import InvalidArgument


def test_an_item_comes_back_as_its_message_with_number_and_revision() -> None:
    sent = item(
        "a",
        "Title",
        description="Text",
        categories=["z", "b"],
        attributes={"price": 3, "brand": "x", "new": False, "tags": []},
        available=False,
    )
    shown = item_message(KnownItem(item_content(sent, "items[0]"), 7, 9, deleted=False))
    assert (shown.item_no, shown.revision) == (7, 9)
    sent.item_no, sent.revision = 7, 9
    assert shown == sent


def test_an_item_is_available_unless_it_says_otherwise() -> None:
    assert item_content(item("a"), "item").available
    assert not item_content(item("a", available=False), "item").available


def test_limits_are_counted_in_bytes_and_reached_exactly() -> None:
    assert item_content(item("é" * 128, "é" * 1_000), "item").title == "é" * 1_000
    with pytest.raises(InvalidArgument, match=r"item\.title is 2001 bytes long"):
        item_content(item("a", "é" * 1_000 + "x"), "item")


def test_an_attribute_without_a_value_is_refused() -> None:
    message = item("a")
    message.attributes["price"].SetInParent()
    with pytest.raises(InvalidArgument, match=r"item\.attributes.price has no value"):
        item_content(message, "item")


def test_the_kind_of_an_attribute_tells_a_flag_from_a_number() -> None:
    kinds = [attribute_kind(value) for value in ("x", 1.0, True, ["x"])]
    assert kinds == ["text", "number", "flag", "texts"]


def test_times_of_availability_come_back_and_wrong_ones_are_named() -> None:
    sent = item("a", "Title")
    sent.available_from.FromMicroseconds(-1_000_001)
    sent.available_until.FromMicroseconds(5)
    content = item_content(sent, "items[0]")
    assert (content.available_from_us, content.available_until_us) == (-1_000_001, 5)
    shown = item_message(KnownItem(content, 7, 9, deleted=False, created_us=3))
    assert shown.available_from == sent.available_from
    assert shown.available_until == sent.available_until
    assert shown.create_time.ToMicroseconds() == 3

    sent.available_until.FromMicroseconds(-1_000_001)
    with pytest.raises(InvalidArgument, match="not after") as caught:
        item_content(sent, "items[0]")
    assert caught.value.reason == "AVAILABILITY_INVALID"
    assert caught.value.field == "items[0].available_until"
    sent.available_from.seconds = 10**12
    with pytest.raises(InvalidArgument) as caught:
        item_content(sent, "items[0]")
    assert (caught.value.reason, caught.value.field) == ("TIME_INVALID", "items[0].available_from")
