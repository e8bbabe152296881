"""Which items a user has seen is put together event by event."""

from hypothesis import given
from hypothesis import strategies as st

from groundswell.profile_service.profiles.cached import NOTHING_SEEN, with_actions

pairs = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=30)


@given(pairs, pairs)
def test_every_item_comes_once_with_all_that_was_done(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    seen = with_actions(with_actions(NOTHING_SEEN, first), second)
    expected: dict[int, int] = {}
    for item_no, action in first + second:
        expected[item_no] = expected.get(item_no, 0) | 1 << action
    assert dict(zip(seen.item_nos.tolist(), seen.action_masks.tolist(), strict=True)) == expected
    # Reading some events twice changes nothing.
    again = with_actions(seen, second)
    assert again.item_nos.tolist() == seen.item_nos.tolist()
    assert again.action_masks.tolist() == seen.action_masks.tolist()


@given(pairs, pairs)
def test_items_come_in_the_order_of_their_newest_events(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    seen = with_actions(with_actions(NOTHING_SEEN, first), second)
    last = {item_no: place for place, (item_no, _) in enumerate(first + second)}
    assert seen.item_nos.tolist() == sorted(last, key=last.__getitem__)
