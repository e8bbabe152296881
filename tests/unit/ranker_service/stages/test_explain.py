"""How a ranking falls short, and what is said of its items."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from groundswell.common.v1.event_pb2 import Event, InlineEvents
from groundswell.ranker.v1.ranker_service_pb2 import Degradation
from groundswell.ranker_service.catalogue import CatalogueItem, ItemMetadata
from groundswell.ranker_service.pipeline import Ranked
from groundswell.ranker_service.profile_client import LongTerm
from groundswell.ranker_service.requests import Ask
from groundswell.ranker_service.seen import UserItems
from groundswell.ranker_service.session_client import ShortTerm
from groundswell.ranker_service.stages.explain import Recommendations, explain
from groundswell.ranker_service.stages.fuse import FusionWeightOrigin
from groundswell.ranker_service.stages.gather import Gathered

NOW_US = 1_000_000
VECTOR = np.array([1.0, 0.0], np.float32)
NO_ITEMS = np.empty(0, np.int64)


def short(*, stale: bool = False) -> ShortTerm:
    return ShortTerm(VECTOR, 1, NOW_US - 5, NO_ITEMS, NO_ITEMS, stale)


def long(
    *, stale: bool = False, is_complete: bool = True, is_of_now: bool = True, num_events: int = 3
) -> LongTerm:
    items = UserItems(1, NO_ITEMS, NO_ITEMS, is_complete)
    vector = VECTOR if num_events else None
    return LongTerm(vector, num_events, NOW_US + 5, stale, items, is_of_now)


def ranked(num: int, *, fallback: bool = False) -> Ranked:
    scores = np.zeros(num, np.float32)
    nothing = None if fallback else VECTOR
    origin = FusionWeightOrigin.NONE if fallback else FusionWeightOrigin.LEARNED
    ids = np.arange(num)
    interests = None if fallback else np.array([0.25, 0.75], np.float32)
    weight = 0.0 if fallback else 0.5
    return Ranked(
        ids,
        scores,
        scores,
        scores,
        nothing,
        origin,
        nothing,
        fallback,
        interests,
        fusion_weight=weight,
    )


def explained(
    gathered: Gathered, one: Ranked, *, has_neighbours: bool = False, **options: Any
) -> Recommendations:
    items = ItemMetadata()
    items.put([CatalogueItem(n, f"i{n}", "", (), {}, available=True) for n in range(5)])
    ranker: Any = SimpleNamespace(
        items=items,
        manifest=SimpleNamespace(
            neighbours="some" if has_neighbours else None, categories=["a", "b"]
        ),
        space=SimpleNamespace(bundle_id="bundle", lineage=""),
    )
    return explain(ranker, Ask(**{"as_of_us": NOW_US, "k": 5, **options}), gathered, one)


def names(answer: Recommendations) -> set[str]:
    return {Degradation.Name(one).removeprefix("DEGRADATION_") for one in answer.degradations}


def test_a_full_answer_has_no_degradation() -> None:
    answer = explained(Gathered(short(), long()), ranked(5))
    assert names(answer) == set()
    assert answer.interests == [("b", 0.75), ("a", 0.25)]
    assert answer.fusion_weight == 0.5
    assert (answer.session_age_us, answer.profile_age_us) == (5, 0)


@pytest.mark.parametrize(
    ("gathered", "expected"),
    [
        (Gathered(None, long()), {"SESSION_UNAVAILABLE"}),
        (Gathered(short(), None), {"PROFILE_UNAVAILABLE", "SEEN_INCOMPLETE"}),
        (Gathered(short(stale=True), long(stale=True)), {"SESSION_STALE", "PROFILE_STALE"}),
        (Gathered(short(), long(is_complete=False)), {"SEEN_INCOMPLETE"}),
        (Gathered(short(), long(is_of_now=False)), {"SEEN_INCOMPLETE"}),
        (Gathered(short(), long(num_events=0)), {"NO_PROFILE"}),
        (Gathered(None, long(num_events=0)), {"SESSION_UNAVAILABLE", "USER_UNKNOWN"}),
    ],
)
def test_what_the_services_did_not_give_is_named(gathered: Gathered, expected: set[str]) -> None:
    assert names(explained(gathered, ranked(5))) == expected


def test_seen_items_matter_only_when_they_are_excluded_or_have_neighbours() -> None:
    gathered = Gathered(short(), long(is_complete=False))
    assert names(explained(gathered, ranked(5), exclude_seen=False)) == set()
    with_neighbours = explained(gathered, ranked(5), exclude_seen=False, has_neighbours=True)
    assert names(with_neighbours) == {"SEEN_INCOMPLETE"}
    assert names(explained(gathered, ranked(0), k=0)) == set()


def test_a_visitor_lacks_no_profile_and_is_unknown_only_without_events() -> None:
    events = InlineEvents(events=[Event(item_id="i1")])
    assert names(explained(Gathered(short(), None), ranked(5), inline_events=events)) == set()
    nobody = explained(Gathered(None, None), ranked(5), inline_events=InlineEvents())
    assert names(nobody) == {"SESSION_UNAVAILABLE", "USER_UNKNOWN"}


def test_popular_items_and_a_short_page_are_named() -> None:
    answer = explained(Gathered(short(), long()), ranked(3, fallback=True))
    assert names(answer) == {"POPULARITY_FALLBACK", "PAGE_NOT_FILLED"}
    assert answer.interests == []
    assert answer.fusion_weight == 0.0


def test_a_deleted_item_is_no_item_of_the_page() -> None:
    answer = explained(Gathered(short(), long()), ranked(7), k=7)
    assert answer.items[5:] == [None, None]
    assert names(answer) == {"PAGE_NOT_FILLED"}
