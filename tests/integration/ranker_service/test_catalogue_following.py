"""The index follows every change of the catalogue, also over a broken stream."""

import numpy as np
import pytest

from groundswell.client import GroundswellError
from groundswell.common.v1.item_pb2 import AttributeValue, Item
from groundswell.profile.v1.catalogue_service_pb2 import WatchItemsRequest
from tests.integration.ranker_service.support import Ranker, ids, item, number
from tests.support.bundles import ITEMS
from tests.support.waiting import eventually

EVERYTHING = len(ITEMS)
COLD = Item(
    item_id="cold",
    item_no=5_000,
    title="A film that no training saw",
    categories=["war"],
    attributes={"price": AttributeValue(number=3.5), "colour": AttributeValue(text="red")},
)


def everything(ranker: Ranker, text: str = "") -> list[str]:
    return ids(ranker.client.recommend("nobody", page_size=EVERYTHING + 5, filter=text))


@pytest.fixture
def ranker(ranker: Ranker) -> Ranker:
    """The catalogue is the bundle's items again."""
    ranker.scripted.delete(COLD)
    for row in range(EVERYTHING):
        ranker.scripted.put(item(row))
    whole = [f"item-{row}" for row in range(EVERYTHING)]
    eventually(lambda: everything(ranker) == whole)
    return ranker


def add_cold(ranker: Ranker) -> None:
    direction = ranker.user_vector()
    ranker.scripted.vectors[ranker.bundle.id][COLD.item_no] = 10 * direction
    ranker.add_profile("fan", direction)
    ranker.scripted.put(COLD)


def test_an_item_that_no_training_saw_becomes_recommendable(ranker: Ranker) -> None:
    add_cold(ranker)
    eventually(lambda: "cold" in everything(ranker))
    answer = ranker.client.recommend("fan")
    assert ids(answer)[0] == "cold"
    assert answer.recommendations[0].title == COLD.title
    assert ids(ranker.client.recommend("fan", filter="colour = 'red'")) == ["cold"]
    assert ids(ranker.client.recommend("fan", filter="price BETWEEN 3.2 AND 4"))[0] == "cold"
    near = ranker.client.similar_items("item-2", page_size=200)
    assert "cold" in [one.item_id for one in near.items]
    assert everything(ranker)[-1] == "cold"


def test_an_item_waits_for_its_vector_before_it_is_recommended(ranker: Ranker) -> None:
    ranker.scripted.vectors[ranker.bundle.id].pop(COLD.item_no, None)
    ranker.scripted.put(COLD)

    def waits() -> bool:
        try:
            ranker.client.similar_items("cold")
        except GroundswellError as error:
            return error.reason == "ITEM_NOT_ENCODED"
        return False

    eventually(waits)
    assert "cold" not in everything(ranker)
    add_cold(ranker)
    eventually(lambda: "cold" in everything(ranker))


def test_a_deleted_item_disappears_everywhere(ranker: Ranker) -> None:
    add_cold(ranker)
    eventually(lambda: "cold" in everything(ranker))
    ranker.scripted.delete(COLD)
    ranker.scripted.delete(item(0))
    eventually(lambda: not {"cold", "item-0"} & set(everything(ranker)))
    assert "cold" not in ids(ranker.client.recommend("fan"))
    near = ranker.client.similar_items("item-1", page_size=EVERYTHING)
    assert not {"cold", "item-0"} & {one.item_id for one in near.items}
    with pytest.raises(GroundswellError) as caught:
        ranker.client.similar_items("item-0")
    assert caught.value.reason == "ITEM_NOT_FOUND"


def test_an_item_that_may_not_be_recommended_is_not_but_can_be_asked_about(
    ranker: Ranker,
) -> None:
    hidden = item(4)
    hidden.available = False
    ranker.scripted.put(hidden)
    eventually(lambda: "item-4" not in everything(ranker))
    assert len(ranker.client.similar_items("item-4", page_size=5).items) == 5
    near = ranker.client.similar_items("item-5", page_size=EVERYTHING)
    assert "item-4" not in [one.item_id for one in near.items]


def test_a_changed_item_is_ranked_and_filtered_as_it_is_now(ranker: Ranker) -> None:
    assert everything(ranker, "price = 6") == ["item-6"]
    changed = item(6)
    changed.title = "Another title"
    changed.attributes["price"].number = 600
    direction = ranker.user_vector()
    ranker.add_profile("fan", direction)
    before = ranker.scripted.vectors[ranker.bundle.id][number(6)]
    ranker.scripted.vectors[ranker.bundle.id][number(6)] = 50 * direction
    ranker.scripted.put(changed)
    eventually(lambda: everything(ranker, "price = 600") == ["item-6"])
    assert everything(ranker, "price = 6") == []
    best = ranker.client.recommend("fan").recommendations[0]
    assert (best.item_id, best.title) == ("item-6", "Another title")
    ranker.scripted.vectors[ranker.bundle.id][number(6)] = before


def test_a_broken_stream_is_followed_from_where_it_broke(ranker: Ranker) -> None:
    ranker.scripted.asked.clear()
    ranker.scripted.break_streams()
    add_cold(ranker)
    ranker.scripted.delete(item(1))
    eventually(lambda: "cold" in everything(ranker) and "item-1" not in everything(ranker))
    asked = [one for one in ranker.scripted.asked if isinstance(one, WatchItemsRequest)]
    assert asked
    assert all(one.since_revision > 0 for one in asked)


def test_a_bad_vector_neither_ends_the_stream_nor_reaches_the_index(ranker: Ranker) -> None:
    held = ranker.scripted.vectors[ranker.bundle.id]
    before = held[number(3)]
    held[number(3)] = np.full_like(before, np.nan)
    ranker.scripted.put(item(3))
    add_cold(ranker)
    eventually(lambda: "cold" in everything(ranker))
    held[number(3)] = before
    answer = ranker.client.recommend("fan", page_size=EVERYTHING + 5)
    assert "item-3" in ids(answer)
    assert all(np.isfinite(one.score) for one in answer.recommendations)


def test_an_attribute_of_another_kind_than_before_is_left_out(ranker: Ranker) -> None:
    odd = item(2)
    odd.attributes["price"].text = "cheap"
    ranker.scripted.put(odd)
    eventually(lambda: everything(ranker, "price IS NULL") == ["item-2"])
    assert "item-2" in everything(ranker)
