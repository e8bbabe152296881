"""Which items a user has seen is put together event by event."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from groundswell.profile_service.profiles.cached import (
    NOTHING_SEEN,
    Profile,
    SeenItems,
    with_actions,
)

pairs = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=30)


def seen_after(*parts: list[tuple[int, int]]) -> SeenItems:
    """Everything that was done, part by part."""
    seen, sequence = NOTHING_SEEN, 0
    for part in parts:
        sequence += len(part)
        seen = with_actions(seen, sequence, np.array(part, np.int64).reshape(-1, 2))
    return seen


@given(pairs, pairs)
def test_every_item_comes_once_with_all_that_was_done(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    seen = seen_after(first, second)
    expected: dict[int, int] = {}
    for item_no, action in first + second:
        expected[item_no] = expected.get(item_no, 0) | 1 << action
    assert dict(zip(seen.item_nos.tolist(), seen.action_masks.tolist(), strict=True)) == expected


@given(pairs, pairs)
def test_items_come_in_the_order_of_their_newest_events(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    seen = seen_after(first, second)
    last = {item_no: place for place, (item_no, _) in enumerate(first + second)}
    assert seen.item_nos.tolist() == sorted(last, key=last.__getitem__)


@given(pairs, pairs)
def test_what_came_after_a_version_is_what_a_caller_of_that_version_lacks(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    seen = seen_after(first, second)
    newer = seen.after(len(first))
    assert newer.item_nos.tolist() == seen_after(second).item_nos.tolist()
    kept = [n for n in seen_after(first).item_nos.tolist() if n not in newer.item_nos]
    assert [*kept, *newer.item_nos.tolist()] == seen.item_nos.tolist()
    masks = dict(zip(seen.item_nos.tolist(), seen.action_masks.tolist(), strict=True))
    assert newer.action_masks.tolist() == [masks[n] for n in newer.item_nos.tolist()]


@given(pairs, st.data())
def test_no_newer_item_is_lacking_where_older_events_were_deleted_or_moved(
    events: list[tuple[int, int]], data: st.DataObject
) -> None:
    stays = data.draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events)))
    left = [(number + 1, *event) for number, event in enumerate(events) if stays[number]]
    actions = np.array([event for _, *event in left], np.int64).reshape(-1, 2)
    seen = with_actions(NOTHING_SEEN, len(events), actions)
    for version in range(len(events) + 1):
        newer = {item_no for sequence, item_no, _ in left if sequence > version}
        assert newer <= set(seen.after(version).item_nos.tolist())


def test_a_version_of_another_history_is_not_known() -> None:
    before, after = (
        Profile(None, num_events, None, None, NOTHING_SEEN, history=history)
        for num_events, history in ((9, 4), (2, 7))
    )
    assert before.sequence_of(before.version) == 9
    assert after.sequence_of(before.version) is None
    # Callers tell a version of a release that knew no histories, and one that is higher, too.
    assert after.sequence_of(2) is None
    assert after.version > before.version
