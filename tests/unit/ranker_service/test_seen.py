"""What users have seen, kept by version."""

import pytest

from groundswell.features.actions import DISLIKE
from groundswell.profile.v1.profile_service_pb2 import SeenItems
from groundswell.ranker_service.seen import SeenCache, UserItems, unpacked
from groundswell.ranker_service.settings import RankerSettings
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.vectors import pack_int64, pack_uint32
from tests.support.memory import allocations

VIEW, PURCHASE, DISLIKED = 1 << 1, 1 << 4, 1 << DISLIKE
COUNTING = RankerSettings.model_construct().seen_mask


def small() -> SeenCache:
    return SeenCache(COUNTING, max_bytes=100_000, max_users=100)


def given(version: int, **masks: int) -> SeenItems:
    numbers = [int(name[1:]) for name in masks]
    return SeenItems(
        version=version,
        included=True,
        item_nos=pack_int64(numbers),
        action_masks=pack_uint32(list(masks.values())),
    )


def test_a_view_alone_does_not_make_an_item_seen() -> None:
    items = small().take(b"u", given(3, n1=VIEW, n2=PURCHASE | VIEW), None)
    assert items is not None
    assert items.seen.tolist() == [2]


def test_the_history_has_every_item_whatever_was_done_with_it() -> None:
    answer = given(3, n5=VIEW, n2=PURCHASE, n3=VIEW, n1=PURCHASE | VIEW)
    items = small().take(b"u", answer, None)
    assert items is not None
    assert items.seen.tolist() == [2, 1]
    assert items.history.tolist() == [5, 2, 3, 1]


def test_what_was_only_disliked_is_seen_and_no_part_of_the_history() -> None:
    answer = given(3, n1=VIEW, n2=DISLIKED, n3=PURCHASE, n4=DISLIKED | VIEW)
    items = small().take(b"u", answer, None)
    assert items is not None
    assert items.seen.tolist() == [2, 3, 4]
    assert items.history.tolist() == [1, 3, 4]
    ignoring = SeenCache(PURCHASE, max_bytes=100_000, max_users=100).take(b"u", answer, None)
    assert ignoring is not None
    assert ignoring.seen.tolist() == [3]
    assert ignoring.history.tolist() == [1, 3, 4]


def test_a_dislike_keeps_its_place_in_a_window_and_names_no_item() -> None:
    packed = unpacked(pack_int64([5, 6, 5]), pack_uint32([VIEW, DISLIKED, PURCHASE]))
    assert packed.window().tolist() == [5, -1, 5]


def test_which_actions_count_is_a_setting() -> None:
    packed = unpacked(pack_int64([5, 6]), pack_uint32([VIEW, PURCHASE]))
    assert SeenCache(VIEW, max_bytes=100_000, max_users=100).counting(packed).tolist() == [5]
    assert SeenCache(0, max_bytes=100_000, max_users=100).counting(packed).tolist() == []


def test_an_answer_that_names_the_version_held_gives_what_is_held() -> None:
    cache = small()
    first = cache.take(b"u", given(3, n1=PURCHASE), None)
    held = cache.get(b"u")
    assert held is first
    again = cache.take(b"u", SeenItems(version=3), held)
    assert again is first


def test_an_answer_that_leaves_out_what_is_not_held_gives_nothing() -> None:
    cache = small()
    assert cache.take(b"u", SeenItems(version=3), None) is None
    older = cache.take(b"u", given(2, n1=PURCHASE), None)
    assert cache.take(b"u", SeenItems(version=3), older) is None


def test_newer_entries_take_the_place_of_those_that_are_held_of_their_items() -> None:
    cache = small()
    held = cache.take(b"u", given(4, n1=PURCHASE, n2=VIEW, n3=DISLIKED, n4=VIEW), None)
    newer = given(7, n2=VIEW | PURCHASE, n3=DISLIKED | VIEW, n5=VIEW, n6=DISLIKED)
    newer.since_version = 4
    assert cache.take(b"u", newer, None) is None
    items = cache.take(b"u", newer, held)
    assert items is not None
    assert items.seen.tolist() == [1, 2, 3, 6]
    assert items.history.tolist() == [1, 4, 2, 3, 5]
    assert (items.version, cache.get(b"u")) == (7, items)
    # The next answer is of another version than what is held.
    newer.since_version = 5
    assert cache.take(b"u", newer, items) is None


def test_a_user_without_events_has_seen_nothing() -> None:
    items = small().take(b"u", SeenItems(version=0), None)
    assert items is not None
    assert len(items.seen) == len(items.history) == 0


def test_what_was_dropped_while_the_question_was_under_way_is_still_used() -> None:
    cache = SeenCache(COUNTING, max_bytes=100_000, max_users=1)
    named = cache.take(b"u", given(3, n1=PURCHASE), None)
    cache.take(b"v", given(1, **{f"n{n}": PURCHASE for n in range(20)}), None)
    assert cache.get(b"u") is None
    assert isinstance(named, UserItems)
    assert cache.take(b"u", SeenItems(version=3), named) is named


@pytest.mark.parametrize("num_items", [0, 1, 3_000])
def test_the_cache_takes_no_more_memory_than_its_bound(num_items: int) -> None:
    bound = 2_000_000
    cache = SeenCache(COUNTING, max_bytes=bound, max_users=1_000_000)
    answer = given(1, **{f"n{n}": PURCHASE for n in range(1, 1 + num_items)})
    with allocations() as held:
        for user in range(6_000 if num_items < 10 else 200):
            cache.take(b"%032d" % user, answer, None)
        assert bound // 2 <= held() <= 1.2 * bound
    assert cache.get(b"%032d" % 0) is None


def test_the_cache_holds_no_more_users_than_it_may() -> None:
    cache = SeenCache(COUNTING, max_bytes=1_000_000, max_users=3)
    for user in range(9):
        cache.take(b"%d" % user, given(1, n1=PURCHASE), None)
    held = [cache.get(b"%d" % user) is not None for user in range(9)]
    assert held == [False] * 6 + [True] * 3


def test_lists_that_do_not_fit_each_other_are_refused() -> None:
    broken = SeenItems(version=1, included=True, item_nos=pack_int64([1, 2]), action_masks=b"")
    with pytest.raises(InvalidArgument, match="masks"):
        small().take(b"u", broken, None)
    with pytest.raises(InvalidArgument):
        unpacked(b"123", b"")
