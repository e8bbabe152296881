"""What may not be returned to a user or visitor."""

import numpy as np
import pytest

from groundswell.common.v1.event_pb2 import Action, Event, InlineEvents
from groundswell.ranker_service.catalogue import CatalogueItem, ItemMetadata
from groundswell.ranker_service.profile_client import LongTerm
from groundswell.ranker_service.requests import Ask
from groundswell.ranker_service.seen import UserItems
from groundswell.ranker_service.session_client import ShortTerm
from groundswell.ranker_service.stages.filter import Exclusions
from groundswell.ranker_service.stages.gather import Gathered

PURCHASES_COUNT = Exclusions(1 << Action.ACTION_PURCHASE)


@pytest.fixture
def items() -> ItemMetadata:
    made = ItemMetadata()
    made.put([CatalogueItem(n, f"i{n}", "", (), {}, available=True) for n in range(10)])
    return made


def gathered() -> Gathered:
    seen = UserItems(1, seen=np.array([2, 3]), history=np.array([2, 3, 4]))
    window = np.array([4, 5])
    return Gathered(
        ShortTerm(None, 2, None, window, seen=np.array([5]), stale=False),
        LongTerm(None, 3, None, stale=False, items=seen),
    )


def excluded(items: ItemMetadata, ask: Ask, found: Gathered) -> list[int]:
    return sorted(np.concatenate(PURCHASES_COUNT.of(items, ask, found)).tolist())


def test_denied_items_and_those_seen_in_history_and_window_are_excluded(
    items: ItemMetadata,
) -> None:
    ask = Ask(user_id="ann", as_of_us=0, k=5, deny_item_ids=("i9", "unknown"))
    assert excluded(items, ask, gathered()) == [2, 3, 5, 9]


def test_seen_items_are_returned_when_they_are_asked_for(items: ItemMetadata) -> None:
    ask = Ask(user_id="ann", as_of_us=0, k=5, deny_item_ids=("i9",), exclude_seen=False)
    assert excluded(items, ask, gathered()) == [9]


def test_a_visitors_own_events_count_even_without_the_services(items: ItemMetadata) -> None:
    events = [
        Event(item_id="i1", action=Action.ACTION_PURCHASE),
        Event(item_id="i6", action=Action.ACTION_VIEW),
    ]
    ask = Ask(inline_events=InlineEvents(events=events), as_of_us=0, k=5)
    assert excluded(items, ask, Gathered(None, None)) == [1]
