"""A window holds the same events as the log, in whatever order it learns of them."""

import math
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.session_service.windows import Listing, MemoryWindows, Window, WindowEvent
from tests.support.memory import allocations


def event(sequence: int, time_us: int = 0, ordinal: int = 0, event_id: str = "") -> WindowEvent:
    return WindowEvent(
        time_us or sequence, ordinal, event_id or f"e{sequence}", sequence, 7, 1, "visit"
    )


def listing(events: list[WindowEvent], capacity: int) -> Listing:
    return Listing(sorted(events)[-capacity:][::-1], len(events))


def listed(events: list[WindowEvent], capacity: int = 3, now: float = 0.0) -> Window:
    return Window(capacity).relisted(listing(events, capacity), capacity=capacity, known=0, now=now)


def sequences(window: Window) -> list[int]:
    return [e.sequence for e in window.events]


def test_a_write_that_follows_is_appended() -> None:
    window = listed([event(1)]).merged([event(2)])
    assert sequences(window) == [1, 2]
    assert window.is_current(3, since=0.0)
    assert window.last_sequence == 2


def test_events_stand_in_the_order_of_time_then_ordinal_then_event_id() -> None:
    events = [
        event(1, time_us=20),
        event(2, time_us=10, ordinal=1),
        event(3, time_us=10, ordinal=0, event_id="b"),
        event(4, time_us=10, ordinal=0, event_id="a"),
    ]
    assert sequences(listed([], capacity=9).merged(events)) == [4, 3, 2, 1]


def test_a_full_window_lets_go_of_its_oldest_event() -> None:
    window = listed([event(1), event(2), event(3)]).merged([event(4)])
    assert sequences(window) == [2, 3, 4]
    assert window.is_current(3, since=0.0)


def test_a_late_event_older_than_a_full_window_is_counted_and_left_out() -> None:
    full = listed([event(n, time_us=10 * n) for n in (1, 2, 3)])
    window = full.merged([event(4, time_us=5)])
    assert sequences(window) == [1, 2, 3]
    assert window.last_sequence == 4
    assert window.is_current(3, since=0.0)


def test_a_duplicate_that_the_window_has_changes_nothing() -> None:
    window = listed([event(1), event(2)])
    assert window.merged([event(2)], duplicates_at=1.0) is window


def test_a_duplicate_heals_a_window_that_missed_the_write() -> None:
    window = listed([event(1)]).merged([event(2)], duplicates_at=1.0)
    assert sequences(window) == [1, 2]
    # What is stored under the id may differ from what was sent again: the log is asked first.
    assert not window.is_current(3, since=0.0)


def test_the_log_wins_over_the_content_of_a_duplicate() -> None:
    window = listed([event(1)]).merged([event(2)._replace(item_no=99)], duplicates_at=1.0)
    truth = listing([event(1), event(2)], 3)
    assert window.relisted(truth, capacity=3, known=2, now=1.0).events == (event(1), event(2))


def test_a_gap_in_the_sequences_makes_the_window_ask_the_log() -> None:
    window = listed([event(1)]).merged([event(3)])
    assert not window.is_current(3, since=0.0)
    assert window.merged([event(2)]).is_current(3, since=0.0)


def test_a_listing_never_overwrites_a_write_that_is_newer() -> None:
    before = listing([event(1)], 3)
    window = Window(3).merged([event(2)])
    window = window.relisted(before, capacity=3, known=0, now=0.0)
    assert sequences(window) == [1, 2]
    assert window.is_current(3, since=0.0)


def test_a_late_write_beyond_a_full_window_survives_an_older_listing_as_counted() -> None:
    full = listed([event(n, time_us=10 * n) for n in (1, 2, 3)])
    window = full.merged([event(4, time_us=5)])
    older = Listing(full.events, 3)
    assert window.relisted(older, capacity=3, known=3, now=1.0).is_current(3, since=1.0)


def test_a_log_that_went_back_takes_the_window_with_it() -> None:
    window = listed([event(1), event(2), event(3)])
    emptied = window.relisted(Listing([], 0), capacity=3, known=3, now=1.0)
    assert emptied.events == ()
    assert emptied.last_sequence == 0
    assert emptied.is_current(3, since=1.0)


def test_a_window_that_was_never_listed_is_not_current() -> None:
    window = Window(3).merged([event(1)])
    assert not window.was_listed
    assert not window.is_current(3, since=-1e9)


def test_a_window_that_was_listed_too_long_ago_is_not_current() -> None:
    assert not listed([event(1)], now=5.0).is_current(3, since=6.0)


def test_a_doubted_window_asks_the_log() -> None:
    assert not listed([event(1)]).doubted(until=1.0).is_current(3, since=0.0)


def test_a_listing_that_began_before_the_doubt_ended_does_not_end_it() -> None:
    window = listed([event(1)]).doubted(until=5.0)
    early = window.relisted(listing([event(1)], 3), capacity=3, known=1, now=4.0)
    assert not early.is_current(3, since=0.0)
    late = early.relisted(listing([event(1), event(2)], 3), capacity=3, known=1, now=5.0)
    assert late.is_current(3, since=0.0)


def test_a_restored_log_does_not_end_a_doubt() -> None:
    window = listed([event(1)]).doubted(until=5.0)
    restored = window.relisted(Listing([], 0, "after"), capacity=3, known=1, now=1.0)
    assert not restored.is_current(3, since=0.0)


def test_a_window_too_short_for_a_longer_model_asks_the_log_unless_it_holds_everything() -> None:
    assert not listed([event(1), event(2), event(3)]).is_current(4, since=0.0)
    assert listed([event(1), event(2)]).is_current(4, since=0.0)


def test_a_listing_that_tells_nothing_new_keeps_the_very_events() -> None:
    window = listed([event(1), event(2)])
    again = window.relisted(listing([event(1), event(2)], 3), capacity=3, known=2, now=9.0)
    assert again.events is window.events


def test_writes_behind_a_gap_are_remembered_up_to_the_capacity() -> None:
    window = listed([event(1)])
    for n in range(3, 100):
        window = window.merged([event(n)])
    assert len(window.ahead) == 3
    assert sequences(window) == [97, 98, 99]


def test_a_listing_of_another_lineage_takes_the_place_of_everything() -> None:
    before = Window(3).relisted(
        Listing([event(1), event(2)], 2, "before"), capacity=3, known=0, now=0.0
    )
    after = before.relisted(Listing([event(1)], 7, "after"), capacity=3, known=2, now=1.0)
    assert (sequences(after), after.lineage, after.complete_to) == ([1], "after", 7)
    assert after.is_current(3, since=1.0)


def test_a_window_of_another_lineage_is_empty_and_not_listed() -> None:
    window = listed([event(1)])
    assert window.of_lineage("") is window
    other = window.of_lineage("after")
    assert (other.events, other.was_listed, other.lineage) == ((), False, "after")


histories = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 2)), min_size=0, max_size=12).map(
    lambda keys: [event(n, t, o) for n, (t, o) in enumerate(keys, start=1)]
)


@given(histories, st.integers(1, 6), st.data())
def test_any_order_of_writes_duplicates_and_listings_ends_at_what_the_log_holds(
    history: list[WindowEvent], capacity: int, data: st.DataObject
) -> None:
    deliveries = data.draw(st.permutations(history + history[: len(history) // 2]))
    num_listed = data.draw(st.integers(0, len(history)))
    at = data.draw(st.integers(0, len(deliveries)))
    window = Window(capacity)
    for index, write in enumerate(deliveries):
        if index == at:
            window = window.relisted(
                listing(history[:num_listed], capacity), capacity=capacity, known=0, now=0.0
            )
        window = window.merged([write])
    truth = listing(history, capacity)
    if window.is_current(capacity, since=0.0):
        assert window.events == tuple(sorted(truth.events))
        assert window.last_sequence == truth.last_sequence
    window = window.relisted(truth, capacity=capacity, known=len(history), now=1.0)
    assert window.events == tuple(sorted(truth.events))
    assert window.is_current(capacity, since=1.0)
    assert window.complete_to == len(history)


@given(histories, st.integers(1, 6), st.data())
def test_a_window_fed_in_the_order_of_writes_is_current_all_the_time(
    history: list[WindowEvent], capacity: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(history)))
    window = listed(history[:start], capacity)
    for index in range(start, len(history)):
        window = window.merged([history[index]])
        assert window.is_current(capacity, since=0.0)
        assert window.events == tuple(sorted(history[: index + 1])[-capacity:])


async def test_the_window_that_was_used_longest_ago_leaves_first() -> None:
    windows = MemoryWindows(max_windows=2, max_bytes=1_000_000)
    await windows.hold(b"a", Window(3))
    await windows.hold(b"b", Window(3))
    await windows.get(b"a")
    await windows.hold(b"c", Window(3))
    assert await windows.get(b"b") is None
    assert await windows.get(b"a") is not None
    assert len(windows) == 2


async def test_holding_a_window_does_not_replace_the_one_that_is_held() -> None:
    windows = MemoryWindows(max_windows=2, max_bytes=1_000_000)
    held = listed([event(1)])
    await windows.hold(b"a", held)
    await windows.hold(b"a", Window(3))
    assert await windows.get(b"a") is held


async def test_only_a_held_window_takes_writes() -> None:
    windows = MemoryWindows(max_windows=2, max_bytes=1_000_000)
    assert await windows.update(b"a", partial(Window.doubted, until=1.0)) is None
    assert len(windows) == 0


@pytest.mark.parametrize("duplicates_at", [-math.inf, 1.0])
def test_writes_of_one_call_count_together(duplicates_at: float) -> None:
    window = listed([event(1)]).merged([event(3), event(2)], duplicates_at=duplicates_at)
    assert sequences(window) == [1, 2, 3]
    assert window.complete_to == 3


@pytest.mark.parametrize("id_length", [1, 128])
async def test_windows_take_no_more_memory_than_their_bound(id_length: int) -> None:
    bound = 3_000_000
    windows = MemoryWindows(max_windows=100_000, max_bytes=bound)
    with allocations() as held:
        for user in range(600 if id_length == 1 else 300):
            user_key = b"%032d" % user
            await windows.hold(user_key, Window(51))
            events = [
                WindowEvent(
                    10**15 + user * 1_000 + n,
                    10**6 + n,
                    f"{user}-{n}-{'é' * id_length}",
                    10**6 + n,
                    10**7 + n,
                    2,
                    f"{user}-{n}",
                )
                for n in range(51)
            ]
            found = Listing(events, 10**6 + 50)
            change = partial(Window.relisted, listing=found, capacity=51, known=0, now=1.0)
            await windows.update(user_key, change)
        del events, found, change
        assert bound // 3 <= held() <= 1.2 * bound
    assert await windows.get(b"%032d" % 0) is None


async def test_a_window_that_grows_by_writes_makes_room_for_itself() -> None:
    windows = MemoryWindows(max_windows=10, max_bytes=12_000)
    for user in (b"ann", b"bob"):
        await windows.hold(user, listed([], capacity=40))
    for n in range(1, 35):
        await windows.update(b"bob", partial(Window.merged, events=[event(n)]))
    assert await windows.get(b"ann") is None
